// Attention in bfloat16 on tensor cores: what the forward and the backward pass share.
//
// Heads are never cut out of [B, N, C]: row r of a head lies C = heads d elements after row r - 1. Tiles of rows are copied into
// shared memory, with zeros up to the width of the template. A warp owns MT x 16 rows of every product and holds these
// as accumulators: acc[mt][nt][2 h + e] is in row 16 mt + lane / 4 + 8 h and column 8 nt + 2 (lane % 4) + e.
#pragma once
#include "mma.cuh"
#include "prelude.cuh"

namespace attention {

constexpr int WARPS = 4;
constexpr int THREADS = 32 * WARPS;
constexpr float LOG2_E = 1.4426950408889634f;

// Values of the argument `mask`: all keys, those up to the query's own position, those where `keep` [B, M] is not 0.
enum Mask { EVERY = 0, CAUSAL = 1, KEPT = 2 };

// Rows of a head of up to W channels (a multiple of 8) in shared memory, in units of 8 channels = 16 bytes.
template <int W> struct Tile {
    // Each unit is a tile of 8 columns, where channels are columns of a result.
    static constexpr int UNITS = W / 8;
    // Where channels are summed over: steps of two units, the last of which may have only one.
    static constexpr int STEPS = (UNITS + 1) / 2;
    static __device__ constexpr bool half(int step) { return 2 * step + 1 == UNITS; }
    // The same unit of 8 rows must lie in different banks, of which there are 8 units: it does if UNITS is odd. If UNITS is a
    // multiple of 8, there is one more unit between rows; else units are swapped within groups, which also leaves copies free
    // of conflicts.
    static constexpr int GROUP = UNITS % 8 == 0 || UNITS % 2 != 0 ? 1 : UNITS % 4 == 0 ? 4 : 2;
    // Elements between rows.
    static constexpr int STRIDE = 8 * (UNITS % 8 == 0 ? UNITS + 1 : UNITS);

    // What the place of a unit is combined with in row r (of a tile: from a multiple of 8 on) by exclusive or.
    static __device__ __forceinline__ int swap(int r) { return r / (8 / GROUP) % GROUP; }
    static __device__ __forceinline__ int place(int r, int unit) { return r * STRIDE + 8 * (unit ^ swap(r)); }
};

// A lane's row of the matrices that `ldmatrix` reads: row `r` of a tile, unit `unit` (0 or 1) of each pair of units.
template <int W> struct LaneRow {
    const bf16* at;
    int unit;

    __device__ __forceinline__ LaneRow(const bf16* tile, int r, int unit)
        : at(tile + r * Tile<W>::STRIDE), unit(unit ^ Tile<W>::swap(r)) {}

    // Of the pair of units `pair`, `rows` rows (a multiple of 8) on; of half a pair, the only unit for all lanes. Only the part
    // that differs between lanes is computed.
    __device__ __forceinline__ const bf16* pair(int rows, int pair) const {
        constexpr int WITHIN = Tile<W>::GROUP - 1;
        const bf16* row = at + rows * Tile<W>::STRIDE;
        if (Tile<W>::half(pair)) return row + 16 * pair;
        return row + 8 * (2 * pair & ~WITHIN) + 8 * ((2 * pair & WITHIN) ^ unit);
    }
};

// One head of one sample, or of its gradient: row r at x + r * stride.
template <class T> struct Rows {
    T* x;
    int stride, len, d;

    __device__ Rows(T* x, int len, int heads, int d) : stride(heads * d), len(len), d(d) {
        this->x = x + static_cast<long long>(blockIdx.z) * len * stride + static_cast<long long>(blockIdx.y) * d;
    }

    __device__ T* at(int row, int channel) const { return x + (row * stride + channel); }
};

// Starts copying rows first .. first + COUNT into a tile; rows beyond the last, rows that `keep` hides (if not null) and channels
// beyond d become 0: a hidden row has no part in anything, whatever it holds. A thread has one unit of every STEP-th row, so that
// its addresses differ by a constant; the threads left over do nothing.
template <int W, int COUNT>
__device__ __forceinline__ void copy_tile(bf16* tile, const Rows<const bf16>& rows, int first, const unsigned char* keep) {
    constexpr int PARTS = Tile<W>::UNITS > 16 ? 2 : 1, ACROSS = Tile<W>::UNITS / PARTS;
    constexpr int STEP = ACROSS > 8 ? 8 : ACROSS > 4 ? 16 : ACROSS > 2 ? 32 : 64;
    static_assert(COUNT % STEP == 0 && ACROSS * STEP <= THREADS, "whole rounds");
    const int r = threadIdx.x / ACROSS;
    if (r < STEP) {
#pragma unroll
        for (int part = 0; part < PARTS; part++) {
            const int unit = threadIdx.x % ACROSS + part * ACROSS, left = 8 * unit < rows.d ? rows.len - first - r : 0;
            const bf16* from = rows.at(first + r, 8 * unit);
            bf16* to = tile + Tile<W>::place(r, unit);
#pragma unroll
            for (int i = 0; i < COUNT; i += STEP) {
                const bool wanted = i < left && (keep == nullptr || keep[first + r + i] != 0);
                cp_async_16_zfill(to + i * Tile<W>::STRIDE, from, wanted);
                from += STEP * rows.stride;
            }
        }
    }
}

// Rows of a left-hand side, MT x 16 a warp, read from their tile at every use.
template <int W, int MT> struct InShared {
    LaneRow<W> row;

    // `tile`: the first row of this warp.
    __device__ explicit InShared(const bf16* tile) : row(tile, threadIdx.x % 16, threadIdx.x % 32 / 16) {}

    __device__ void fragment(int mt, int step, unsigned* a) const { ldmatrix_x4(a, row.pair(16 * mt, step)); }
};

// The same, read once into registers.
template <int W, int MT> struct InRegisters {
    unsigned r[MT][Tile<W>::STEPS][4];

    __device__ explicit InRegisters(const bf16* tile) {
        const InShared<W, MT> rows(tile);
#pragma unroll
        for (int mt = 0; mt < MT; mt++) {
#pragma unroll
            for (int step = 0; step < Tile<W>::STEPS; step++) rows.fragment(mt, step, r[mt][step]);
        }
    }

    __device__ void fragment(int mt, int step, unsigned* a) const {
#pragma unroll
        for (int i = 0; i < 4; i++) a[i] = r[mt][step][i];
    }
};

// acc += a b^T over the channels; column j of acc is row j of the tile b.
template <int W, int MT, int NT, class A>
__device__ __forceinline__ void multiply_transposed(float (&acc)[MT][NT][4], const A& a, const bf16* b) {
    const int lane = threadIdx.x % 32;
    const LaneRow<W> row(b, lane / 16 * 8 + lane % 8, lane / 8 % 2);
#pragma unroll
    for (int step = 0; step < Tile<W>::STEPS; step++) {
        unsigned left[MT][4];
#pragma unroll
        for (int mt = 0; mt < MT; mt++) a.fragment(mt, step, left[mt]);
#pragma unroll
        for (int nt = 0; nt < NT; nt += 2) {
            unsigned right[4];
            ldmatrix_x4(right, row.pair(8 * nt, step));
#pragma unroll
            for (int mt = 0; mt < MT; mt++) {
                if (Tile<W>::half(step)) {
                    mma_m16n8k8(acc[mt][nt], left[mt], right);
                    mma_m16n8k8(acc[mt][nt + 1], left[mt], right + 2);
                } else {
                    mma_m16n8k16(acc[mt][nt], left[mt], right);
                    mma_m16n8k16(acc[mt][nt + 1], left[mt], right + 2);
                }
            }
        }
    }
}

// acc += a b over KT x 16 rows of the tile b, for a (rounded to bfloat16) as an earlier product left it; columns are channels.
template <int W, int MT, int KT>
__device__ __forceinline__ void multiply(float (&acc)[MT][Tile<W>::UNITS][4], const unsigned (&a)[MT][KT][4], const bf16* b) {
    const LaneRow<W> row(b, threadIdx.x % 16, threadIdx.x % 32 / 16);
#pragma unroll
    for (int kt = 0; kt < KT; kt++) {
#pragma unroll
        for (int nt = 0; nt < Tile<W>::UNITS; nt += 2) {
            unsigned right[4];
            ldmatrix_x4_trans(right, row.pair(16 * kt, nt / 2));
#pragma unroll
            for (int mt = 0; mt < MT; mt++) {
                mma_m16n8k16(acc[mt][nt], a[mt][kt], right);
                if (!Tile<W>::half(nt / 2)) mma_m16n8k16(acc[mt][nt + 1], a[mt][kt], right + 2);
            }
        }
    }
}

__device__ __forceinline__ unsigned pack(float low, float high) {
    const __nv_bfloat162 pair = __float22bfloat162_rn(make_float2(low, high));
    unsigned bits;
    memcpy(&bits, &pair, sizeof bits);
    return bits;
}

// Accumulators as the left-hand side of the next product: two tiles of 8 columns are one step of 16.
template <int MT, int NT>
__device__ __forceinline__ void pack_fragments(unsigned (&a)[MT][NT / 2][4], const float (&acc)[MT][NT][4]) {
#pragma unroll
    for (int mt = 0; mt < MT; mt++) {
#pragma unroll
        for (int nt = 0; nt < NT; nt++) {
            a[mt][nt / 2][nt % 2 * 2] = pack(acc[mt][nt][0], acc[mt][nt][1]);
            a[mt][nt / 2][nt % 2 * 2 + 1] = pack(acc[mt][nt][2], acc[mt][nt][3]);
        }
    }
}

template <int MT, int NT> __device__ __forceinline__ void fill(float (&acc)[MT][NT][4], float value) {
#pragma unroll
    for (int i = 0; i < MT * NT * 4; i++) acc[i / (4 * NT)][i / 4 % NT][i % 4] = value;
}

// Makes the scores of hidden keys minus infinity. Rows are queries from `query` on, columns are keys from `key` on.
template <int MT, int NT>
__device__ __forceinline__ void hide(float (&scores)[MT][NT][4], int mask, const unsigned char* keep, int query, int key, int m) {
    const int lane = threadIdx.x % 32, first = key + lane % 4 * 2;
    // Of each of this lane's columns, whether no row may see it.
    unsigned hidden = 0;
#pragma unroll 4
    for (int i = 0; i < 2 * NT; i++) {
        const int column = first + i / 2 * 8 + i % 2;
        if (column >= m || (mask == KEPT && keep[column] == 0)) hidden |= 1u << i;
    }
    const int ahead = mask == CAUSAL ? first - query - lane / 4 : -16 * MT - 8 * NT;
#pragma unroll
    for (int i = 0; i < 2 * NT; i++) {
#pragma unroll
        for (int row = 0; row < 2 * MT; row++) {
            const bool later = ahead > 8 * row - 8 * (i / 2) - i % 2;
            if (later || (hidden >> i & 1) != 0) scores[row / 2][i / 2][row % 2 * 2 + i % 2] = -INFINITY;
        }
    }
}

// The same of a causal mask, where rows are keys and columns are queries.
template <int MT, int NT> __device__ __forceinline__ void hide_turned(float (&scores)[MT][NT][4], int query, int key) {
    const int lane = threadIdx.x % 32;
#pragma unroll
    for (int i = 0; i < 4 * MT * NT; i++) {
        const int mt = i / (4 * NT), nt = i / 4 % NT, row = 16 * mt + lane / 4 + i / 2 % 2 * 8;
        if (key + row > query + 8 * nt + lane % 4 * 2 + i % 2) scores[mt][nt][i % 4] = -INFINITY;
    }
}

// Writes a warp's rows first .. first + 16 MT to the head, row by row times `factors[mt][h]`, through its own part `tile` of the
// shared memory, which brings them into order for stores of 16 bytes.
template <int W, int MT>
__device__ __forceinline__ void store_rows(bf16* tile, const Rows<bf16>& rows, int first,
                                           const float (&acc)[MT][Tile<W>::UNITS][4], const float (&factors)[MT][2]) {
    constexpr int UNITS = Tile<W>::UNITS;
    const int lane = threadIdx.x % 32;
#pragma unroll
    for (int mt = 0; mt < MT; mt++) {
#pragma unroll
        for (int h = 0; h < 2; h++) {
            const int r = 16 * mt + lane / 4 + 8 * h;
            const float factor = factors[mt][h];
#pragma unroll
            for (int nt = 0; nt < UNITS; nt++) {
                unsigned* at = reinterpret_cast<unsigned*>(tile + Tile<W>::place(r, nt) + lane % 4 * 2);
                *at = pack(acc[mt][nt][2 * h] * factor, acc[mt][nt][2 * h + 1] * factor);
            }
        }
    }
    __syncwarp();
    for (int i = lane; i < 16 * MT * UNITS; i += 32) {
        const int r = i / UNITS, unit = i % UNITS;
        if (first + r < rows.len && 8 * unit < rows.d) {
            const uint4* from = reinterpret_cast<const uint4*>(tile + Tile<W>::place(r, unit));
            *reinterpret_cast<uint4*>(rows.at(first + r, 8 * unit)) = *from;
        }
    }
    __syncwarp();
}

}  // namespace attention
