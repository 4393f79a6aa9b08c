// libcublas.so.13: matrix products in f32 and bf16. The rest answers CUBLAS_STATUS_NOT_SUPPORTED (stubs).
#include <algorithm>
#include <cstdio>

#include "gemm.h"
#include "runtime.h"

using namespace emulated;

#define API extern "C" EMULATED_PUBLIC int

namespace {

enum { OK = 0, UNINITIALISED = 1, INVALID = 7, FAILED = 13, UNSUPPORTED = 15 };

struct Handle {
    void* stream = nullptr;
    int pointer_mode = 0, math_mode = 0, atomics = 0;
};

bool type_of(int cuda, Type& out) {
    if (cuda == 0) return out = Type::F32, true;    // CUDA_R_32F
    if (cuda == 14) return out = Type::BF16, true;  // CUDA_R_16BF
    return false;
}

struct Operand {  // column-major, the batch's matrices `stride` elements apart
    const void* data;
    int type, ld;
    long long stride;
    Matrix matrix(Type t, int transposed) const {
        Matrix x{const_cast<void*>(data), t, 1, ld, stride};
        if (transposed) std::swap(x.row, x.col);
        return x;
    }
};

int product(const char* name, Handle* h, int ta, int tb, int m, int n, int k, float alpha, Operand a, Operand b, float beta,
            Operand c, int count, int compute) {
    if (!h) return UNINITIALISED;
    if (m < 0 || n < 0 || k < 0 || count < 0 || ta < 0 || ta > 2 || tb < 0 || tb > 2) return INVALID;
    if (a.ld < std::max(1, ta ? k : m) || b.ld < std::max(1, tb ? n : k) || c.ld < std::max(1, m)) return INVALID;
    // CUBLAS_COMPUTE_32F and its faster variants
    if (compute != 68 && compute != 69 && compute != 74 && compute != 75 && compute != 77 && compute != 78) return UNSUPPORTED;
    Type at, bt, ct;
    if (!type_of(a.type, at) || !type_of(b.type, bt) || !type_of(c.type, ct) || at != bt) return UNSUPPORTED;
    if (at == Type::F32 && ct != Type::F32) return UNSUPPORTED;
    Gemm g;
    g.m = m, g.n = n, g.k = k, g.count = count, g.alpha = alpha, g.beta = beta;
    g.a = a.matrix(at, ta), g.b = b.matrix(bt, tb), g.c = g.d = c.matrix(ct, 0);
    if (!owns(name, "A", g.a, m, k, count) || !owns(name, "B", g.b, k, n, count) || !owns(name, "C", g.c, m, n, count))
        return FAILED;
    gemm(g);
    return OK;
}

float scalar(const void* at) { return *static_cast<const float*>(at); }

}  // namespace

API cublasCreate_v2(Handle** h) { return *h = new Handle, OK; }
API cublasDestroy_v2(Handle* h) {
    if (!h) return UNINITIALISED;
    return delete h, OK;
}
API cublasSetStream_v2(Handle* h, void* stream) { return h->stream = stream, OK; }
API cublasGetStream_v2(Handle* h, void** stream) { return *stream = h->stream, OK; }
API cublasSetWorkspace_v2(Handle*, void* at, size_t) { return reinterpret_cast<uintptr_t>(at) % 16 ? INVALID : OK; }
API cublasSetPointerMode_v2(Handle* h, int mode) { return h->pointer_mode = mode, OK; }
API cublasGetPointerMode_v2(Handle* h, int* mode) { return *mode = h->pointer_mode, OK; }
API cublasSetMathMode(Handle* h, int mode) { return h->math_mode = mode, OK; }
API cublasGetMathMode(Handle* h, int* mode) { return *mode = h->math_mode, OK; }
API cublasSetAtomicsMode(Handle* h, int mode) { return h->atomics = mode, OK; }
API cublasGetAtomicsMode(Handle* h, int* mode) { return *mode = h->atomics, OK; }
API cublasGetVersion_v2(Handle*, int* version) { return *version = 130100, OK; }

API cublasGemmStridedBatchedEx(Handle* h, int ta, int tb, int m, int n, int k, const void* alpha, const void* a, int a_type,
                               int lda, long long stride_a, const void* b, int b_type, int ldb, long long stride_b,
                               const void* beta, void* c, int c_type, int ldc, long long stride_c, int count, int compute,
                               int) {
    return product("cublasGemmStridedBatchedEx", h, ta, tb, m, n, k, scalar(alpha), {a, a_type, lda, stride_a},
                   {b, b_type, ldb, stride_b}, scalar(beta), {c, c_type, ldc, stride_c}, count, compute);
}
API cublasGemmEx(Handle* h, int ta, int tb, int m, int n, int k, const void* alpha, const void* a, int a_type, int lda,
                 const void* b, int b_type, int ldb, const void* beta, void* c, int c_type, int ldc, int compute, int) {
    return product("cublasGemmEx", h, ta, tb, m, n, k, scalar(alpha), {a, a_type, lda, 0}, {b, b_type, ldb, 0}, scalar(beta),
                   {c, c_type, ldc, 0}, 1, compute);
}
API cublasSgemm_v2(Handle* h, int ta, int tb, int m, int n, int k, const float* alpha, const float* a, int lda, const float* b,
                   int ldb, const float* beta, float* c, int ldc) {
    return product("cublasSgemm", h, ta, tb, m, n, k, *alpha, {a, 0, lda, 0}, {b, 0, ldb, 0}, *beta, {c, 0, ldc, 0}, 1, 68);
}
API cublasSgemmStridedBatched(Handle* h, int ta, int tb, int m, int n, int k, const float* alpha, const float* a, int lda,
                              long long stride_a, const float* b, int ldb, long long stride_b, const float* beta, float* c,
                              int ldc, long long stride_c, int count) {
    return product("cublasSgemmStridedBatched", h, ta, tb, m, n, k, *alpha, {a, 0, lda, stride_a}, {b, 0, ldb, stride_b},
                   *beta, {c, 0, ldc, stride_c}, count, 68);
}
API cublasSgemv_v2(Handle* h, int trans, int m, int n, const float* alpha, const float* a, int lda, const float* x, int incx,
                   const float* beta, float* y, int incy) {
    if (incx <= 0 || incy <= 0) return UNSUPPORTED;
    // The vectors are rows of matrices with the leading dimension inc: y^T = x^T op(A)^T.
    int rows = trans ? n : m, depth = trans ? m : n;
    return product("cublasSgemv", h, 0, trans ? 0 : 1, 1, rows, depth, *alpha, {x, 0, incx, 0}, {a, 0, lda, 0}, *beta,
                   {y, 0, incy, 0}, 1, 68);
}

extern "C" EMULATED_PUBLIC const char* cublasGetStatusName(int status) {
    switch (status) {
        case OK: return "CUBLAS_STATUS_SUCCESS";
        case UNINITIALISED: return "CUBLAS_STATUS_NOT_INITIALIZED";
        case INVALID: return "CUBLAS_STATUS_INVALID_VALUE";
        case FAILED: return "CUBLAS_STATUS_EXECUTION_FAILED";
        case UNSUPPORTED: return "CUBLAS_STATUS_NOT_SUPPORTED";
    }
    return "CUBLAS_STATUS_?";
}
extern "C" EMULATED_PUBLIC const char* cublasGetStatusString(int status) { return cublasGetStatusName(status); }
