// Activations and the gated GELU, with their derivatives: any grid and block; outputs may be inputs of the same shape.
#include "prelude.cuh"

// Phi, the distribution function of N(0, 1), and its density.
INLINE float normal_cdf(float x) { return 0.5f * (1.0f + erff(x * 0.70710678f)); }
INLINE float normal_density(float x) { return 0.39894228f * expf(-0.5f * x * x); }

template <class T> struct Silu {
    static INLINE float value(float x) { return x * sigmoid<T>(x); }
    static INLINE float slope(float x) {
        const float s = sigmoid<T>(x);
        return s * (1.0f + x * (1.0f - s));
    }
};
template <class T> struct Gelu {
    static INLINE float value(float x) { return x * normal_cdf(x); }
    static INLINE float slope(float x) { return normal_cdf(x) + x * normal_density(x); }
};
// x / 2 (1 + tanh(u)) = x sigmoid(2 u), which has no cancellation; u = sqrt(2 / pi) (x + 0.044715 x^3).
template <class T> struct GeluTanh {
    static INLINE float gate(float x) { return sigmoid<T>(1.5957691f * x * (1.0f + 0.044715f * x * x)); }
    static INLINE float value(float x) { return x * gate(x); }
    static INLINE float slope(float x) {
        const float s = gate(x);
        return s + x * s * (1.0f - s) * 1.5957691f * (1.0f + 0.134145f * x * x);
    }
};
template <class T> struct QuickGelu {
    static INLINE float value(float x) { return x * sigmoid<T>(1.702f * x); }
    static INLINE float slope(float x) {
        const float s = sigmoid<T>(1.702f * x);
        return s * (1.0f + 1.702f * x * (1.0f - s));
    }
};
template <class T> struct Relu {
    // Not fmaxf, which would drop NaN.
    static INLINE float value(float x) { return x < 0.0f ? 0.0f : x; }
    static INLINE float slope(float x) { return x > 0.0f ? 1.0f : 0.0f; }
};
template <class T> struct Tanh {
    static INLINE float value(float x) { return tanhf(x); }
    static INLINE float slope(float x) {
        const float t = tanhf(x);
        return (1.0f - t) * (1.0f + t);
    }
};
template <class T> struct Sigmoid {
    static INLINE float value(float x) { return sigmoid<T>(x); }
    static INLINE float slope(float x) {
        const float s = sigmoid<T>(x);
        return s * (1.0f - s);
    }
};

// run(F()) for the function numbered as in the ABI of the kernels below.
template <class T, class R> INLINE void with_function(int function, R run) {
    switch (function) {
    case 0: return run(Silu<T>());
    case 1: return run(Gelu<T>());
    case 2: return run(GeluTanh<T>());
    case 3: return run(QuickGelu<T>());
    case 4: return run(Relu<T>());
    case 5: return run(Tanh<T>());
    default: return run(Sigmoid<T>());
    }
}

template <int N, class F, class T> INLINE void values(const T* x, T* y, long long from, long long to) {
    for (long long i = from + grid_first() * N; i < to; i += grid_stride() * N) {
        float v[N];
        load(x + i, v);
#pragma unroll
        for (int k = 0; k < N; ++k) v[k] = F::value(v[k]);
        store(y + i, v);
    }
}

template <int N, class F, class T> INLINE void slopes(const T* x, const T* grad, T* dx, long long from, long long to) {
    for (long long i = from + grid_first() * N; i < to; i += grid_stride() * N) {
        float v[N], g[N];
        load(x + i, v);
        load(grad + i, g);
#pragma unroll
        for (int k = 0; k < N; ++k) g[k] *= F::slope(v[k]);
        store(dx + i, g);
    }
}

// y = f(x), f: 0 SiLU, 1 GELU, 2 GELU with tanh, 3 QuickGELU x sigmoid(1.702 x), 4 ReLU, 5 tanh, 6 sigmoid
#define K(S, T)                                                                              \
    extern "C" __global__ void activation_##S(const T* x, T* y, int function, long long n) { \
        const long long whole = aligned(x, y) ? n / WIDTH<T> * WIDTH<T> : 0;                 \
        with_function<T>(function, [=](auto f) {                                             \
            values<WIDTH<T>, decltype(f)>(x, y, 0, whole);                                   \
            values<1, decltype(f)>(x, y, whole, n);                                          \
        });                                                                                  \
    }
FOR_BOTH(K)
#undef K

// dx = grad f'(x)
#define K(S, T)                                                                                                       \
    extern "C" __global__ void activation_backward_##S(const T* x, const T* grad, T* dx, int function, long long n) { \
        const long long whole = aligned(x, grad, dx) ? n / WIDTH<T> * WIDTH<T> : 0;                                   \
        with_function<T>(function, [=](auto f) {                                                                      \
            slopes<WIDTH<T>, decltype(f)>(x, grad, dx, 0, whole);                                                     \
            slopes<1, decltype(f)>(x, grad, dx, whole, n);                                                            \
        });                                                                                                           \
    }
FOR_BOTH(K)
#undef K

template <int N, class T> INLINE void geglu(const T* x, T* y, int f, long long rows) {
    for (Cursor at(f / N); at.row < rows; at.next()) {
        const T* row = x + at.row * 2 * f + at.col * N;
        float a[N], g[N];
        load(row, a);
        load(row + f, g);
#pragma unroll
        for (int k = 0; k < N; ++k) a[k] *= Gelu<T>::value(g[k]);
        store(y + at.row * f + at.col * N, a);
    }
}

template <int N, class T> INLINE void geglu_backward(const T* x, const T* grad, T* dx, int f, long long rows) {
    for (Cursor at(f / N); at.row < rows; at.next()) {
        const long long from = at.row * 2 * f + at.col * N;
        float a[N], g[N], d[N];
        load(x + from, a);
        load(x + from + f, g);
        load(grad + at.row * f + at.col * N, d);
#pragma unroll
        for (int k = 0; k < N; ++k) {
            const float cdf = normal_cdf(g[k]);
            const float slope = cdf + g[k] * normal_density(g[k]);
            const float da = d[k] * (g[k] * cdf);
            g[k] = d[k] * a[k] * slope;
            a[k] = da;
        }
        store(dx + from, a);
        store(dx + from + f, g);
    }
}

// y = a gelu(g) for x [rows, 2 f] = [a, g], y [rows, f]
#define K(S, T)                                                                     \
    extern "C" __global__ void geglu_##S(const T* x, T* y, int f, long long rows) { \
        if (f % WIDTH<T> == 0 && aligned(x, y)) geglu<WIDTH<T>>(x, y, f, rows);     \
        else geglu<1>(x, y, f, rows);                                               \
    }
FOR_BOTH(K)
#undef K

// da = grad gelu(g), dg = grad a gelu'(g)
#define K(S, T)                                                                                              \
    extern "C" __global__ void geglu_backward_##S(const T* x, const T* grad, T* dx, int f, long long rows) { \
        if (f % WIDTH<T> == 0 && aligned(x, grad, dx)) geglu_backward<WIDTH<T>>(x, grad, dx, f, rows);       \
        else geglu_backward<1>(x, grad, dx, f, rows);                                                        \
    }
FOR_BOTH(K)
#undef K
