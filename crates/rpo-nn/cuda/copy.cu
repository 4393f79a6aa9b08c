// Kernels that move values: channels side by side, nearest-neighbour resizing.
#include "prelude.cuh"

template <int N, class T> INLINE void concat(const T* a, const T* b, T* y, int ca, int cb, long long rows) {
    const int c = ca + cb;
    for (Cursor at(c / N); at.row < rows; at.next()) {
        const int col = at.col * N;
        float v[N];
        load(col < ca ? a + at.row * ca + col : b + at.row * cb + (col - ca), v);
        store(y + at.row * c + col, v);
    }
}

// y[r] = [a[r], b[r]]: a [rows, ca], b [rows, cb], y [rows, ca + cb]; any grid and block
#define K(S, T)                                                                                           \
    extern "C" __global__ void concat_##S(const T* a, const T* b, T* y, int ca, int cb, long long rows) { \
        constexpr int N = WIDTH<T>;                                                                       \
        if (ca % N == 0 && cb % N == 0 && aligned(a, b, y)) concat<N>(a, b, y, ca, cb, rows);             \
        else concat<1>(a, b, y, ca, cb, rows);                                                            \
    }
FOR_BOTH(K)
#undef K

template <int N, class T> INLINE void split(const T* x, T* y, int from, int c, int total, long long rows) {
    for (Cursor at(c / N); at.row < rows; at.next()) {
        float v[N];
        load(x + at.row * total + from + at.col * N, v);
        store(y + at.row * c + at.col * N, v);
    }
}

// y[r] = x[r, from .. from + c]: x [rows, total], y [rows, c]; any grid and block
#define K(S, T)                                                                                                   \
    extern "C" __global__ void split_##S(const T* x, T* y, int from, int c, int total, long long rows) {          \
        constexpr int N = WIDTH<T>;                                                                               \
        if (from % N == 0 && c % N == 0 && total % N == 0 && aligned(x, y)) split<N>(x, y, from, c, total, rows); \
        else split<1>(x, y, from, c, total, rows);                                                                \
    }
FOR_BOTH(K)
#undef K

// floor(i from / to), the place in a line of `from` that place i of a line of `to` shows.
INLINE int source(int i, int from, int to) {
    return static_cast<int>(divide(static_cast<long long>(i) * from, to));
}

// The first place of a line of `to` that shows place i or a later one of a line of `from`: ceil(i to / from).
INLINE int first_shown(int i, int from, int to) {
    return static_cast<int>(divide(static_cast<long long>(i) * to + from - 1, from));
}

template <int N, class T> INLINE void upsample(const T* x, T* y, int h, int w, int height, int width, int c, long long n) {
    const int vectors = c / N;
    const long long rows = n / (static_cast<long long>(width) * c);
    for (long long row = blockIdx.x; row < rows; row += gridDim.x) {
        const long long image = divide(row, height);
        const T* from = x + (image * h + source(static_cast<int>(row - image * height), h, height)) * w * c;
        T* to = y + row * width * c;
        for (int i = threadIdx.x; i < width * vectors; i += blockDim.x) {
            const int column = i / vectors, first = (i - column * vectors) * N;
            float v[N];
            load(from + static_cast<long long>(source(column, w, width)) * c + first, v);
            store(to + static_cast<long long>(i) * N, v);
        }
    }
}

// y[b, i, j] = x[b, floor(i h / height), floor(j w / width)]: x [B, h, w, C], y [B, height, width, C] with n elements.
// A block takes whole rows of y: grid = B height at best; any grid and block
#define K(S, T)                                                                                                          \
    extern "C" __global__ void upsample_##S(const T* x, T* y, int h, int w, int height, int width, int c, long long n) { \
        if (c % WIDTH<T> == 0 && aligned(x, y)) upsample<WIDTH<T>>(x, y, h, w, height, width, c, n);                     \
        else upsample<1>(x, y, h, w, height, width, c, n);                                                               \
    }
FOR_BOTH(K)
#undef K

template <int N, class T>
INLINE void upsample_backward(const T* grad, T* dx, int h, int w, int height, int width, int c, long long n) {
    const int vectors = c / N;
    const long long rows = n / (static_cast<long long>(w) * c);
    for (long long row = blockIdx.x; row < rows; row += gridDim.x) {
        const long long image = divide(row, h);
        const int line = static_cast<int>(row - image * h);
        const int top = first_shown(line, h, height), bottom = first_shown(line + 1, h, height);
        for (int i = threadIdx.x; i < w * vectors; i += blockDim.x) {
            const int column = i / vectors, first = (i - column * vectors) * N;
            const int left = first_shown(column, w, width), right = first_shown(column + 1, w, width);
            float sum[N] = {};
            for (int y = top; y < bottom; ++y)
                for (int x = left; x < right; ++x) {
                    float v[N];
                    load(grad + ((image * height + y) * width + x) * c + first, v);
#pragma unroll
                    for (int k = 0; k < N; ++k) sum[k] += v[k];
                }
            store(dx + row * w * c + static_cast<long long>(i) * N, sum);
        }
    }
}

// dx = the sum of grad over the places that show it: grad [B, height, width, C], dx [B, h, w, C] with n elements.
// A block takes whole rows of dx: grid = B h at best; any grid and block
#define K(S, T)                                                                                                 \
    extern "C" __global__ void upsample_backward_##S(const T* grad, T* dx, int h, int w, int height, int width, \
                                                     int c, long long n) {                                      \
        if (c % WIDTH<T> == 0 && aligned(grad, dx))                                                             \
            upsample_backward<WIDTH<T>>(grad, dx, h, w, height, width, c, n);                                   \
        else upsample_backward<1>(grad, dx, h, w, height, width, c, n);                                         \
    }
FOR_BOTH(K)
#undef K
