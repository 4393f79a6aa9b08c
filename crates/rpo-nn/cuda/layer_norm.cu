// Layer normalisation: a warp a row, which stays in registers up to 1280 channels.
#include "prelude.cuh"

// f(k, v) for this lane's vectors v = lane + 32 k of a row of `vectors`. K > 0 is the most there can be: then the loop is
// unrolled, and k may index registers.
template <int K, class F> INLINE void for_vectors(int vectors, F f) {
    const int lane = threadIdx.x % 32;
    if constexpr (K > 0) {
#pragma unroll
        for (int k = 0; k < K; ++k)
            if (lane + 32 * k < vectors) f(k, lane + 32 * k);
    } else {
#pragma unroll 1
        for (int k = 0; lane + 32 * k < vectors; ++k) f(k, lane + 32 * k);
    }
}

// This lane's vectors of a row: in registers for K > 0, else read again every time.
template <class T, int N, int K> struct Row {
    const T* x;
    Pack<T, N> kept[K > 0 ? K : 1];

    INLINE Row(const T* x, int vectors) : x(x) {
        if constexpr (K > 0)
            for_vectors<K>(vectors, [&](int k, int v) { kept[k] = load_pack<N>(x + v * N); });
    }
    INLINE void get(int k, int v, float (&out)[N]) const {
        if constexpr (K > 0) unpack(kept[k], out);
        else load(x + v * N, out);
    }
};

INLINE long long first_row() { return static_cast<long long>(blockIdx.x) * (blockDim.x / 32) + threadIdx.x / 32; }
INLINE long long row_stride() { return static_cast<long long>(gridDim.x) * (blockDim.x / 32); }

template <int N, int K, class T>
INLINE void layer_norm(const T* __restrict__ x, const float* __restrict__ gamma, const float* __restrict__ beta,
                       T* __restrict__ y, float* mean, float* rstd, int c, long long rows, float eps) {
    const int vectors = c / N;
    for (long long r = first_row(); r < rows; r += row_stride()) {
        const Row<T, N, K> row(x + r * c, vectors);
        float sum = 0.0f, square = 0.0f;
        for_vectors<K>(vectors, [&](int k, int v) {
            float u[N];
            row.get(k, v, u);
#pragma unroll
            for (int j = 0; j < N; ++j) sum += u[j];
        });
        const float centre = warp_sum(sum) / c;
        for_vectors<K>(vectors, [&](int k, int v) {
            float u[N];
            row.get(k, v, u);
#pragma unroll
            for (int j = 0; j < N; ++j) square = fmaf(u[j] - centre, u[j] - centre, square);
        });
        const float scale = 1.0f / sqrtf(warp_sum(square) / c + eps);
        for_vectors<K>(vectors, [&](int k, int v) {
            float u[N], g[N], b[N];
            row.get(k, v, u);
            load(gamma + v * N, g);
            load(beta + v * N, b);
#pragma unroll
            for (int j = 0; j < N; ++j) u[j] = fmaf((u[j] - centre) * scale, g[j], b[j]);
            store(y + r * c + v * N, u);
        });
        if (threadIdx.x % 32 == 0) {
            mean[r] = centre;
            rstd[r] = scale;
        }
    }
}

// y = (x - mean) rstd gamma + beta, rstd = 1 / sqrt(var + eps), over the last dimension of x [rows, C]; mean, rstd [rows].
// blockDim = 256 (any multiple of 32), grid = at most ceil(rows / 8)
#define K(S, T)                                                                                                     \
    extern "C" __global__ void layer_norm_##S(const T* x, const float* gamma, const float* beta, T* y, float* mean, \
                                              float* rstd, int c, long long rows, float eps) {                      \
        constexpr int N = WIDTH<T>, MOST = 1280 / (32 * N);                                                         \
        const bool wide = c % N == 0 && aligned(x, gamma, beta, y);                                                 \
        if (wide && c <= 1280) layer_norm<N, MOST>(x, gamma, beta, y, mean, rstd, c, rows, eps);                    \
        else if (wide) layer_norm<N, 0>(x, gamma, beta, y, mean, rstd, c, rows, eps);                               \
        else layer_norm<1, 0>(x, gamma, beta, y, mean, rstd, c, rows, eps);                                         \
    }
FOR_BOTH(K)
#undef K

template <int N, int K, class T>
INLINE void layer_norm_backward_input(const T* __restrict__ x, const T* __restrict__ grad, const float* mean,
                                      const float* rstd, const float* __restrict__ gamma, T* __restrict__ dx, int c,
                                      long long rows) {
    const int vectors = c / N;
    for (long long r = first_row(); r < rows; r += row_stride()) {
        const Row<T, N, K> row(x + r * c, vectors), up(grad + r * c, vectors);
        const float centre = mean[r], scale = rstd[r];
        float plain = 0.0f, weighted = 0.0f;
        for_vectors<K>(vectors, [&](int k, int v) {
            float u[N], d[N], g[N];
            row.get(k, v, u);
            up.get(k, v, d);
            load(gamma + v * N, g);
#pragma unroll
            for (int j = 0; j < N; ++j) {
                const float s = d[j] * g[j];
                plain += s;
                weighted = fmaf(s, (u[j] - centre) * scale, weighted);
            }
        });
        const float m1 = warp_sum(plain) / c, m2 = warp_sum(weighted) / c;
        for_vectors<K>(vectors, [&](int k, int v) {
            float u[N], d[N], g[N];
            row.get(k, v, u);
            up.get(k, v, d);
            load(gamma + v * N, g);
#pragma unroll
            for (int j = 0; j < N; ++j) u[j] = scale * (d[j] * g[j] - m1 - (u[j] - centre) * scale * m2);
            store(dx + r * c + v * N, u);
        });
    }
}

// dx = rstd (s - m1 - xhat m2), s = grad gamma, xhat = (x - mean) rstd, m1 and m2 the row's means of s and s xhat.
// blockDim = 256 (any multiple of 32), grid = at most ceil(rows / 8)
#define K(S, T)                                                                                                   \
    extern "C" __global__ void layer_norm_backward_input_##S(const T* x, const T* grad, const float* mean,        \
                                                             const float* rstd, const float* gamma, T* dx, int c, \
                                                             long long rows) {                                    \
        constexpr int N = WIDTH<T>, MOST = 1280 / (32 * N);                                                       \
        const bool wide = c % N == 0 && aligned(x, grad, gamma, dx);                                              \
        if (wide && c <= 1280) layer_norm_backward_input<N, MOST>(x, grad, mean, rstd, gamma, dx, c, rows);       \
        else if (wide) layer_norm_backward_input<N, 0>(x, grad, mean, rstd, gamma, dx, c, rows);                  \
        else layer_norm_backward_input<1, 0>(x, grad, mean, rstd, gamma, dx, c, rows);                            \
    }
FOR_BOTH(K)
#undef K

template <int N, class T>
INLINE void layer_norm_backward_weights(const T* __restrict__ x, const T* __restrict__ grad, const float* __restrict__ mean,
                                        const float* __restrict__ rstd, float* partial, int c, long long rows,
                                        int rows_per_block) {
    __shared__ float shared[256 * N];
    const Arrangement at(c / N);
    const long long first = static_cast<long long>(blockIdx.x) * rows_per_block;
    const long long last = rows < first + rows_per_block ? rows : first + rows_per_block;
    partial += static_cast<long long>(blockIdx.x) * 2 * c;
    for (int tile = blockIdx.y; tile < at.tiles; tile += gridDim.y) {
        const int column = (tile * at.columns + at.column) * N;
        float plain[N] = {}, weighted[N] = {};
        if (at.lane < at.lanes && column < c) {
            const auto read = [&](long long row) { return pair_at<N>(x, grad, row * c + column); };
            for_rows<2>(first + at.lane, last, static_cast<long long>(at.lanes), read, [&](long long row, const auto& pair) {
                float u[N], d[N];
                unpack(pair.first, u);
                unpack(pair.second, d);
                const float centre = mean[row], scale = rstd[row];
#pragma unroll
                for (int k = 0; k < N; ++k) {
                    plain[k] += d[k];
                    weighted[k] = fmaf(d[k], (u[k] - centre) * scale, weighted[k]);
                }
            });
        }
        fold_lanes(at, plain, shared);
        fold_lanes(at, weighted, shared);
        if (at.lane == 0 && column < c) {
            store(partial + column, plain);
            store(partial + c + column, weighted);
        }
    }
}

// partial[i] = [sums of grad (for beta), sums of grad xhat (for gamma)] over rows i rows_per_block .. (i + 1) rows_per_block;
// partial [blocks, 2, C]. blockDim = a multiple of 32 up to 256 (best: see Arrangement), grid (ceil(rows / rows_per_block),
// tiles or fewer); rows_per_block of 32 to 256
#define K(S, T)                                                                                                          \
    extern "C" __global__ void layer_norm_backward_weights_##S(const T* x, const T* grad, const float* mean,             \
                                                               const float* rstd, float* partial, int c, long long rows, \
                                                               int rows_per_block) {                                     \
        if (c % WIDTH<T> == 0 && aligned(x, grad, partial))                                                              \
            layer_norm_backward_weights<WIDTH<T>>(x, grad, mean, rstd, partial, c, rows, rows_per_block);                \
        else layer_norm_backward_weights<1>(x, grad, mean, rstd, partial, c, rows, rows_per_block);                      \
    }
FOR_BOTH(K)
#undef K
