// CUDA's device math that <math.h> does not have. The `__` intrinsics are as exact here as their plain versions,
// so their error on a GPU does not show.
#pragma once

#include <math.h>
#include <type_traits>

#ifndef CUDART_INF_F
#define CUDART_INF_F __builtin_inff()
#endif

inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }
inline double rsqrt(double x) { return 1.0 / sqrt(x); }
inline float __expf(float x) { return expf(x); }
inline float __exp2f(float x) { return exp2f(x); }
inline float __logf(float x) { return logf(x); }
inline float __log2f(float x) { return log2f(x); }
inline float __powf(float x, float y) { return powf(x, y); }
inline float __sinf(float x) { return sinf(x); }
inline float __cosf(float x) { return cosf(x); }
inline float __tanhf(float x) { return tanhf(x); }
inline float __fdividef(float a, float b) { return a / b; }
inline float __frcp_rn(float x) { return 1.0f / x; }
inline float __fsqrt_rn(float x) { return sqrtf(x); }
inline float __frsqrt_rn(float x) { return float(1.0 / sqrt(double(x))); }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }
inline float __saturatef(float x) { return fminf(fmaxf(x, 0.0f), 1.0f); }

// What must not be contracted into a fused multiply-add: the empty asm hides where the value comes from.
inline float emulated_opaque(float x) { asm("" : "+x"(x)); return x; }
inline double emulated_opaque(double x) { asm("" : "+x"(x)); return x; }
inline float __fmul_rn(float a, float b) { return emulated_opaque(a * b); }
inline float __fadd_rn(float a, float b) { return emulated_opaque(emulated_opaque(a) + emulated_opaque(b)); }
inline float __fsub_rn(float a, float b) { return emulated_opaque(emulated_opaque(a) - emulated_opaque(b)); }
inline double __dmul_rn(double a, double b) { return emulated_opaque(a * b); }
inline double __dadd_rn(double a, double b) { return emulated_opaque(emulated_opaque(a) + emulated_opaque(b)); }

inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __clz(int x) { return x ? __builtin_clz(x) : 32; }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline unsigned __umulhi(unsigned a, unsigned b) { return unsigned((unsigned long long)a * b >> 32); }
inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
    return (unsigned long long)((unsigned __int128)a * b >> 64);
}

// min and max of CUDA take any two numbers and, for floats, the one that is not NaN.
template <class A, class B>
    requires(std::is_arithmetic_v<A> && std::is_arithmetic_v<B>)
constexpr std::common_type_t<A, B> min(A a, B b) {
    using C = std::common_type_t<A, B>;
    if constexpr (std::is_floating_point_v<C>) return fmin(C(a), C(b));
    else return C(b) < C(a) ? C(b) : C(a);
}
template <class A, class B>
    requires(std::is_arithmetic_v<A> && std::is_arithmetic_v<B>)
constexpr std::common_type_t<A, B> max(A a, B b) {
    using C = std::common_type_t<A, B>;
    if constexpr (std::is_floating_point_v<C>) return fmax(C(a), C(b));
    else return C(a) < C(b) ? C(b) : C(a);
}

template <class T> T __ldg(const T* p) { return *p; }
template <class T> T __ldcg(const T* p) { return *p; }
template <class T> T __ldcs(const T* p) { return *p; }
template <class T> void __stcg(T* p, T v) { *p = v; }
template <class T> void __stcs(T* p, T v) { *p = v; }
