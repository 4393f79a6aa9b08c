// Attention in f32 on CUDA cores, forward and backward: the formulas of attention_forward.cu and attention_backward.cu with every
// product in f32, to compare with.
//
// A block of 16 x 16 threads owns ROWS rows of one head and goes through the other side in tiles of COLUMNS rows. Thread (x, y)
// has rows y + 16 i and columns x + 16 j of every product. The 16 threads of a row are half a warp.
#include "prelude.cuh"

namespace attention_f32 {

constexpr int COLUMNS = 32, THREADS = 256, J = COLUMNS / 16;
// Between rows of a tile of weights: two rows of a warp lie in different banks.
constexpr int WEIGHTS = COLUMNS + 16;
constexpr float LOG2_E = 1.4426950408889634f;
constexpr float LOWEST = -1e30f;

enum Mask { EVERY = 0, CAUSAL = 1, KEPT = 2 };

template <int W> constexpr int STRIDE = W + 4;

// First element of this block's head in row 0 of [B, len, heads d].
__device__ __forceinline__ long long head_offset(int len, int heads, int d) {
    return static_cast<long long>(blockIdx.z) * len * heads * d + static_cast<long long>(blockIdx.y) * d;
}

// Rows first .. first + count of one head; rows beyond the last, hidden rows and channels beyond d become 0.
template <int W>
__device__ void copy_tile(float* tile, const float* x, int first, int count, int len, int stride, int d,
                          const unsigned char* keep) {
    for (int i = threadIdx.x; i < count * W; i += THREADS) {
        const int r = i / W, channel = i % W, row = first + r;
        const bool wanted = row < len && channel < d && (keep == nullptr || keep[row] != 0);
        tile[r * STRIDE<W> + channel] = wanted ? x[static_cast<long long>(row) * stride + channel] : 0.0f;
    }
}

// s[i][j] += sum over channels of a[y + 16 i] b[x + 16 j]
template <int W, int R> __device__ void multiply_transposed(float (&s)[R][J], const float* a, const float* b, int d) {
    const int x = threadIdx.x % 16, y = threadIdx.x / 16;
    for (int channel = 0; channel < d; channel += 4) {
        float4 left[R], right[J];
#pragma unroll
        for (int i = 0; i < R; i++) left[i] = *reinterpret_cast<const float4*>(a + (y + 16 * i) * STRIDE<W> + channel);
#pragma unroll
        for (int j = 0; j < J; j++) right[j] = *reinterpret_cast<const float4*>(b + (x + 16 * j) * STRIDE<W> + channel);
#pragma unroll
        for (int i = 0; i < R; i++) {
#pragma unroll
            for (int j = 0; j < J; j++) {
                s[i][j] = fmaf(left[i].x, right[j].x, s[i][j]);
                s[i][j] = fmaf(left[i].y, right[j].y, s[i][j]);
                s[i][j] = fmaf(left[i].z, right[j].z, s[i][j]);
                s[i][j] = fmaf(left[i].w, right[j].w, s[i][j]);
            }
        }
    }
}

// sums[i][c] += sum over k of p[y + 16 i][k] b[k][x + 16 c], with p given to the threads of its row through `weights`.
template <int W, int R>
__device__ void multiply(float (&sums)[R][W / 16], const float (&p)[R][J], float* weights, const float* b) {
    const int x = threadIdx.x % 16, y = threadIdx.x / 16;
    __syncwarp();
#pragma unroll
    for (int i = 0; i < R * J; i++) weights[(y + 16 * (i / J)) * WEIGHTS + x + 16 * (i % J)] = p[i / J][i % J];
    __syncwarp();
    for (int k = 0; k < COLUMNS; k++) {
        float left[R];
#pragma unroll
        for (int i = 0; i < R; i++) left[i] = weights[(y + 16 * i) * WEIGHTS + k];
#pragma unroll
        for (int c = 0; c < W / 16; c++) {
            const float right = b[k * STRIDE<W> + x + 16 * c];
#pragma unroll
            for (int i = 0; i < R; i++) sums[i][c] = fmaf(left[i], right, sums[i][c]);
        }
    }
}

template <int R, int C> __device__ void fill(float (&x)[R][C], float value) {
#pragma unroll
    for (int i = 0; i < R * C; i++) x[i / C][i % C] = value;
}

template <int W, int R>
__device__ void store(float* x, int first, int len, int stride, int d, const float (&sums)[R][W / 16],
                      const float (&factors)[R]) {
#pragma unroll
    for (int i = 0; i < R; i++) {
        const int row = first + threadIdx.x / 16 + 16 * i;
#pragma unroll
        for (int c = 0; c < W / 16; c++) {
            const int channel = threadIdx.x % 16 + 16 * c;
            if (row < len && channel < d) x[static_cast<long long>(row) * stride + channel] = sums[i][c] * factors[i];
        }
    }
}

__device__ __forceinline__ bool visible(int mask, const unsigned char* keep, int query, int key, int m) {
    return key < m && (mask != CAUSAL || key <= query) && (mask != KEPT || keep[key] != 0);
}

template <int W, int R>
__device__ void forward(const float* q, const float* k, const float* v, float* out, float* lse, const unsigned char* keep,
                        int mask, int n, int m, int heads, int d, float scale) {
    constexpr int ROWS = 16 * R;
    DYNAMIC_SHARED(float, shared);
    float *queries = shared, *keys = queries + ROWS * STRIDE<W>, *values = keys + COLUMNS * STRIDE<W>;
    float* weights = values + COLUMNS * STRIDE<W>;
    const int x = threadIdx.x % 16, y = threadIdx.x / 16, first = blockIdx.x * ROWS, stride = heads * d;
    const long long keys_at = head_offset(m, heads, d), queries_at = head_offset(n, heads, d);
    keep = mask == KEPT ? keep + static_cast<long long>(blockIdx.z) * m : nullptr;
    scale *= LOG2_E;
    copy_tile<W>(queries, q + queries_at, first, ROWS, n, stride, d, nullptr);
    float sums[R][W / 16], reference[R], total[R];
    fill(sums, 0.0f);
#pragma unroll
    for (int i = 0; i < R; i++) {
        reference[i] = LOWEST;
        total[i] = 0.0f;
    }
    const int seen = mask == CAUSAL ? min(m, first + ROWS) : m;
    for (int key = 0; key < seen; key += COLUMNS) {
        __syncthreads();
        copy_tile<W>(keys, k + keys_at, key, COLUMNS, m, stride, d, keep);
        copy_tile<W>(values, v + keys_at, key, COLUMNS, m, stride, d, keep);
        __syncthreads();
        float p[R][J];
        fill(p, 0.0f);
        multiply_transposed<W>(p, queries, keys, d);
#pragma unroll
        for (int i = 0; i < R; i++) {
            float top = reference[i], sum = 0.0f;
#pragma unroll
            for (int j = 0; j < J; j++) {
                p[i][j] = visible(mask, keep, first + y + 16 * i, key + x + 16 * j, m) ? p[i][j] * scale : -INFINITY;
                top = fmaxf(top, p[i][j]);
            }
#pragma unroll
            for (int by = 8; by > 0; by /= 2) top = fmaxf(top, __shfl_xor_sync(0xffffffffu, top, by));
#pragma unroll
            for (int j = 0; j < J; j++) {
                p[i][j] = exp2f(p[i][j] - top);
                sum += p[i][j];
            }
            const float factor = exp2f(reference[i] - top);
            reference[i] = top;
            total[i] = total[i] * factor + sum;
#pragma unroll
            for (int c = 0; c < W / 16; c++) sums[i][c] *= factor;
        }
        multiply<W>(sums, p, weights, values);
    }
#pragma unroll
    for (int i = 0; i < R; i++) {
#pragma unroll
        for (int by = 8; by > 0; by /= 2) total[i] += __shfl_xor_sync(0xffffffffu, total[i], by);
        const int row = first + y + 16 * i;
        if (lse != nullptr && x == 0 && row < n) {
            lse[(static_cast<long long>(blockIdx.z) * heads + blockIdx.y) * n + row] = reference[i] + log2f(total[i]);
        }
        total[i] = 1.0f / total[i];
    }
    store<W>(out + queries_at, first, n, stride, d, sums, total);
}

// The gradients of one side: with `KEYS` rows are keys, columns are queries, `first_out` is dK and `second_out` dV (either may be
// null); else rows are queries, columns are keys and `first_out` is dQ. a, b: q and dO, or k and v, of the rows; a_, b_: those of
// the columns.
template <int W, int R, bool KEYS>
__device__ void backward(const float* a, const float* b, const float* a_, const float* b_, const float* lse, const float* delta,
                         float* first_out, float* second_out, const unsigned char* keep, int mask, int n, int m, int heads, int d,
                         float scale) {
    constexpr int ROWS = 16 * R;
    DYNAMIC_SHARED(float, shared);
    float *rows_a = shared, *rows_b = rows_a + ROWS * STRIDE<W>, *columns_a = rows_b + ROWS * STRIDE<W>;
    float *columns_b = columns_a + COLUMNS * STRIDE<W>, *weights = columns_b + COLUMNS * STRIDE<W>;
    const int x = threadIdx.x % 16, y = threadIdx.x / 16, first = blockIdx.x * ROWS, stride = heads * d;
    const int rows = KEYS ? m : n, columns = KEYS ? n : m;
    const long long rows_at = head_offset(rows, heads, d), columns_at = head_offset(columns, heads, d);
    const long long head = (static_cast<long long>(blockIdx.z) * heads + blockIdx.y) * n;
    keep = mask == KEPT ? keep + static_cast<long long>(blockIdx.z) * m : nullptr;
    copy_tile<W>(rows_a, a + rows_at, first, ROWS, rows, stride, d, KEYS ? keep : nullptr);
    copy_tile<W>(rows_b, b + rows_at, first, ROWS, rows, stride, d, KEYS ? keep : nullptr);
    float sums[R][W / 16], second[R][W / 16];
    fill(sums, 0.0f);
    fill(second, 0.0f);
    const int start = mask == CAUSAL && KEYS ? first / COLUMNS * COLUMNS : 0;
    const int end = mask == CAUSAL && !KEYS ? min(m, first + ROWS) : columns;
    for (int column = start; column < end; column += COLUMNS) {
        __syncthreads();
        copy_tile<W>(columns_a, a_ + columns_at, column, COLUMNS, columns, stride, d, KEYS ? nullptr : keep);
        copy_tile<W>(columns_b, b_ + columns_at, column, COLUMNS, columns, stride, d, KEYS ? nullptr : keep);
        __syncthreads();
        float p[R][J], slopes[R][J];
        fill(p, 0.0f);
        fill(slopes, 0.0f);
        multiply_transposed<W>(p, rows_a, columns_a, d);
        multiply_transposed<W>(slopes, rows_b, columns_b, d);
#pragma unroll
        for (int i = 0; i < R; i++) {
#pragma unroll
            for (int j = 0; j < J; j++) {
                const int row = first + y + 16 * i, at = column + x + 16 * j, query = KEYS ? at : row;
                const bool seen = query < n && visible(mask, keep, query, KEYS ? row : at, m);
                p[i][j] = seen ? exp2f(fmaf(p[i][j], scale * LOG2_E, -lse[head + query])) : 0.0f;
                slopes[i][j] = seen ? p[i][j] * (slopes[i][j] - delta[head + query]) : 0.0f;
            }
        }
        if (KEYS && second_out != nullptr) multiply<W>(second, p, weights, columns_b);
        if (first_out != nullptr) multiply<W>(sums, slopes, weights, columns_a);
    }
    float factors[R];
#pragma unroll
    for (int i = 0; i < R; i++) factors[i] = scale;
    if (first_out != nullptr) store<W>(first_out + rows_at, first, rows, stride, d, sums, factors);
#pragma unroll
    for (int i = 0; i < R; i++) factors[i] = 1.0f;
    if (KEYS && second_out != nullptr) store<W>(second_out + rows_at, first, rows, stride, d, second, factors);
}

}  // namespace attention_f32

// delta [B, heads, N] = rowsum(out grad) of every head, for out, grad [B, N, heads d]; count = B N heads. Eight lanes take a row.
//   blockDim = 256, grid ceil(count / 32)
extern "C" __global__ void __launch_bounds__(256) attention_delta_f32(const float* out, const float* grad, float* delta, int n,
                                                                      int heads, int d, long long count) {
    const long long row = (static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x) / 8;
    float sum = 0.0f;
    if (row < count) {
        for (int channel = threadIdx.x % 8; channel < d; channel += 8) {
            sum = fmaf(out[row * d + channel], grad[row * d + channel], sum);
        }
    }
#pragma unroll
    for (int by = 4; by > 0; by /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, by);
    if (row < count && threadIdx.x % 8 == 0) {
        const long long token = row / heads;
        delta[(token / n * heads + row % heads) * n + token % n] = sum;
    }
}

// Arguments as in attention_forward.cu and attention_backward.cu; d: any up to XX, the first of 16, 64, 160 that is at least d.
//   blockDim = 256, grid (ceil(N / ROWS), heads, B), of backward_kv (ceil(M / ROWS), heads, B)
//   ROWS: forward 64; backward 64, with XX = 160 32
//   dynamic shared memory: forward (ROWS + 64) (4 XX + 16) + 192 ROWS bytes, backward (2 ROWS + 64) (4 XX + 16) + 192 ROWS bytes
#define ATTENTION(W, R_FORWARD, R)                                                                                   \
    extern "C" __global__ void __launch_bounds__(256) attention_f32_d##W(                                            \
        const float* q, const float* k, const float* v, float* out, float* lse, const unsigned char* keep, int mask, \
        int n, int m, int heads, int d, float scale) {                                                               \
        attention_f32::forward<W, R_FORWARD>(q, k, v, out, lse, keep, mask, n, m, heads, d, scale);                  \
    }                                                                                                                \
    extern "C" __global__ void __launch_bounds__(256) attention_backward_q_f32_d##W(                                 \
        const float* q, const float* k, const float* v, const float* grad, const float* lse, const float* delta,     \
        float* dq, const unsigned char* keep, int mask, int n, int m, int heads, int d, float scale) {               \
        attention_f32::backward<W, R, false>(q, grad, k, v, lse, delta, dq, nullptr, keep, mask, n, m, heads, d, scale); \
    }                                                                                                                \
    extern "C" __global__ void __launch_bounds__(256) attention_backward_kv_f32_d##W(                                \
        const float* q, const float* k, const float* v, const float* grad, const float* lse, const float* delta,     \
        float* dk, float* dv, const unsigned char* keep, int mask, int n, int m, int heads, int d, float scale) {    \
        attention_f32::backward<W, R, true>(k, v, q, grad, lse, delta, dk, dv, keep, mask, n, m, heads, d, scale);   \
    }

ATTENTION(16, 4, 4)
ATTENTION(64, 4, 4)
ATTENTION(160, 4, 2)
