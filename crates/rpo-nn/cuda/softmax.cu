// Softmax of rows of scores, for heads too wide for tiles in shared memory: their products are left to a BLAS, strip by strip.
#include "prelude.cuh"

namespace softmax {

constexpr float LOG2_E = 1.4426950408889634f;
constexpr float LOWEST = -1e30f;
constexpr int THREADS = 256;

// Sum of 2^x relative to the greatest x so far. Starts below every score.
struct Sum {
    float top = LOWEST, total = 0.0f;

    __device__ void add(float x, float count) {
        const float greater = fmaxf(top, x);
        total = total * exp2f(top - greater) + count * exp2f(x - greater);
        top = greater;
    }
};

template <class T>
__device__ __forceinline__ void softmax_rows(const float* scores, T* weights, const unsigned char* keep, int mask, int first,
                                             int keys, long long rows, float scale) {
    __shared__ float tops[THREADS / 32], totals[THREADS / 32];
    scale *= LOG2_E;
    for (long long row = blockIdx.x; row < rows; row += gridDim.x) {
        const float* x = scores + row * keys;
        const long long seen = mask == 1 ? min(static_cast<long long>(keys), first + row + 1) : keys;
        const auto visible = [&](int key) { return key < seen && (mask != 2 || keep[key] != 0); };
        Sum sum;
        for (int key = threadIdx.x; key < keys; key += THREADS) {
            if (visible(key)) sum.add(x[key] * scale, 1.0f);
        }
#pragma unroll
        for (int by = 16; by > 0; by /= 2) {
            const float top = __shfl_xor_sync(0xffffffffu, sum.top, by), total = __shfl_xor_sync(0xffffffffu, sum.total, by);
            sum.add(top, total);
        }
        // Of the row before, the sums have been read.
        __syncthreads();
        if (threadIdx.x % 32 == 0) {
            tops[threadIdx.x / 32] = sum.top;
            totals[threadIdx.x / 32] = sum.total;
        }
        __syncthreads();
        sum = Sum();
#pragma unroll
        for (int i = 0; i < THREADS / 32; i++) sum.add(tops[i], totals[i]);
        const float factor = 1.0f / sum.total;
        for (int key = threadIdx.x; key < keys; key += THREADS) {
            weights[row * keys + key] = from_float<T>(visible(key) ? exp2f(x[key] * scale - sum.top) * factor : 0.0f);
        }
    }
}

}  // namespace softmax

// weights [rows, keys] = softmax(scale scores) over what a row may see; the rows are queries first .. first + rows of one head.
// mask: 0 all keys, 1 those up to the query's own position, 2 those where keep [keys] (of the sample; else unread) is not 0.
// The weights of hidden keys are 0. `weights` may not overlap `scores`, but in f32 may be `scores`.
//   blockDim = 256, grid: any (a block takes a row at a time), best min(rows, 65535)
#define SOFTMAX(T, NAME)                                                                                             \
    extern "C" __global__ void __launch_bounds__(256) softmax_rows_##NAME(                                           \
        const float* scores, T* weights, const unsigned char* keep, int mask, int first, int keys, long long rows,   \
        float scale) {                                                                                               \
        softmax::softmax_rows(scores, weights, keep, mask, first, keys, rows, scale);                                \
    }

SOFTMAX(float, f32)
SOFTMAX(__nv_bfloat16, bf16)
