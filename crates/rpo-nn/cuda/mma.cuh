// Tensor cores and asynchronous copies: thin wrappers of PTX instructions of compute capability 8.0.
//
// All lanes of a warp call `mma_*` and `ldmatrix_*` together; the others are each thread's own.
// Under EMULATED_GPU functions of the same names and meaning stand for them.
#pragma once

#ifndef EMULATED_GPU

// d[4] += a b for a 16 x 16 tile a and a 16 x 8 tile b of bfloat16, with f32 sums. With g = lane / 4 and t = 2 (lane % 4):
//   a[0] = a[g][t, t + 1], a[1] = a[g + 8][t, t + 1], a[2] = a[g][t + 8, t + 9], a[3] = a[g + 8][t + 8, t + 9]
//   b[0] = b[t, t + 1][g], b[1] = b[t + 8, t + 9][g];  d[0, 1] = d[g][t, t + 1], d[2, 3] = d[g + 8][t, t + 1]
// The lower index is in the lower half of each register.
__device__ __forceinline__ void mma_m16n8k16(float* d, const unsigned* a, const unsigned* b) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
                 "{%0, %1, %2, %3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// The same for 8 columns of a and 8 rows of b: the registers a[0], a[1] and b[0] of above.
__device__ __forceinline__ void mma_m16n8k8(float* d, const unsigned* a, const unsigned* b) {
    asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5}, {%6}, {%0, %1, %2, %3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(b[0]));
}

// Four 8 x 8 tiles of 16-bit elements out of shared memory: lane 8 i + r gives the address (a multiple of 16 bytes) of row r of
// tile i; r[i] gets elements [lane / 4][2 (lane % 4), 2 (lane % 4) + 1] of tile i.
__device__ __forceinline__ void ldmatrix_x4(unsigned* r, const void* row) {
    const unsigned at = static_cast<unsigned>(__cvta_generic_to_shared(row));
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(at)
                 : "memory");
}

// The same of the transposed tiles: r[i] gets elements [2 (lane % 4), 2 (lane % 4) + 1][lane / 4] of tile i.
__device__ __forceinline__ void ldmatrix_x4_trans(unsigned* r, const void* row) {
    const unsigned at = static_cast<unsigned>(__cvta_generic_to_shared(row));
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(at)
                 : "memory");
}

// Copies 16 bytes from global to shared memory behind the thread's back; both addresses are multiples of 16.
__device__ __forceinline__ void cp_async_16(void* shared, const void* global) {
    const unsigned at = static_cast<unsigned>(__cvta_generic_to_shared(shared));
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(at), "l"(global) : "memory");
}

// The same, or 16 bytes of zeros if not `wanted`: then nothing is read.
__device__ __forceinline__ void cp_async_16_zfill(void* shared, const void* global, bool wanted) {
    const unsigned at = static_cast<unsigned>(__cvta_generic_to_shared(shared));
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(at), "l"(global), "r"(wanted ? 16 : 0) : "memory");
}

// Ends a group of copies.
__device__ __forceinline__ void cp_async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }

// Waits until all but the newest N groups of this thread have arrived.
template <int N> __device__ __forceinline__ void cp_async_wait() { asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory"); }

// 2^x within two units in the last place; 0 where the result would be subnormal.
__device__ __forceinline__ float exp2_approx(float x) {
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

#else

inline void mma_m16n8k8(float* d, const unsigned* a, const unsigned* b) {
    const unsigned wide_a[4] = {a[0], a[1], 0, 0}, wide_b[2] = {b[0], 0};
    mma_m16n8k16(d, wide_a, wide_b);
}

inline float exp2_approx(float x) { return exp2f(x); }

#endif
