// Elementwise kernels: any grid and block (256 threads, at most a few thousand blocks, are best); y may be an input.
#include "prelude.cuh"

// y[i] = f(x[i], i).
template <class X, class Y, class F> INLINE void map(const X* x, Y* y, long long n, F f) {
    constexpr int N = WIDTH<X> > WIDTH<Y> ? WIDTH<X> : WIDTH<Y>;
    const long long whole = aligned(x, y) ? n / N * N : 0;
    for (long long i = grid_first() * N; i < whole; i += grid_stride() * N) {
        float v[N];
        load(x + i, v);
#pragma unroll
        for (int k = 0; k < N; ++k) v[k] = f(v[k], i + k);
        store(y + i, v);
    }
    for (long long i = whole + grid_first(); i < n; i += grid_stride()) y[i] = from_float<Y>(f(to_float(x[i]), i));
}

// y[i] = f(a[i], b[i]).
template <class T, class F> INLINE void map2(const T* a, const T* b, T* y, long long n, F f) {
    constexpr int N = WIDTH<T>;
    const long long whole = aligned(a, b, y) ? n / N * N : 0;
    for (long long i = grid_first() * N; i < whole; i += grid_stride() * N) {
        float u[N], v[N];
        load(a + i, u);
        load(b + i, v);
#pragma unroll
        for (int k = 0; k < N; ++k) v[k] = f(u[k], v[k]);
        store(y + i, v);
    }
    for (long long i = whole + grid_first(); i < n; i += grid_stride())
        y[i] = from_float<T>(f(to_float(a[i]), to_float(b[i])));
}

struct Sum {
    INLINE float operator()(float a, float b) const { return a + b; }
};
struct Product {
    INLINE float operator()(float a, float b) const { return a * b; }
};

// y = a + b
#define K(S, T) extern "C" __global__ void add_##S(const T* a, const T* b, T* y, long long n) { map2(a, b, y, n, Sum()); }
FOR_BOTH(K)
#undef K

// y += x
#define K(S, T) extern "C" __global__ void accumulate_##S(T* y, const T* x, long long n) { map2(y, x, y, n, Sum()); }
FOR_BOTH(K)
#undef K

// y = a b
#define K(S, T) extern "C" __global__ void mul_##S(const T* a, const T* b, T* y, long long n) { map2(a, b, y, n, Product()); }
FOR_BOTH(K)
#undef K

// y = s x
#define K(S, T)                                                                    \
    extern "C" __global__ void scale_##S(const T* x, T* y, float s, long long n) { \
        map(x, y, n, [=](float x, long long) { return x * s; });                   \
    }
FOR_BOTH(K)
#undef K

// y[b, p, c] = f(x[b, p, c], t[b, c]), with `image` = P C elements an image.
template <int N, class T, class F>
INLINE void channels(const T* x, const T* t, T* y, long long image, int c, long long n, F f) {
    Cursor pixel(c / N), whole(static_cast<int>(image / N));
    for (long long i = grid_first() * N; i < n; i += grid_stride() * N, pixel.next(), whole.next()) {
        float u[N], v[N];
        load(x + i, u);
        load(t + whole.row * c + pixel.col * N, v);
#pragma unroll
        for (int k = 0; k < N; ++k) v[k] = f(u[k], v[k]);
        store(y + i, v);
    }
}

template <class T, class F> INLINE void channels_best(const T* x, const T* t, T* y, long long image, int c, long long n, F f) {
    constexpr int N = WIDTH<T>;
    if (c % N == 0 && aligned(x, t, y)) channels<N>(x, t, y, image, c, n, f);
    else channels<1>(x, t, y, image, c, n, f);
}

// y = x + t, the same t [B, C] at every position of x [B, P, C]; P C < 2^31
#define K(S, T)                                                                                                      \
    extern "C" __global__ void add_channels_##S(const T* x, const T* t, T* y, long long image, int c, long long n) { \
        channels_best(x, t, y, image, c, n, Sum());                                                                  \
    }
FOR_BOTH(K)
#undef K

// y = x t, the same t [B, C] at every position of x [B, P, C]; P C < 2^31
#define K(S, T)                                                                                                      \
    extern "C" __global__ void mul_channels_##S(const T* x, const T* t, T* y, long long image, int c, long long n) { \
        channels_best(x, t, y, image, c, n, Product());                                                              \
    }
FOR_BOTH(K)
#undef K

template <int N, class T> INLINE void add_bias(T* y, const float* bias, int c, long long n) {
    Cursor row(c / N);
    for (long long i = grid_first() * N; i < n; i += grid_stride() * N, row.next()) {
        float u[N], v[N];
        load(y + i, u);
        load(bias + row.col * N, v);
#pragma unroll
        for (int k = 0; k < N; ++k) v[k] += u[k];
        store(y + i, v);
    }
}

// y[.., C] += bias[C]
#define K(S, T)                                                                            \
    extern "C" __global__ void add_bias_##S(T* y, const float* bias, int c, long long n) { \
        if (c % WIDTH<T> == 0 && aligned(y, bias)) add_bias<WIDTH<T>>(y, bias, c, n);      \
        else add_bias<1>(y, bias, c, n);                                                   \
    }
FOR_BOTH(K)
#undef K

// Element i is 0 if the upper half of SplitMix64's output i is below `threshold` (of 2^32), else keep x[i].
INLINE float dropped(float x, unsigned long long i, unsigned long long seed, unsigned long long threshold, float keep) {
    unsigned long long z = seed + i * 0x9e3779b97f4a7c15ull;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    z ^= z >> 31;
    return (z >> 32) < threshold ? 0.0f : x * keep;
}

#define K(S, T)                                                                                                     \
    extern "C" __global__ void dropout_##S(const T* x, T* y, unsigned long long seed, unsigned long long threshold, \
                                           float keep, long long n) {                                               \
        map(x, y, n, [=](float x, long long i) { return dropped(x, i, seed, threshold, keep); });                   \
    }
FOR_BOTH(K)
#undef K

struct Same {
    INLINE float operator()(float x, long long) const { return x; }
};

// y = x in the other type
extern "C" __global__ void cast_f32_bf16(const float* x, bf16* y, long long n) { map(x, y, n, Same()); }
extern "C" __global__ void cast_bf16_f32(const bf16* x, float* y, long long n) { map(x, y, n, Same()); }
