// AdamW (Loshchilov and Hutter 2019) over many tensors in one launch.
#include "prelude.cuh"

// A piece of one tensor: weights and moments, its gradient (f32 or bf16), and a bf16 copy of the weights or null.
struct Update {
    float* w;
    float* m;
    float* v;
    const void* grad;
    bf16* copy;
    long long len;
    int grad_bf16;
    int pad;
};

// The factors of one step: keep = 1 - lr weight_decay, rate = lr / (1 - beta1^t), unbias = 1 / sqrt(1 - beta2^t).
struct Factors {
    float beta1, beta2, keep, rate, unbias, eps, grad_scale;
};

template <int N, class G> INLINE void update(const Update& u, const G* grad, long long from, long long to, const Factors& f) {
    for (long long i = from + threadIdx.x * N; i < to; i += blockDim.x * N) {
        float w[N], m[N], v[N], g[N];
        load(u.w + i, w);
        load(u.m + i, m);
        load(u.v + i, v);
        load(grad + i, g);
#pragma unroll
        for (int k = 0; k < N; ++k) {
            const float scaled = g[k] * f.grad_scale;
            m[k] = m[k] + (1.0f - f.beta1) * (scaled - m[k]);
            v[k] = f.beta2 * v[k] + (1.0f - f.beta2) * (scaled * scaled);
            w[k] = w[k] * f.keep - f.rate * m[k] / (sqrtf(v[k]) * f.unbias + f.eps);
        }
        store(u.w + i, w);
        store(u.m + i, m);
        store(u.v + i, v);
        if (u.copy) store(u.copy + i, w);
    }
}

template <class G> INLINE void update_all(const Update& u, const Factors& f) {
    const G* grad = static_cast<const G*>(u.grad);
    const long long whole = aligned(u.w, u.m, u.v, grad, u.copy) ? u.len / 4 * 4 : 0;
    update<4>(u, grad, 0, whole, f);
    update<1>(u, grad, whole, u.len, f);
}

// With g the scaled gradient: m += (1 - beta1) (g - m), v = beta2 v + (1 - beta2) g^2,
// w = keep w - rate m / (sqrt(v) unbias + eps), copy = bf16(w). blockDim = 256, one block an Update
extern "C" __global__ void adamw(const Update* updates, float beta1, float beta2, float keep, float rate, float unbias,
                                 float eps, float grad_scale) {
    const Update u = updates[blockIdx.x];
    const Factors factors = {beta1, beta2, keep, rate, unbias, eps, grad_scale};
    if (u.grad_bf16) update_all<bf16>(u, factors);
    else update_all<float>(u, factors);
}
