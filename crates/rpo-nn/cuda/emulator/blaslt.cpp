// libcublasLt.so.13: cublasLtMatmul with layouts, transposes and the epilogues bias, ReLU and GELU.
#include <algorithm>
#include <cstring>

#include "gemm.h"
#include "runtime.h"

using namespace emulated;

#define API extern "C" EMULATED_PUBLIC int

namespace {

enum { OK = 0, UNINITIALISED = 1, INVALID = 7, FAILED = 13, UNSUPPORTED = 15 };

struct Layout {  // cublasLtMatrixLayout_t
    int type, order = 0, count = 1;
    uint64_t rows, cols;
    int64_t ld, stride = 0;
};
struct Matmul {  // cublasLtMatmulDesc_t
    int compute, scale, pointer_mode = 0, ta = 0, tb = 0, tc = 0, epilogue = 1, bias_type = -1;
    void* bias = nullptr;
    int64_t bias_stride = 0;
};
struct Preference {
    uint64_t workspace = 0;
};
struct Algorithm {  // cublasLtMatmulAlgo_t
    uint64_t data[8];
};
struct Heuristic {  // cublasLtMatmulHeuristicResult_t
    Algorithm algo;
    size_t workspace;
    int state;
    float waves;
    int reserved[4];
};

// Copies an attribute that has exactly this size.
template <class T>
int set(T& to, const void* from, size_t bytes) {
    if (!from || bytes != sizeof(T)) return INVALID;
    return memcpy(&to, from, sizeof(T)), OK;
}

bool type_of(int cuda, Type& out) {
    if (cuda == 0) return out = Type::F32, true;
    if (cuda == 14) return out = Type::BF16, true;
    return false;
}

Matrix matrix(const Layout& l, Type type, int op) {
    Matrix x{nullptr, type, 1, l.ld, l.stride};
    if ((l.order == 1) != (op != 0)) std::swap(x.row, x.col);
    return x;
}

// Fills in everything but the pointers; what the real library would refuse is refused.
int plan(const Matmul* op, const Layout* a, const Layout* b, const Layout* c, const Layout* d, Gemm& g) {
    if (!op || !a || !b || !c || !d) return INVALID;
    Type at, bt, ct, dt;
    if (!type_of(a->type, at) || !type_of(b->type, bt) || !type_of(c->type, ct) || !type_of(d->type, dt)) return UNSUPPORTED;
    if (at != bt || ct != dt || (at == Type::F32 && dt != Type::F32)) return UNSUPPORTED;
    int compute = op->compute;
    if (compute != 68 && compute != 69 && compute != 74 && compute != 75 && compute != 77 && compute != 78) return UNSUPPORTED;
    if (op->scale != 0 || op->tc != 0) return UNSUPPORTED;
    for (auto l : {a, b, c, d}) {
        if (l->order != 0 && l->order != 1) return UNSUPPORTED;
        if (l->ld < int64_t(l->order ? l->cols : l->rows) || l->count != d->count) return INVALID;
    }
    g.m = int64_t(op->ta ? a->cols : a->rows), g.k = int64_t(op->ta ? a->rows : a->cols);
    g.n = int64_t(op->tb ? b->rows : b->cols);
    if (int64_t(op->tb ? b->cols : b->rows) != g.k) return INVALID;
    for (auto l : {c, d})
        if (int64_t(l->rows) != g.m || int64_t(l->cols) != g.n) return INVALID;
    g.count = d->count;
    g.a = matrix(*a, at, op->ta), g.b = matrix(*b, bt, op->tb), g.c = matrix(*c, ct, 0), g.d = matrix(*d, dt, 0);
    int epilogue = op->epilogue;  // DEFAULT 1, RELU 2, BIAS 4, GELU 32 and sums of BIAS and one of these
    if (epilogue & 4) {
        g.bias = op->bias;
        g.bias_type = dt;
        if (op->bias_type >= 0 && !type_of(op->bias_type, g.bias_type)) return UNSUPPORTED;
        g.bias_batch = op->bias_stride;
    }
    switch (epilogue & ~4) {
        case 0: case 1: break;
        case 2: g.activation = Activation::Relu; break;
        case 32: g.activation = Activation::GeluTanh; break;
        default: return UNSUPPORTED;
    }
    return OK;
}

}  // namespace

API cublasLtCreate(void** handle) { return *handle = new char[8], OK; }
API cublasLtDestroy(void* handle) { return delete[] static_cast<char*>(handle), OK; }
extern "C" EMULATED_PUBLIC size_t cublasLtGetVersion() { return 130100; }

API cublasLtMatrixLayoutCreate(Layout** out, int type, uint64_t rows, uint64_t cols, int64_t ld) {
    *out = new Layout;
    (*out)->type = type, (*out)->rows = rows, (*out)->cols = cols, (*out)->ld = ld;
    return OK;
}
API cublasLtMatrixLayoutDestroy(Layout* l) { return delete l, OK; }
API cublasLtMatrixLayoutSetAttribute(Layout* l, int attribute, const void* from, size_t bytes) {
    switch (attribute) {
        case 0: return set(l->type, from, bytes);
        case 1: return set(l->order, from, bytes);
        case 2: return set(l->rows, from, bytes);
        case 3: return set(l->cols, from, bytes);
        case 4: return set(l->ld, from, bytes);
        case 5: return set(l->count, from, bytes);
        case 6: return set(l->stride, from, bytes);
    }
    return INVALID;
}

API cublasLtMatmulDescCreate(Matmul** out, int compute, int scale) {
    *out = new Matmul;
    (*out)->compute = compute, (*out)->scale = scale;
    return OK;
}
API cublasLtMatmulDescDestroy(Matmul* op) { return delete op, OK; }
API cublasLtMatmulDescSetAttribute(Matmul* op, int attribute, const void* from, size_t bytes) {
    switch (attribute) {
        case 0: return set(op->compute, from, bytes);
        case 1: return set(op->scale, from, bytes);
        case 2: return set(op->pointer_mode, from, bytes);
        case 3: return set(op->ta, from, bytes);
        case 4: return set(op->tb, from, bytes);
        case 5: return set(op->tc, from, bytes);
        case 7: return set(op->epilogue, from, bytes);
        case 8: return set(op->bias, from, bytes);
        case 10: return set(op->bias_stride, from, bytes);
        case 26: return set(op->bias_type, from, bytes);
    }
    return INVALID;
}

API cublasLtMatmulPreferenceCreate(Preference** out) { return *out = new Preference, OK; }
API cublasLtMatmulPreferenceDestroy(Preference* p) { return delete p, OK; }
API cublasLtMatmulPreferenceSetAttribute(Preference* p, int attribute, const void* from, size_t bytes) {
    return attribute == 1 ? set(p->workspace, from, bytes) : OK;
}

API cublasLtMatmulAlgoGetHeuristic(void* handle, const Matmul* op, const Layout* a, const Layout* b, const Layout* c,
                                   const Layout* d, const Preference* preference, int wanted, Heuristic* results, int* found) {
    *found = 0;
    if (!handle || !preference || wanted < 1) return INVALID;
    Gemm g;
    if (int error = plan(op, a, b, c, d, g)) return error;
    *results = Heuristic{{{1}}, 0, OK, 1.0f, {}};
    return *found = 1, OK;
}

API cublasLtMatmul(void* handle, const Matmul* op, const void* alpha, const void* a, const Layout* la, const void* b,
                   const Layout* lb, const void* beta, const void* c, const Layout* lc, void* d, const Layout* ld,
                   const Algorithm*, void* workspace, size_t workspace_bytes, void*) {
    if (!handle) return UNINITIALISED;
    Gemm g;
    if (int error = plan(op, la, lb, lc, ld, g)) return error;
    if ((op->epilogue & 4 && !op->bias) || (workspace_bytes && reinterpret_cast<uintptr_t>(workspace) % 16)) return INVALID;
    g.alpha = *static_cast<const float*>(alpha), g.beta = *static_cast<const float*>(beta);
    g.a.data = const_cast<void*>(a), g.b.data = const_cast<void*>(b), g.c.data = const_cast<void*>(c), g.d.data = d;
    auto name = "cublasLtMatmul";
    if (!owns(name, "A", g.a, g.m, g.k, g.count) || !owns(name, "B", g.b, g.k, g.n, g.count)) return FAILED;
    if (!owns(name, "D", g.d, g.m, g.n, g.count)) return FAILED;
    if (g.beta != 0 && !owns(name, "C", g.c, g.m, g.n, g.count)) return FAILED;
    Matrix bias{const_cast<void*>(g.bias), g.bias_type, 1, 0, g.bias_batch};
    if (g.bias && !owns(name, "bias", bias, g.m, 1, g.count)) return FAILED;
    gemm(g);
    return OK;
}
