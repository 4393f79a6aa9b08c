// Backward pass of attention in bfloat16. With P the weights, O the result, s = 1 / sqrt(d) and delta = rowsum(dO O):
//   dV = P^T dO,  dS = P (dO V^T - delta),  dQ = s dS K,  dK = s dS^T Q
// P = 2^(s log2(e) Q K^T - lse) is recomputed from what the forward pass has kept. dQ is a sum over keys, dK and dV are sums over
// queries: two kernels, each of which owns rows of its results, so there are no atomics and the sums have one order.
#include "attention.cuh"

namespace attention {

// What the backward pass reads. Offsets of lse and delta are those of this block's head.
struct Saved {
    const bf16 *q, *k, *v, *grad;
    const float *lse, *delta;
    const unsigned char* keep;
    int mask, n, m, heads, d;
    float scale;

    __device__ void enter_head() {
        const long long head = (static_cast<long long>(blockIdx.z) * heads + blockIdx.y) * n;
        lse += head;
        delta += head;
        keep = mask == KEPT ? keep + static_cast<long long>(blockIdx.z) * m : nullptr;
    }
};

// A left-hand side that would take too many registers is read from shared memory again and again.
template <bool REGISTERS, int W, int MT> struct Left : InShared<W, MT> {
    using InShared<W, MT>::InShared;
};
template <int W, int MT> struct Left<true, W, MT> : InRegisters<W, MT> {
    using InRegisters<W, MT>::InRegisters;
};

// dQ of 64 MT queries: goes through the keys in tiles of KEYS, PART of these at once. IN_REGISTERS: see Left; of Q, then of dO.
template <int W, int MT, int KEYS, int PART, int IN_REGISTERS>
__device__ __forceinline__ void backward_q(Saved saved, bf16* dq) {
    constexpr int STRIDE = Tile<W>::STRIDE, ROWS = 16 * MT * WARPS, STAGE = 2 * KEYS * STRIDE;
    DYNAMIC_SHARED(bf16, shared);
    const int lane = threadIdx.x % 32, mine = threadIdx.x / 32 * 16 * MT, first = blockIdx.x * ROWS;
    saved.enter_head();
    const int n = saved.n, m = saved.m, mask = saved.mask;
    const Rows<const bf16> q(saved.q, n, saved.heads, saved.d), grad(saved.grad, n, saved.heads, saved.d);
    const Rows<const bf16> k(saved.k, m, saved.heads, saved.d), v(saved.v, m, saved.heads, saved.d);
    bf16* own = shared + 2 * STAGE;
    const auto copy_keys = [&](int stage, int key) {
        copy_tile<W, KEYS>(shared + stage * STAGE, k, key, saved.keep);
        copy_tile<W, KEYS>(shared + stage * STAGE + KEYS * STRIDE, v, key, saved.keep);
        cp_async_commit();
    };
    copy_tile<W, ROWS>(own, q, first, nullptr);
    copy_tile<W, ROWS>(own + ROWS * STRIDE, grad, first, nullptr);
    copy_keys(0, 0);
    float lse[MT][2], delta[MT][2];
#pragma unroll
    for (int i = 0; i < 2 * MT; i++) {
        const int row = first + mine + 16 * (i / 2) + lane / 4 + 8 * (i % 2);
        lse[i / 2][i % 2] = row < n ? saved.lse[row] : INFINITY;
        delta[i / 2][i % 2] = row < n ? saved.delta[row] : 0.0f;
    }
    cp_async_wait<0>();
    __syncthreads();
    const Left<IN_REGISTERS >= 1, W, MT> queries(own + mine * STRIDE);
    const Left<IN_REGISTERS >= 2, W, MT> grads(own + (ROWS + mine) * STRIDE);

    float sums[MT][Tile<W>::UNITS][4];
    fill(sums, 0.0f);
    const float scale = saved.scale * LOG2_E;
    const int seen = mask == CAUSAL ? min(m, first + ROWS) : m;
    for (int key = 0, stage = 0; key < seen; key += KEYS, stage ^= 1) {
        cp_async_wait<0>();
        __syncthreads();
        if (key + KEYS < seen) copy_keys(stage ^ 1, key + KEYS);
#pragma unroll
        for (int part = 0; part < KEYS; part += PART) {
            const bf16* keys = shared + stage * STAGE + part * STRIDE;
            float p[MT][PART / 8][4], slopes[MT][PART / 8][4];
            fill(p, 0.0f);
            multiply_transposed<W>(p, queries, keys);
            if (mask == KEPT || key + KEYS > m || (mask == CAUSAL && key + KEYS > first + mine)) {
                hide(p, mask, saved.keep, first + mine, key + part, m);
            }
#pragma unroll
            for (int i = 0; i < MT * PART / 2; i++) {
                slopes[i / (PART / 2)][i / 4 % (PART / 8)][i % 4] = -delta[i / (PART / 2)][i / 2 % 2];
            }
            multiply_transposed<W>(slopes, grads, keys + KEYS * STRIDE);
#pragma unroll
            for (int i = 0; i < MT * PART / 2; i++) {
                const int mt = i / (PART / 2), nt = i / 4 % (PART / 8);
                slopes[mt][nt][i % 4] *= exp2_approx(fmaf(p[mt][nt][i % 4], scale, -lse[mt][i / 2 % 2]));
            }
            unsigned packed[MT][PART / 16][4];
            pack_fragments(packed, slopes);
            multiply<W>(sums, packed, keys);
        }
    }
    __syncthreads();
    float factors[MT][2];
#pragma unroll
    for (int i = 0; i < 2 * MT; i++) factors[i / 2][i % 2] = saved.scale;
    store_rows<W>(shared + mine * STRIDE, Rows<bf16>(dq, n, saved.heads, saved.d), first + mine, sums, factors);
}

// dK and dV (written if not null) of 64 MT keys: goes through the queries in tiles of QUERIES, PART of these at once. Scores and
// slopes are turned, S^T = K Q^T and (dO V^T)^T = V dO^T: then they are left-hand sides of dV and dK as they are. IN_REGISTERS:
// of K, then of V.
template <int W, int MT, int QUERIES, int PART, int IN_REGISTERS>
__device__ __forceinline__ void backward_kv(Saved saved, bf16* dk, bf16* dv) {
    constexpr int STRIDE = Tile<W>::STRIDE, ROWS = 16 * MT * WARPS, STAGE = 2 * QUERIES * STRIDE;
    DYNAMIC_SHARED(bf16, shared);
    const int lane = threadIdx.x % 32, mine = threadIdx.x / 32 * 16 * MT, first = blockIdx.x * ROWS;
    saved.enter_head();
    const int n = saved.n, m = saved.m, mask = saved.mask;
    const Rows<const bf16> q(saved.q, n, saved.heads, saved.d), grad(saved.grad, n, saved.heads, saved.d);
    const Rows<const bf16> k(saved.k, m, saved.heads, saved.d), v(saved.v, m, saved.heads, saved.d);
    bf16* own = shared + 2 * STAGE;
    // Of both stages: lse of all queries, then delta.
    float* rows = reinterpret_cast<float*>(own + 2 * ROWS * STRIDE);
    const auto copy_queries = [&](int stage, int query) {
        copy_tile<W, QUERIES>(shared + stage * STAGE, q, query, nullptr);
        copy_tile<W, QUERIES>(shared + stage * STAGE + QUERIES * STRIDE, grad, query, nullptr);
        cp_async_commit();
    };
    // What thread t keeps of the rows of a tile. Queries beyond the last have weights 2^-inf = 0.
    const auto row_value = [&](int query) {
        const int i = threadIdx.x, row = query + i % QUERIES;
        if (i >= 2 * QUERIES) return 0.0f;
        return i < QUERIES ? (row < n ? saved.lse[row] : INFINITY) : (row < n ? saved.delta[row] : 0.0f);
    };
    const auto keep_row_value = [&](int stage, float value) {
        if (threadIdx.x < 2 * QUERIES) rows[stage * 2 * QUERIES + threadIdx.x] = value;
    };
    // The first query that sees a key of this block lies in this tile.
    const int start = mask == CAUSAL ? first / QUERIES * QUERIES : 0;
    copy_tile<W, ROWS>(own, k, first, saved.keep);
    copy_tile<W, ROWS>(own + ROWS * STRIDE, v, first, saved.keep);
    copy_queries(0, start);
    keep_row_value(0, row_value(start));
    cp_async_wait<0>();
    __syncthreads();
    const Left<IN_REGISTERS >= 1, W, MT> keys(own + mine * STRIDE);
    const Left<IN_REGISTERS >= 2, W, MT> values(own + (ROWS + mine) * STRIDE);

    float key_sums[MT][Tile<W>::UNITS][4], value_sums[MT][Tile<W>::UNITS][4];
    fill(key_sums, 0.0f);
    fill(value_sums, 0.0f);
    const float scale = saved.scale * LOG2_E;
    for (int query = start, stage = 0; query < n; query += QUERIES, stage ^= 1) {
        cp_async_wait<0>();
        __syncthreads();
        const bool more = query + QUERIES < n;
        if (more) copy_queries(stage ^ 1, query + QUERIES);
        const float next = more ? row_value(query + QUERIES) : 0.0f;
#pragma unroll
        for (int part = 0; part < QUERIES; part += PART) {
            const bf16* queries = shared + stage * STAGE + part * STRIDE;
            const bf16* grads = queries + QUERIES * STRIDE;
            const float* lse = rows + stage * 2 * QUERIES + part + lane % 4 * 2;
            const float* delta = lse + QUERIES;
            float p[MT][PART / 8][4], slopes[MT][PART / 8][4];
            unsigned packed[MT][PART / 16][4];
            fill(p, 0.0f);
            multiply_transposed<W>(p, keys, queries);
            if (mask == CAUSAL && query + part < first + mine + 16 * MT) {
                hide_turned(p, query + part, first + mine);
            }
#pragma unroll
            for (int nt = 0; nt < PART / 8; nt++) {
                const float2 l = *reinterpret_cast<const float2*>(lse + 8 * nt);
                const float2 s = *reinterpret_cast<const float2*>(delta + 8 * nt);
#pragma unroll
                for (int i = 0; i < 4 * MT; i++) {
                    p[i / 4][nt][i % 4] = exp2_approx(fmaf(p[i / 4][nt][i % 4], scale, i % 2 ? -l.y : -l.x));
                    slopes[i / 4][nt][i % 4] = i % 2 ? -s.y : -s.x;
                }
            }
            multiply_transposed<W>(slopes, values, grads);
            pack_fragments(packed, p);
            multiply<W>(value_sums, packed, grads);
#pragma unroll
            for (int i = 0; i < MT * PART / 2; i++) {
                slopes[i / (PART / 2)][i / 4 % (PART / 8)][i % 4] *= p[i / (PART / 2)][i / 4 % (PART / 8)][i % 4];
            }
            pack_fragments(packed, slopes);
            multiply<W>(key_sums, packed, queries);
        }
        if (more) keep_row_value(stage ^ 1, next);
    }
    __syncthreads();
    // A hidden key has a row of zeros, whose weights were made of scores 0.
    float factors[MT][2];
#pragma unroll
    for (int i = 0; i < 2 * MT; i++) {
        const int mt = i / 2, h = i % 2, row = first + mine + 16 * mt + lane / 4 + 8 * h;
        factors[mt][h] = 1.0f;
        if (row < m && saved.keep != nullptr && saved.keep[row] == 0) {
#pragma unroll
            for (int j = 0; j < 2 * Tile<W>::UNITS; j++) {
                value_sums[mt][j / 2][2 * h + j % 2] = 0.0f;
                key_sums[mt][j / 2][2 * h + j % 2] = 0.0f;
            }
        }
    }
    if (dv != nullptr) {
        store_rows<W>(own + mine * STRIDE, Rows<bf16>(dv, m, saved.heads, saved.d), first + mine, value_sums, factors);
    }
#pragma unroll
    for (int i = 0; i < 2 * MT; i++) factors[i / 2][i % 2] = saved.scale;
    if (dk != nullptr) {
        store_rows<W>(own + mine * STRIDE, Rows<bf16>(dk, m, saved.heads, saved.d), first + mine, key_sums, factors);
    }
}

}  // namespace attention

// delta [B, heads, N] = rowsum(out grad) of every head, for out, grad [B, N, heads d]; count = B N heads, d a multiple of 8.
// Eight lanes take a row of a head, eight channels each at a time.
//   blockDim = 256, grid ceil(count / 32)
extern "C" __global__ void __launch_bounds__(256) attention_delta_bf16(const __nv_bfloat16* out, const __nv_bfloat16* grad,
                                                                       float* delta, int n, int heads, int d, long long count) {
    const long long row = (static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x) / 8;
    float sum = 0.0f;
    if (row < count) {
        for (int channel = threadIdx.x % 8 * 8; channel < d; channel += 64) {
            const uint4 x = *reinterpret_cast<const uint4*>(out + row * d + channel);
            const uint4 y = *reinterpret_cast<const uint4*>(grad + row * d + channel);
            const unsigned pairs[4][2] = {{x.x, y.x}, {x.y, y.y}, {x.z, y.z}, {x.w, y.w}};
#pragma unroll
            for (int i = 0; i < 4; i++) {
                // A bfloat16 is the upper half of a float.
                sum = fmaf(__uint_as_float(pairs[i][0] << 16), __uint_as_float(pairs[i][1] << 16), sum);
                sum = fmaf(__uint_as_float(pairs[i][0] & 0xffff0000u), __uint_as_float(pairs[i][1] & 0xffff0000u), sum);
            }
        }
    }
#pragma unroll
    for (int by = 4; by > 0; by /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, by);
    if (row < count && threadIdx.x % 8 == 0) {
        const long long token = row / heads;
        delta[(token / n * heads + row % heads) * n + token % n] = sum;
    }
}

// grad [B, N, heads d] of the result, lse and delta [B, heads, N] of the forward pass and of attention_delta_bf16; dq like q, dk
// and dv like k (either may be null: then it is not written). Otherwise as in attention_forward.cu, also the rule for XX.
//   blockDim = 128
//   attention_backward_q_bf16_dXX: grid (ceil(N / ROWS), heads, B)
//   attention_backward_kv_bf16_dXX: grid (ceil(M / ROWS), heads, B)
//   dynamic shared memory: (2 ROWS + 4 TILE) ROW_BYTES, of backward_kv 16 TILE more
//   XX                  16     32     40     48     64     80     96    128    160
//   ROW_BYTES           32     64     80     96    144    160    192    272    320
//   backward_q  ROWS   128    128    128    128    128     64     64     64     64
//               TILE    64     64     64     64     64     64     64     32     32
//               bytes 16384  32768  40960  49152  73728  61440  73728  69632  81920
//   backward_kv ROWS   128    128    128     64    128     64     64     64     64
//               TILE    64     64     64     64     64     64     64     32     32
//               bytes 17408  33792  41984  37888  74752  62464  74752  70144  82432
//
// The macros' arguments: ROWS = 64 MT, TILE, how many rows of a tile are taken at once, how many of the two left-hand sides stay
// in registers, and the blocks that should fit on a multiprocessor.
#define BACKWARD_Q(W, MT, TILE, PART, IN_REGISTERS, BLOCKS)                                                          \
    extern "C" __global__ void __launch_bounds__(128, BLOCKS) attention_backward_q_bf16_d##W(                        \
        const __nv_bfloat16* q, const __nv_bfloat16* k, const __nv_bfloat16* v, const __nv_bfloat16* grad,           \
        const float* lse, const float* delta, __nv_bfloat16* dq, const unsigned char* keep, int mask, int n, int m,  \
        int heads, int d, float scale) {                                                                             \
        attention::backward_q<W, MT, TILE, PART, IN_REGISTERS>(                                                      \
            {q, k, v, grad, lse, delta, keep, mask, n, m, heads, d, scale}, dq);                                     \
    }
#define BACKWARD_KV(W, MT, TILE, PART, IN_REGISTERS, BLOCKS)                                                         \
    extern "C" __global__ void __launch_bounds__(128, BLOCKS) attention_backward_kv_bf16_d##W(                       \
        const __nv_bfloat16* q, const __nv_bfloat16* k, const __nv_bfloat16* v, const __nv_bfloat16* grad,           \
        const float* lse, const float* delta, __nv_bfloat16* dk, __nv_bfloat16* dv, const unsigned char* keep,       \
        int mask, int n, int m, int heads, int d, float scale) {                                                     \
        attention::backward_kv<W, MT, TILE, PART, IN_REGISTERS>(                                                     \
            {q, k, v, grad, lse, delta, keep, mask, n, m, heads, d, scale}, dk, dv);                                 \
    }

BACKWARD_Q(16, 2, 64, 32, 2, 3)
BACKWARD_Q(32, 2, 64, 32, 2, 3)
BACKWARD_Q(40, 2, 64, 32, 2, 2)
BACKWARD_Q(48, 2, 64, 16, 2, 2)
BACKWARD_Q(64, 2, 64, 16, 2, 2)
BACKWARD_Q(80, 1, 64, 32, 2, 3)
BACKWARD_Q(96, 1, 64, 32, 2, 2)
BACKWARD_Q(128, 1, 32, 32, 2, 2)
BACKWARD_Q(160, 1, 32, 32, 0, 2)

BACKWARD_KV(16, 2, 64, 32, 2, 3)
BACKWARD_KV(32, 2, 64, 32, 2, 2)
BACKWARD_KV(40, 2, 64, 32, 2, 2)
BACKWARD_KV(48, 1, 64, 64, 2, 2)
BACKWARD_KV(64, 2, 64, 16, 1, 2)
BACKWARD_KV(80, 1, 64, 32, 2, 2)
BACKWARD_KV(96, 1, 64, 32, 0, 2)
BACKWARD_KV(128, 1, 32, 32, 0, 2)
BACKWARD_KV(160, 1, 32, 32, 0, 2)
