// Matrix products of the emulated cuBLAS, cuBLASLt and cuDNN: f32 or bf16 in and out, f32 sums.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "emulate_types.h"

namespace emulated {

enum class Type { F32, BF16 };

inline size_t size_of(Type t) { return t == Type::F32 ? 4 : 2; }
inline float load(const void* at, Type t, int64_t i) {
    if (t == Type::F32) return static_cast<const float*>(at)[i];
    return __bfloat162float(static_cast<const __nv_bfloat16*>(at)[i]);
}
inline void store(void* at, Type t, int64_t i, float v) {
    if (t == Type::F32) static_cast<float*>(at)[i] = v;
    else static_cast<__nv_bfloat16*>(at)[i] = __float2bfloat16_rn(v);
}

// Element (i, j) is at i * row + j * col; matrix b of a batch starts at b * batch.
struct Matrix {
    void* data = nullptr;
    Type type = Type::F32;
    int64_t row = 0, col = 0, batch = 0;
};

enum class Activation { None, Relu, GeluTanh };
float activate(Activation a, float x);

// d = activation(alpha a b + beta c + bias), a of m x k, b of k x n, bias a value a row of d.
struct Gemm {
    int64_t m = 0, n = 0, k = 0, count = 1;
    float alpha = 1, beta = 0;
    Matrix a, b, c, d;
    const void* bias = nullptr;
    Type bias_type = Type::F32;
    int64_t bias_batch = 0;
    Activation activation = Activation::None;
};
void gemm(const Gemm& g);

// Whether all elements of the matrices are device memory; tells on standard error which is not.
bool owns(const char* function, const char* name, const Matrix& x, int64_t rows, int64_t cols, int64_t count);

}  // namespace emulated
