// Zeros around feature maps, for convolutions that pad two sides differently: the library they are given to pads both alike.
#include "prelude.cuh"

// y [B, height, width, C] = x [B, h, w, C] from row `top` and column `left` on, 0 elsewhere; n elements of y. Any grid and block
#define K(S, T)                                                                                                              \
    extern "C" __global__ void pad_##S(const T* x, T* y, int h, int w, int height, int width, int top, int left, int c,      \
                                       long long n) {                                                                        \
        for (long long i = grid_first(); i < n; i += grid_stride()) {                                                        \
            const long long pixel = i / c, row = pixel / width;                                                              \
            const int channel = static_cast<int>(i - pixel * c), column = static_cast<int>(pixel - row * width) - left;      \
            const long long image = row / height;                                                                            \
            const int line = static_cast<int>(row - image * height) - top;                                                   \
            const bool inside = line >= 0 && line < h && column >= 0 && column < w;                                          \
            y[i] = inside ? x[((image * h + line) * w + column) * c + channel] : from_float<T>(0.0f);                        \
        }                                                                                                                    \
    }
K(f32, float)
K(bf16, bf16)
#undef K
