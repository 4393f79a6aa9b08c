// CUDA's vector types and bfloat16 for the emulated GPU, with the alignments that they have on a GPU.
#pragma once

#include <bit>
#include <cstdint>

#define EMULATED_VECTOR(T, name, align2, align4)                                            \
    struct name##1 { T x; };                                                                \
    struct alignas(align2) name##2 { T x, y; };                                             \
    struct name##3 { T x, y, z; };                                                          \
    struct alignas(align4) name##4 { T x, y, z, w; };                                       \
    constexpr name##1 make_##name##1(T x) { return {x}; }                                   \
    constexpr name##2 make_##name##2(T x, T y) { return {x, y}; }                           \
    constexpr name##3 make_##name##3(T x, T y, T z) { return {x, y, z}; }                   \
    constexpr name##4 make_##name##4(T x, T y, T z, T w) { return {x, y, z, w}; }
EMULATED_VECTOR(signed char, char, 2, 4)
EMULATED_VECTOR(unsigned char, uchar, 2, 4)
EMULATED_VECTOR(short, short, 4, 8)
EMULATED_VECTOR(unsigned short, ushort, 4, 8)
EMULATED_VECTOR(int, int, 8, 16)
EMULATED_VECTOR(unsigned, uint, 8, 16)
EMULATED_VECTOR(float, float, 8, 16)
EMULATED_VECTOR(long long, longlong, 16, 16)
EMULATED_VECTOR(unsigned long long, ulonglong, 16, 16)
EMULATED_VECTOR(double, double, 16, 16)

struct dim3 {
    unsigned x, y, z;
    constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};

constexpr int __float_as_int(float f) { return std::bit_cast<int>(f); }
constexpr unsigned __float_as_uint(float f) { return std::bit_cast<unsigned>(f); }
constexpr float __int_as_float(int i) { return std::bit_cast<float>(i); }
constexpr float __uint_as_float(unsigned u) { return std::bit_cast<float>(u); }

// bfloat16: the upper half of a float. Conversions are explicit and there is no arithmetic: kernels compute in f32.
struct __nv_bfloat16 {
    unsigned short __x;
    __nv_bfloat16() = default;
    explicit constexpr __nv_bfloat16(float f);
    explicit constexpr operator float() const { return __uint_as_float(unsigned(__x) << 16); }
};
using nv_bfloat16 = __nv_bfloat16;

constexpr __nv_bfloat16 __ushort_as_bfloat16(unsigned short u) { return std::bit_cast<__nv_bfloat16>(u); }
constexpr unsigned short __bfloat16_as_ushort(__nv_bfloat16 h) { return h.__x; }

// Round to nearest, ties to even; any NaN becomes 0x7FFF as on the GPU.
constexpr __nv_bfloat16 __float2bfloat16_rn(float f) {
    unsigned u = __float_as_uint(f);
    if ((u & 0x7fffffff) > 0x7f800000) return __ushort_as_bfloat16(0x7fff);
    return __ushort_as_bfloat16(static_cast<unsigned short>((u + 0x7fff + (u >> 16 & 1)) >> 16));
}
constexpr __nv_bfloat16 __float2bfloat16(float f) { return __float2bfloat16_rn(f); }
constexpr float __bfloat162float(__nv_bfloat16 h) { return static_cast<float>(h); }
constexpr __nv_bfloat16::__nv_bfloat16(float f) : __x(__float2bfloat16_rn(f).__x) {}

struct alignas(4) __nv_bfloat162 {
    __nv_bfloat16 x, y;
    __nv_bfloat162() = default;
    constexpr __nv_bfloat162(__nv_bfloat16 x, __nv_bfloat16 y) : x(x), y(y) {}
};
using nv_bfloat162 = __nv_bfloat162;

constexpr __nv_bfloat162 __floats2bfloat162_rn(float x, float y) {
    return {__float2bfloat16_rn(x), __float2bfloat16_rn(y)};
}
constexpr __nv_bfloat162 __float22bfloat162_rn(float2 f) { return __floats2bfloat162_rn(f.x, f.y); }
constexpr float2 __bfloat1622float2(__nv_bfloat162 h) { return {float(h.x), float(h.y)}; }
constexpr float __low2float(__nv_bfloat162 h) { return float(h.x); }
constexpr float __high2float(__nv_bfloat162 h) { return float(h.y); }
constexpr __nv_bfloat16 __low2bfloat16(__nv_bfloat162 h) { return h.x; }
constexpr __nv_bfloat16 __high2bfloat16(__nv_bfloat162 h) { return h.y; }
constexpr __nv_bfloat162 __halves2bfloat162(__nv_bfloat16 x, __nv_bfloat16 y) { return {x, y}; }
constexpr __nv_bfloat162 make_bfloat162(__nv_bfloat16 x, __nv_bfloat16 y) { return {x, y}; }
