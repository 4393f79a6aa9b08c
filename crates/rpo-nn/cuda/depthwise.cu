// Depthwise convolution, channels last: every channel has its own kernel.
#include "prelude.cuh"

// Neighbouring outputs of a thread, which share the weights it loads.
constexpr int STRIP = 4;

struct Geometry {
    int h, w, c, out_h, out_w, kh, kw, stride, top, left;
};

// One strip: outputs (oy, ox .. ox + STRIP) of the image at x, channels first .. first + N.
template <int N, class T>
INLINE void strip(const T* x, const float* weight, const float* bias, T* y, const Geometry& g, int oy, int ox, int first) {
    float sum[STRIP][N] = {};
    if (bias) {
        load(bias + first, sum[0]);
#pragma unroll
        for (int s = 1; s < STRIP; ++s)
#pragma unroll
            for (int k = 0; k < N; ++k) sum[s][k] = sum[0][k];
    }
    for (int ky = 0; ky < g.kh; ++ky) {
        const int iy = oy * g.stride + ky - g.top;
        if (iy < 0 || iy >= g.h) continue;
        for (int kx = 0; kx < g.kw; ++kx) {
            float w[N];
            load(weight + (ky * g.kw + kx) * g.c + first, w);
#pragma unroll
            for (int s = 0; s < STRIP; ++s) {
                const int ix = (ox + s) * g.stride + kx - g.left;
                if (ix < 0 || ix >= g.w) continue;
                float v[N];
                load(x + (static_cast<long long>(iy) * g.w + ix) * g.c + first, v);
#pragma unroll
                for (int k = 0; k < N; ++k) sum[s][k] = fmaf(v[k], w[k], sum[s][k]);
            }
        }
    }
#pragma unroll
    for (int s = 0; s < STRIP; ++s)
        if (ox + s < g.out_w) store(y + (static_cast<long long>(oy) * g.out_w + ox + s) * g.c + first, sum[s]);
}

template <int N, class T>
INLINE void depthwise(const T* x, const float* w, const float* bias, T* y, const Geometry& g, long long n) {
    const int vectors = g.c / N, strips = (g.out_w + STRIP - 1) / STRIP;
    const long long rows = n / (static_cast<long long>(g.out_w) * g.c);
    for (Cursor at(strips * vectors); at.row < rows; at.next()) {
        const long long image = divide(at.row, g.out_h);
        const int oy = static_cast<int>(at.row - image * g.out_h), place = at.col / vectors;
        strip<N>(x + image * g.h * g.w * g.c, w, bias, y + image * g.out_h * g.out_w * g.c, g, oy, place * STRIP,
                 (at.col - place * vectors) * N);
    }
}

// y[b, i, j, c] = bias[c] + sum of w[ky, kx, c] x[b, i stride + ky - top, j stride + kx - left, c], x being 0 outside:
// x [B, h, w_in, C], w [kh, kw, C], y [B, out_h, out_w, C] with n elements, bias may be null. Any grid and block; a thread
// makes 4 neighbouring outputs of 8 (bf16) or 4 (f32) channels
#define K(S, T)                                                                                                           \
    extern "C" __global__ void depthwise_##S(const T* x, const float* w, const float* bias, T* y, int h, int w_in, int c, \
                                             int out_h, int out_w, int kh, int kw, int stride, int top, int left,         \
                                             long long n) {                                                               \
        const Geometry g = {h, w_in, c, out_h, out_w, kh, kw, stride, top, left};                                         \
        if (c % WIDTH<T> == 0 && aligned(x, w, bias, y)) depthwise<WIDTH<T>>(x, w, bias, y, g, n);                        \
        else depthwise<1>(x, w, bias, y, g, n);                                                                           \
    }
FOR_BOTH(K)
#undef K
