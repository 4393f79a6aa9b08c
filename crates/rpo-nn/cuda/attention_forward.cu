// Forward pass of attention in bfloat16: out = softmax(scale Q K^T) V per head, without a matrix of scores in memory.
//
// A block owns ROWS = 64 MT queries of one head and goes through the keys in tiles of 64, the next of which is copied while one
// is used. With the scores s_j of a row in units of ln 2, a reference r near their maximum and p_j = 2^(s_j - r):
//   out = sum_j p_j v_j / sum_j p_j,  lse = r + log2 sum_j p_j
// where what has been summed is multiplied by 2^(old r - new r) when r changes. r follows the maximum only when it is more than
// SLACK behind: then p stays below 2^SLACK, and most tiles need no such multiplication.
#include "attention.cuh"

namespace attention {

constexpr int KEYS = 64;
constexpr float SLACK = 8.0f;
// Below every score, yet finite: a row of hidden keys only must not become NaN.
constexpr float LOWEST = -1e30f;

// Maximum or sum of the four lanes that share a row.
__device__ __forceinline__ float row_max(float x) {
    x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, 1));
    return fmaxf(x, __shfl_xor_sync(0xffffffffu, x, 2));
}
__device__ __forceinline__ float row_sum(float x) {
    x += __shfl_xor_sync(0xffffffffu, x, 1);
    return x + __shfl_xor_sync(0xffffffffu, x, 2);
}

// Brings the references of all rows up to their maxima, and what has been summed with them, if one of this lane's rows is too far
// behind. The four lanes that share rows agree on it.
template <int MT, int NT, int COLUMNS>
__device__ __forceinline__ void follow(const float (&scores)[MT][NT][4], float (&reference)[MT][2], float (&total)[MT][2],
                                       float (&out)[MT][COLUMNS][4], float scale) {
    float top[MT][2];
    bool behind = false;
#pragma unroll
    for (int mt = 0; mt < MT; mt++) {
#pragma unroll
        for (int h = 0; h < 2; h++) {
            top[mt][h] = fmaxf(scores[mt][0][2 * h], scores[mt][0][2 * h + 1]);
#pragma unroll
            for (int nt = 1; nt < NT; nt++) {
                top[mt][h] = fmaxf(top[mt][h], fmaxf(scores[mt][nt][2 * h], scores[mt][nt][2 * h + 1]));
            }
            top[mt][h] = row_max(top[mt][h]) * scale;
            behind = behind || top[mt][h] > reference[mt][h] + SLACK;
        }
    }
    if (!behind) return;
#pragma unroll
    for (int mt = 0; mt < MT; mt++) {
#pragma unroll
        for (int h = 0; h < 2; h++) {
            const float next = fmaxf(reference[mt][h], top[mt][h]), factor = exp2_approx(reference[mt][h] - next);
            reference[mt][h] = next;
            total[mt][h] *= factor;
#pragma unroll
            for (int nt = 0; nt < COLUMNS; nt++) {
                out[mt][nt][2 * h] *= factor;
                out[mt][nt][2 * h + 1] *= factor;
            }
        }
    }
}

// Replaces scores by their p, and adds these to `total`, of this lane's columns alone.
template <int MT, int NT>
__device__ __forceinline__ void weigh(float (&scores)[MT][NT][4], const float (&reference)[MT][2], float (&total)[MT][2],
                                      float scale) {
#pragma unroll
    for (int nt = 0; nt < NT; nt++) {
#pragma unroll
        for (int i = 0; i < 4 * MT; i++) {
            float& p = scores[i / 4][nt][i % 4];
            p = exp2_approx(fmaf(p, scale, -reference[i / 4][i / 2 % 2]));
            total[i / 4][i / 2 % 2] += p;
        }
    }
}

template <int W, int MT>
__device__ __forceinline__ void forward(const bf16* q_, const bf16* k_, const bf16* v_, bf16* out_, float* lse,
                                        const unsigned char* keep, int mask, int n, int m, int heads, int d, float scale) {
    constexpr int STRIDE = Tile<W>::STRIDE, ROWS = 16 * MT * WARPS, STAGE = 2 * KEYS * STRIDE;
    DYNAMIC_SHARED(bf16, shared);
    const int lane = threadIdx.x % 32, mine = threadIdx.x / 32 * 16 * MT, first = blockIdx.x * ROWS;
    const Rows<const bf16> q(q_, n, heads, d), k(k_, m, heads, d), v(v_, m, heads, d);
    keep = mask == KEPT ? keep + static_cast<long long>(blockIdx.z) * m : nullptr;
    const int seen = mask == CAUSAL ? min(m, first + ROWS) : m;
    scale *= LOG2_E;

    const auto copy_keys = [&](int stage, int key) {
        copy_tile<W, KEYS>(shared + stage * STAGE, k, key, keep);
        copy_tile<W, KEYS>(shared + stage * STAGE + KEYS * STRIDE, v, key, keep);
        cp_async_commit();
    };
    // The queries lie where the second stage comes later.
    copy_tile<W, ROWS>(shared + STAGE, q, first, nullptr);
    copy_keys(0, 0);
    cp_async_wait<0>();
    __syncthreads();
    const InRegisters<W, MT> queries(shared + STAGE + mine * STRIDE);

    float out[MT][Tile<W>::UNITS][4], reference[MT][2], total[MT][2];
    fill(out, 0.0f);
#pragma unroll
    for (int i = 0; i < 2 * MT; i++) {
        reference[i / 2][i % 2] = LOWEST;
        total[i / 2][i % 2] = 0.0f;
    }
    for (int key = 0, stage = 0; key < seen; key += KEYS, stage ^= 1) {
        // This stage is here, and nobody reads the other one any more.
        cp_async_wait<0>();
        __syncthreads();
        if (key + KEYS < seen) copy_keys(stage ^ 1, key + KEYS);
        const bf16* keys = shared + stage * STAGE;
        float scores[MT][KEYS / 8][4];
        fill(scores, 0.0f);
        multiply_transposed<W>(scores, queries, keys);
        if (mask == KEPT || key + KEYS > m || (mask == CAUSAL && key + KEYS > first + mine)) {
            hide(scores, mask, keep, first + mine, key, m);
        }
        follow(scores, reference, total, out, scale);
        weigh(scores, reference, total, scale);
        unsigned weights[MT][KEYS / 16][4];
        pack_fragments(weights, scores);
        multiply<W>(out, weights, keys + KEYS * STRIDE);
    }
    __syncthreads();
    float factors[MT][2];
#pragma unroll
    for (int mt = 0; mt < MT; mt++) {
#pragma unroll
        for (int h = 0; h < 2; h++) {
            const float sum = row_sum(total[mt][h]);
            factors[mt][h] = 1.0f / sum;
            const int row = first + mine + 16 * mt + lane / 4 + 8 * h;
            if (lse != nullptr && lane % 4 == 0 && row < n) {
                lse[(static_cast<long long>(blockIdx.z) * heads + blockIdx.y) * n + row] = reference[mt][h] + log2f(sum);
            }
        }
    }
    store_rows<W>(shared + mine * STRIDE, Rows<bf16>(out_, n, heads, d), first + mine, out, factors);
}

}  // namespace attention

// q, out [B, N, heads d], k, v [B, M, heads d], keep [B, M] (read only if mask = 2), lse [B, heads, N] (may be null): the log2 of
// the sum of exp(scale q k) over the keys, for the backward pass. d: a multiple of 8. XX: the first of 16, 32, 40, 48, 64, 80,
// 96, 128, 160 that is at least d. All pointers are multiples of 16; a sample has fewer than 2^31 elements.
//   blockDim = 128, grid (ceil(N / ROWS), heads, B), ROWS = 128 up to XX = 80, else 64; at least 1 key
//   dynamic shared memory: 256 rows (see ROW_BYTES)
//   XX          16     32     40     48     64     80     96    128    160
//   ROW_BYTES   32     64     80     96    144    160    192    272    320
//   bytes     8192  16384  20480  24576  36864  40960  49152  69632  81920
#define FORWARD(W, MT, BLOCKS)                                                                                       \
    extern "C" __global__ void __launch_bounds__(128, BLOCKS) attention_bf16_d##W(                                   \
        const __nv_bfloat16* q, const __nv_bfloat16* k, const __nv_bfloat16* v, __nv_bfloat16* out, float* lse,      \
        const unsigned char* keep, int mask, int n, int m, int heads, int d, float scale) {                          \
        attention::forward<W, MT>(q, k, v, out, lse, keep, mask, n, m, heads, d, scale);                             \
    }

FORWARD(16, 2, 3)
FORWARD(32, 2, 3)
FORWARD(40, 2, 3)
FORWARD(48, 2, 2)
FORWARD(64, 2, 2)
FORWARD(80, 2, 2)
FORWARD(96, 1, 3)
FORWARD(128, 1, 2)
FORWARD(160, 1, 2)
