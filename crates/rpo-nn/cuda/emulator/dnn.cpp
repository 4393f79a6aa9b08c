// libcudnn.so.9: 2-d convolutions, forward and backward, with descriptors checked as the real library checks them.
#include <cstdio>
#include <cstring>

#include "conv.h"
#include "memory.h"
#include "runtime.h"

using namespace emulated;

#define API extern "C" EMULATED_PUBLIC int

namespace {

enum { OK = 0, BAD = 2000, NULL_POINTER = 2002, UNSUPPORTED = 3000, FAILED = 5000 };
enum { IDENTITY = 5, RELU = 1 };  // cudnnActivationMode_t

struct Handle {
    void* stream = nullptr;
};
struct ActivationMode {
    int mode = -1;
};

bool type_of(int cudnn, Type& out) {
    if (cudnn == 0) return out = Type::F32, true;   // CUDNN_DATA_FLOAT
    if (cudnn == 9) return out = Type::BF16, true;  // CUDNN_DATA_BFLOAT16
    return false;
}

int set_tensor(Tensor* t, int type, const int* dim, const int* stride) {
    if (!t) return NULL_POINTER;
    if (!type_of(type, t->type)) return UNSUPPORTED;
    for (int i = 0; i < 4; ++i) {
        if (dim[i] < 1 || stride[i] < 1) return BAD;
        t->dim[i] = dim[i], t->stride[i] = stride[i];
    }
    t->set = true;
    return OK;
}

int set_packed(Tensor* t, int format, int type, int n, int c, int h, int w) {
    int dim[] = {n, c, h, w}, nchw[] = {c * h * w, h * w, w, 1}, nhwc[] = {h * w * c, 1, w * c, c};
    return format > 1 ? UNSUPPORTED : set_tensor(t, type, dim, format ? nhwc : nchw);
}

int64_t elements(const Tensor& t) {
    int64_t last = 0;
    for (int i = 0; i < 4; ++i) last += (t.dim[i] - 1) * t.stride[i];
    return last + 1;
}

int check(const Handle* h, const Tensor* x, const Filter* w, const Conv* op, const Tensor* y) {
    if (!h || !x || !w || !op || !y) return NULL_POINTER;
    if (!x->set || !w->set || !op->set || !y->set) return BAD;
    if (x->type != w->type || x->type != y->type) return UNSUPPORTED;
    if (x->dim[1] != w->c * op->groups || w->k % op->groups || y->dim[1] != w->k || x->dim[0] != y->dim[0]) return BAD;
    for (int i = 0; i < 2; ++i) {
        int64_t f = i ? w->s : w->r;
        if (x->dim[2 + i] + 2 * op->pad[i] < (f - 1) * op->dilation[i] + 1) return BAD;
        if (y->dim[2 + i] != op->output(i, x->dim[2 + i], f)) return BAD;
    }
    if (elements(*x) > 0x7fffffff || elements(*y) > 0x7fffffff) return UNSUPPORTED;
    if (w->channels_last && (x->stride[1] != 1 || y->stride[1] != 1)) return UNSUPPORTED;
    return OK;
}

// Algorithm 0 needs no workspace; the others do, here, so that callers are seen to give it.
size_t workspace_of(int algorithm) { return algorithm == 0 ? 0 : 256 << 10; }

bool owned(const char* function, const char* name, const void* at, size_t bytes) {
    if (reinterpret_cast<uintptr_t>(at) % 16 == 0 && device_owns(at, bytes)) return true;
    fprintf(stderr, "emulated GPU: %s: %s is not aligned to 16 bytes or not inside of one allocation of device memory\n",
            function, name);
    return false;
}
bool owned(const char* function, const char* name, const Tensor& t, const void* at) {
    return owned(function, name, at, elements(t) * size_of(t.type));
}
bool owned(const char* function, const char* name, const Filter& w, const void* at) {
    return owned(function, name, at, w.k * w.c * w.r * w.s * size_of(w.type));
}

int use_workspace(const char* function, int algorithm, void* at, size_t bytes) {
    size_t need = workspace_of(algorithm);
    if (bytes < need || (need && !at)) return BAD;
    if (need && !owned(function, "the workspace", at, need)) return FAILED;
    if (need && !idle()) memset(at, 0xFF, need);
    return OK;
}

float scalar(const void* at) { return *static_cast<const float*>(at); }

struct Performance {  // cudnnConvolution*AlgoPerf_t
    int algorithm, status;
    float time;
    size_t memory;
    int deterministic, math, reserved[3];
};
int suggest(int error, std::initializer_list<std::pair<int, int>> algorithms, const Tensor* x, int wanted, int* found,
            Performance* out) {
    if (error) return error;
    if (wanted < 1 || !found || !out) return BAD;
    *found = 0;
    for (auto [algorithm, deterministic] : algorithms)
        if (*found < wanted)
            out[(*found)++] = {algorithm, OK, -1.0f, workspace_of(algorithm), deterministic, x->type == Type::BF16, {}};
    return OK;
}

}  // namespace

API cudnnCreate(Handle** h) { return *h = new Handle, OK; }
API cudnnDestroy(Handle* h) { return delete h, OK; }
API cudnnSetStream(Handle* h, void* stream) { return h->stream = stream, OK; }
API cudnnGetStream(Handle* h, void** stream) { return *stream = h->stream, OK; }
extern "C" EMULATED_PUBLIC size_t cudnnGetVersion() { return 91900; }
extern "C" EMULATED_PUBLIC size_t cudnnGetCudartVersion() { return 13000; }
API cudnnOpsVersionCheck() { return OK; }
API cudnnCnnVersionCheck() { return OK; }
API cudnnAdvVersionCheck() { return OK; }
extern "C" EMULATED_PUBLIC const char* cudnnGetErrorString(int status) {
    switch (status) {
        case OK: return "CUDNN_STATUS_SUCCESS";
        case BAD: return "CUDNN_STATUS_BAD_PARAM";
        case NULL_POINTER: return "CUDNN_STATUS_BAD_PARAM_NULL_POINTER";
        case UNSUPPORTED: return "CUDNN_STATUS_NOT_SUPPORTED";
        case FAILED: return "CUDNN_STATUS_EXECUTION_FAILED";
    }
    return "CUDNN_STATUS_?";
}

API cudnnCreateTensorDescriptor(Tensor** t) { return *t = new Tensor, OK; }
API cudnnDestroyTensorDescriptor(Tensor* t) { return delete t, OK; }
API cudnnSetTensor4dDescriptor(Tensor* t, int format, int type, int n, int c, int h, int w) {
    return set_packed(t, format, type, n, c, h, w);
}
API cudnnSetTensor4dDescriptorEx(Tensor* t, int type, int n, int c, int h, int w, int sn, int sc, int sh, int sw) {
    int dim[] = {n, c, h, w}, stride[] = {sn, sc, sh, sw};
    return set_tensor(t, type, dim, stride);
}
API cudnnSetTensorNdDescriptor(Tensor* t, int type, int dims, const int* dim, const int* stride) {
    return dims == 4 ? set_tensor(t, type, dim, stride) : UNSUPPORTED;
}
API cudnnSetTensorNdDescriptorEx(Tensor* t, int format, int type, int dims, const int* dim) {
    return dims == 4 ? set_packed(t, format, type, dim[0], dim[1], dim[2], dim[3]) : UNSUPPORTED;
}

API cudnnCreateFilterDescriptor(Filter** w) { return *w = new Filter, OK; }
API cudnnDestroyFilterDescriptor(Filter* w) { return delete w, OK; }
API cudnnSetFilter4dDescriptor(Filter* w, int type, int format, int k, int c, int r, int s) {
    if (!w) return NULL_POINTER;
    if (k < 1 || c < 1 || r < 1 || s < 1) return BAD;
    if (format > 1 || !type_of(type, w->type)) return UNSUPPORTED;
    w->set = true, w->channels_last = format, w->k = k, w->c = c, w->r = r, w->s = s;
    return OK;
}
API cudnnSetFilterNdDescriptor(Filter* w, int type, int format, int dims, const int* dim) {
    return dims == 4 ? cudnnSetFilter4dDescriptor(w, type, format, dim[0], dim[1], dim[2], dim[3]) : UNSUPPORTED;
}

API cudnnCreateConvolutionDescriptor(Conv** op) { return *op = new Conv, OK; }
API cudnnDestroyConvolutionDescriptor(Conv* op) { return delete op, OK; }
API cudnnSetConvolution2dDescriptor(Conv* op, int ph, int pw, int sh, int sw, int dh, int dw, int mode, int compute) {
    if (!op) return NULL_POINTER;
    if (ph < 0 || pw < 0 || sh < 1 || sw < 1 || dh < 1 || dw < 1 || mode < 0 || mode > 1) return BAD;
    if (compute != 0) return UNSUPPORTED;
    *op = {true, mode == 0, {ph, pw}, {sh, sw}, {dh, dw}, 1};
    return OK;
}
API cudnnSetConvolutionNdDescriptor(Conv* op, int n, const int* pad, const int* stride, const int* dilation, int mode,
                                    int compute) {
    if (n != 2) return UNSUPPORTED;
    return cudnnSetConvolution2dDescriptor(op, pad[0], pad[1], stride[0], stride[1], dilation[0], dilation[1], mode, compute);
}
API cudnnSetConvolutionMathType(Conv* op, int) { return op ? OK : NULL_POINTER; }
API cudnnSetConvolutionGroupCount(Conv* op, int groups) { return groups < 1 ? BAD : (op->groups = groups, OK); }
API cudnnGetConvolution2dForwardOutputDim(const Conv* op, const Tensor* x, const Filter* w, int* n, int* c, int* h, int* v) {
    if (!op->set || !x->set || !w->set || x->dim[1] != w->c * op->groups) return BAD;
    *n = int(x->dim[0]), *c = int(w->k), *h = int(op->output(0, x->dim[2], w->r)), *v = int(op->output(1, x->dim[3], w->s));
    return OK;
}

API cudnnCreateActivationDescriptor(ActivationMode** a) { return *a = new ActivationMode, OK; }
API cudnnDestroyActivationDescriptor(ActivationMode* a) { return delete a, OK; }
API cudnnSetActivationDescriptor(ActivationMode* a, int mode, int, double) { return a->mode = mode, OK; }

// Algorithms by cudnnConvolution*Algo_t, each with whether it is deterministic.
API cudnnGetConvolutionForwardAlgorithm_v7(Handle* h, const Tensor* x, const Filter* w, const Conv* op, const Tensor* y,
                                           int wanted, int* found, Performance* out) {
    return suggest(check(h, x, w, op, y), {{1, 1}, {0, 1}}, x, wanted, found, out);
}
API cudnnGetConvolutionBackwardDataAlgorithm_v7(Handle* h, const Filter* w, const Tensor* dy, const Conv* op, const Tensor* dx,
                                                int wanted, int* found, Performance* out) {
    return suggest(check(h, dx, w, op, dy), {{1, 1}, {0, 0}}, dx, wanted, found, out);
}
API cudnnGetConvolutionBackwardFilterAlgorithm_v7(Handle* h, const Tensor* x, const Tensor* dy, const Conv* op,
                                                  const Filter* dw, int wanted, int* found, Performance* out) {
    return suggest(check(h, x, dw, op, dy), {{0, 0}, {1, 1}, {3, 0}}, x, wanted, found, out);
}
API cudnnGetConvolutionForwardAlgorithmMaxCount(Handle*, int* n) { return *n = 8, OK; }
API cudnnGetConvolutionBackwardDataAlgorithmMaxCount(Handle*, int* n) { return *n = 6, OK; }
API cudnnGetConvolutionBackwardFilterAlgorithmMaxCount(Handle*, int* n) { return *n = 7, OK; }
API cudnnGetConvolutionForwardWorkspaceSize(Handle* h, const Tensor* x, const Filter* w, const Conv* op, const Tensor* y,
                                            int algorithm, size_t* bytes) {
    if (int error = check(h, x, w, op, y)) return error;
    return *bytes = workspace_of(algorithm), OK;
}
API cudnnGetConvolutionBackwardDataWorkspaceSize(Handle* h, const Filter* w, const Tensor* dy, const Conv* op,
                                                 const Tensor* dx, int algorithm, size_t* bytes) {
    return cudnnGetConvolutionForwardWorkspaceSize(h, dx, w, op, dy, algorithm, bytes);
}
API cudnnGetConvolutionBackwardFilterWorkspaceSize(Handle* h, const Tensor* x, const Tensor* dy, const Conv* op,
                                                   const Filter* dw, int algorithm, size_t* bytes) {
    return cudnnGetConvolutionForwardWorkspaceSize(h, x, dw, op, dy, algorithm, bytes);
}

API cudnnConvolutionForward(Handle* h, const void* alpha, const Tensor* tx, const void* x, const Filter* tw, const void* w,
                            const Conv* op, int algorithm, void* workspace, size_t bytes, const void* beta, const Tensor* ty,
                            void* y) {
    auto name = "cudnnConvolutionForward";
    if (int error = check(h, tx, tw, op, ty)) return error;
    if (int error = use_workspace(name, algorithm, workspace, bytes)) return error;
    if (!owned(name, "x", *tx, x) || !owned(name, "w", *tw, w) || !owned(name, "y", *ty, y)) return FAILED;
    conv_forward(*op, scalar(alpha), *tx, x, *tw, w, scalar(beta), y, nullptr, Activation::None, *ty, y);
    return OK;
}
API cudnnConvolutionBiasActivationForward(Handle* h, const void* alpha, const Tensor* tx, const void* x, const Filter* tw,
                                          const void* w, const Conv* op, int algorithm, void* workspace, size_t bytes,
                                          const void* alpha_z, const Tensor* tz, const void* z, const Tensor* tb,
                                          const void* bias, const ActivationMode* activation, const Tensor* ty, void* y) {
    auto name = "cudnnConvolutionBiasActivationForward";
    if (int error = check(h, tx, tw, op, ty)) return error;
    if (!tz || !tb || !activation || !bias) return NULL_POINTER;
    if (!tb->set || tb->dim[0] != 1 || tb->dim[1] != tw->k || tb->dim[2] != 1 || tb->dim[3] != 1) return BAD;
    if (!tz->set || memcmp(tz->dim, ty->dim, sizeof tz->dim) || memcmp(tz->stride, ty->stride, sizeof tz->stride)) return BAD;
    if (tb->type != ty->type || tz->type != ty->type) return UNSUPPORTED;
    // As in the real library, without an activation there is IMPLICIT_PRECOMP_GEMM alone.
    if (activation->mode != RELU && (activation->mode != IDENTITY || algorithm != 1)) return UNSUPPORTED;
    if (int error = use_workspace(name, algorithm, workspace, bytes)) return error;
    if (!owned(name, "x", *tx, x) || !owned(name, "w", *tw, w) || !owned(name, "y", *ty, y)) return FAILED;
    if (!owned(name, "bias", *tb, bias) || (scalar(alpha_z) != 0 && !owned(name, "z", *tz, z))) return FAILED;
    conv_forward(*op, scalar(alpha), *tx, x, *tw, w, scalar(alpha_z), z, bias,
                 activation->mode == RELU ? Activation::Relu : Activation::None, *ty, y);
    return OK;
}
API cudnnConvolutionBackwardData(Handle* h, const void* alpha, const Filter* tw, const void* w, const Tensor* ty,
                                 const void* dy, const Conv* op, int algorithm, void* workspace, size_t bytes,
                                 const void* beta, const Tensor* tx, void* dx) {
    auto name = "cudnnConvolutionBackwardData";
    if (int error = check(h, tx, tw, op, ty)) return error;
    if (int error = use_workspace(name, algorithm, workspace, bytes)) return error;
    if (!owned(name, "dx", *tx, dx) || !owned(name, "w", *tw, w) || !owned(name, "dy", *ty, dy)) return FAILED;
    conv_backward_data(*op, scalar(alpha), *tw, w, *ty, dy, scalar(beta), *tx, dx);
    return OK;
}
API cudnnConvolutionBackwardFilter(Handle* h, const void* alpha, const Tensor* tx, const void* x, const Tensor* ty,
                                   const void* dy, const Conv* op, int algorithm, void* workspace, size_t bytes,
                                   const void* beta, const Filter* tw, void* dw) {
    auto name = "cudnnConvolutionBackwardFilter";
    if (int error = check(h, tx, tw, op, ty)) return error;
    if (int error = use_workspace(name, algorithm, workspace, bytes)) return error;
    if (!owned(name, "x", *tx, x) || !owned(name, "dw", *tw, dw) || !owned(name, "dy", *ty, dy)) return FAILED;
    conv_backward_filter(*op, scalar(alpha), *tx, x, *ty, dy, scalar(beta), *tw, dw);
    return OK;
}
