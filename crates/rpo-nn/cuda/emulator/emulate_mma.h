// Tensor-core multiplication, ldmatrix and cp.async of the emulated GPU, with the fragment layouts of the PTX ISA
// (sections "mma.m16n8k16", "ldmatrix", "cp.async"). Included by emulate.h.
#pragma once

namespace emulated {

inline float bf16_low(unsigned u) { return __uint_as_float(u << 16); }
inline float bf16_high(unsigned u) { return __uint_as_float(u & 0xffff0000); }

struct MmaArgs {
    float* d;
    const unsigned *a, *b;

    // Lane l holds, with g = l / 4 and t = l % 4, rows g and g + 8 of A (16 x 16) and D (16 x 8), and column g of B
    // (16 x 8); in them the pairs of columns (of B: rows) 2t, 2t + 1 and, for A and B, 2t + 8, 2t + 9.
    static void run(void* const* args, unsigned present) {
        if (present != 0xffffffff) fail("mma.sync needs all 32 lanes");
        float a[16][16], b[16][8];
        for (int l = 0; l < 32; ++l) {
            auto& own = *static_cast<MmaArgs*>(args[l]);
            int g = l / 4, t = l % 4 * 2;
            for (int r = 0; r < 4; ++r) {
                float* at = &a[g + r % 2 * 8][t + r / 2 * 8];
                at[0] = bf16_low(own.a[r]);
                at[1] = bf16_high(own.a[r]);
            }
            for (int r = 0; r < 2; ++r) {
                b[t + r * 8][g] = bf16_low(own.b[r]);
                b[t + r * 8 + 1][g] = bf16_high(own.b[r]);
            }
        }
        for (int i = 0; i < 16; ++i) {
            float sums[8];
            auto lane_of = [&](int n) { return static_cast<MmaArgs*>(args[i % 8 * 4 + n / 2])->d + i / 8 * 2 + n % 2; };
            for (int n = 0; n < 8; ++n) sums[n] = *lane_of(n);
            for (int k = 0; k < 16; ++k)
                for (int n = 0; n < 8; ++n) sums[n] += a[i][k] * b[k][n];
            for (int n = 0; n < 8; ++n) *lane_of(n) = sums[n];
        }
    }
};

struct LdmatrixArgs {
    unsigned* r;
    const void* row;

    // Lane l gives row l % 8 of matrix l / 8 (8 x 8 bf16 each); it gets of each matrix row l / 4, columns 2 (l % 4)
    // and the next; transposed: column l / 4, rows 2 (l % 4) and the next.
    template <int COUNT, bool TRANS>
    static void run(void* const* args, unsigned present) {
        if (present != 0xffffffff) fail("ldmatrix needs all 32 lanes");
        unsigned short m[COUNT][8][8];
        for (int l = 0; l < 8 * COUNT; ++l) {
            auto row = static_cast<LdmatrixArgs*>(args[l])->row;
            if (reinterpret_cast<uintptr_t>(row) % 16) fail("ldmatrix: a row is not aligned to 16 bytes");
            memcpy(m[l / 8][l % 8], row, 16);
        }
        for (int l = 0; l < 32; ++l)
            for (int i = 0; i < COUNT; ++i) {
                int g = l / 4, t = l % 4 * 2;
                unsigned low = TRANS ? m[i][t][g] : m[i][g][t], high = TRANS ? m[i][t + 1][g] : m[i][g][t + 1];
                static_cast<LdmatrixArgs*>(args[l])->r[i] = low | high << 16;
            }
    }
};

// cp.async of the calling thread: the copy is made when its group is waited for. Until then the destination is
// poisoned, so that reading it too early, or while it is still needed, shows.
void copy_later(void* shared, const void* global, int bytes, int from_global);
void copy_commit();
void copy_wait(int groups_pending);

}  // namespace emulated

// d += a b, for bf16 pairs a (row-major 16 x 16), b (16 x 8, "col") and f32 d. Warp-collective.
inline void mma_m16n8k16(float* d, const unsigned* a, const unsigned* b, EMULATED_SITE) {
    emulated::MmaArgs args{d, a, b};
    emulated::collective(0xffffffff, &args, emulated::MmaArgs::run, file, line);
}

// Four (two) 8 x 8 matrices of bf16 from shared memory; `row` is the lane's row address. Warp-collective.
inline void ldmatrix_x4(unsigned* r, const void* row, EMULATED_SITE) {
    emulated::LdmatrixArgs args{r, row};
    emulated::collective(0xffffffff, &args, emulated::LdmatrixArgs::run<4, false>, file, line);
}
inline void ldmatrix_x4_trans(unsigned* r, const void* row, EMULATED_SITE) {
    emulated::LdmatrixArgs args{r, row};
    emulated::collective(0xffffffff, &args, emulated::LdmatrixArgs::run<4, true>, file, line);
}
inline void ldmatrix_x2(unsigned* r, const void* row, EMULATED_SITE) {
    emulated::LdmatrixArgs args{r, row};
    emulated::collective(0xffffffff, &args, emulated::LdmatrixArgs::run<2, false>, file, line);
}
inline void ldmatrix_x2_trans(unsigned* r, const void* row, EMULATED_SITE) {
    emulated::LdmatrixArgs args{r, row};
    emulated::collective(0xffffffff, &args, emulated::LdmatrixArgs::run<2, true>, file, line);
}

// 16 bytes from global to shared memory; the second form writes zeros where `wanted` is false, reading nothing.
inline void cp_async_16(void* shared, const void* global) { emulated::copy_later(shared, global, 16, 16); }
inline void cp_async_16_zfill(void* shared, const void* global, bool wanted) {
    emulated::copy_later(shared, global, 16, wanted ? 16 : 0);
}
inline void cp_async_commit() { emulated::copy_commit(); }
template <int PENDING> inline void cp_async_wait() { emulated::copy_wait(PENDING); }
