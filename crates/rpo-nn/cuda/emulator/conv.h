// Two-dimensional convolutions of the emulated cuDNN, for any strides of the tensors.
#pragma once

#include <cstdint>
#include <vector>

#include "gemm.h"

namespace emulated {

struct Tensor {  // dimensions and strides in the order n, c, h, w
    bool set = false;
    Type type;
    int64_t dim[4], stride[4];
    int64_t at(int64_t n, int64_t c, int64_t h, int64_t w) const {
        return n * stride[0] + c * stride[1] + h * stride[2] + w * stride[3];
    }
};
struct Filter {  // memory order k, c, r, s or, channels last, k, r, s, c
    bool set = false, channels_last;
    Type type;
    int64_t k, c, r, s;
};
struct Conv {
    bool set = false, flip = false;
    int64_t pad[2], stride[2], dilation[2], groups = 1;
    // Size of the output for an input of size n and a filter of size f along h (0) or w (1).
    int64_t output(int along, int64_t n, int64_t f) const {
        return (n + 2 * pad[along] - ((f - 1) * dilation[along] + 1)) / stride[along] + 1;
    }
};

// y = activation(alpha conv(x, w) + beta z + bias); z of y's layout, bias of y's type with a value a channel, or null.
void conv_forward(const Conv& op, float alpha, const Tensor& tx, const void* x, const Filter& tw, const void* w, float beta,
                  const void* z, const void* bias, Activation activation, const Tensor& ty, void* y);
// dx = alpha (conv's transpose of dy) + beta dx
void conv_backward_data(const Conv& op, float alpha, const Filter& tw, const void* w, const Tensor& ty, const void* dy,
                        float beta, const Tensor& tx, void* dx);
// dw = alpha (gradient of the filter) + beta dw
void conv_backward_filter(const Conv& op, float alpha, const Tensor& tx, const void* x, const Tensor& ty, const void* dy,
                          float beta, const Filter& tw, void* dw);

}  // namespace emulated
