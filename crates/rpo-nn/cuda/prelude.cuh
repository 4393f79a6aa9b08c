// Common parts of the kernels: values are stored as T (float or bfloat16), all arithmetic is in f32.
#pragma once

#ifndef EMULATED_GPU
#include <cuda_bf16.h>

// Shared memory whose size the launch gives.
#define DYNAMIC_SHARED(type, name)                              \
    extern __shared__ __align__(16) unsigned char name##_raw[]; \
    type* name = reinterpret_cast<type*>(name##_raw)
#endif

#define INLINE __device__ __forceinline__

using bf16 = __nv_bfloat16;

// K(suffix, type) for both storage types.
#define FOR_BOTH(K) K(f32, float) K(bf16, bf16)

// Values of T in 16 bytes, the widest access of a thread.
template <class T> constexpr int WIDTH = 16 / int(sizeof(T));

INLINE float to_float(float x) { return x; }
INLINE float to_float(bf16 x) { return __bfloat162float(x); }

template <class T> INLINE T from_float(float x);
template <> INLINE float from_float<float>(float x) { return x; }
template <> INLINE bf16 from_float<bf16>(float x) { return __float2bfloat16_rn(x); }

// N values that move together.
template <class T, int N> struct alignas(N * sizeof(T)) Pack {
    T lane[N];
};

// v = the lanes in f32.
template <class T, int N> INLINE void unpack(const Pack<T, N>& pack, float (&v)[N]) {
#pragma unroll
    for (int k = 0; k < N; ++k) v[k] = to_float(pack.lane[k]);
}

// The N values at p as they are, at most 16 bytes.
template <int N, class T> INLINE Pack<T, N> load_pack(const T* p) { return *reinterpret_cast<const Pack<T, N>*>(p); }

// v = the N values at p; N = 1, or p is aligned to the access: N values, 16 bytes at most.
template <int N, class T> INLINE void load(const T* p, float (&v)[N]) {
    constexpr int M = N < WIDTH<T> ? N : WIDTH<T>;
#pragma unroll
    for (int i = 0; i < N; i += M) {
        const auto pack = load_pack<M>(p + i);
#pragma unroll
        for (int j = 0; j < M; ++j) v[i + j] = to_float(pack.lane[j]);
    }
}

// The N values at p = v, rounded to nearest even.
template <int N, class T> INLINE void store(T* p, const float (&v)[N]) {
    constexpr int M = N < WIDTH<T> ? N : WIDTH<T>;
#pragma unroll
    for (int i = 0; i < N; i += M) {
        Pack<T, M> pack;
#pragma unroll
        for (int j = 0; j < M; ++j) pack.lane[j] = from_float<T>(v[i + j]);
        *reinterpret_cast<Pack<T, M>*>(p + i) = pack;
    }
}

// Whether every pointer is a multiple of 16 bytes.
template <class... P> INLINE bool aligned(const P*... p) {
    return ((reinterpret_cast<unsigned long long>(p) | ...) & 15) == 0;
}

// a / b for a >= 0, b > 0; 64-bit divisions are several times slower.
INLINE long long divide(long long a, int b) {
    return a >> 32 ? a / b : static_cast<unsigned>(a) / static_cast<unsigned>(b);
}

// This thread's number in the grid, and the number of threads.
INLINE long long grid_first() { return static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x; }
INLINE long long grid_stride() { return static_cast<long long>(gridDim.x) * blockDim.x; }

// Row and column of item i = grid_first(), + grid_stride(), .. of a table with `cols` columns. The loop divides nothing.
struct Cursor {
    long long row, row_step;
    int col, col_step, cols;

    INLINE explicit Cursor(int cols) : cols(cols) {
        const long long first = grid_first(), stride = grid_stride();
        row = divide(first, cols);
        col = static_cast<int>(first - row * cols);
        row_step = divide(stride, cols);
        col_step = static_cast<int>(stride - row_step * cols);
    }
    INLINE void next() {
        row += row_step;
        col += col_step;
        if (col >= cols) {
            col -= cols;
            ++row;
        }
    }
};

// 1 / (1 + e^-x). For bf16 with the fast quotient (2 ulp) and exponential (2 + 1.2 |x| ulp of f32, an ulp of bf16 is 65536).
template <class T> INLINE float sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }
template <> INLINE float sigmoid<bf16>(float x) { return __fdividef(1.0f, 1.0f + __expf(-x)); }

// Sum over a warp, or over each run of W lanes, the same bits in every one of them.
template <int W = 32, class V> INLINE V warp_sum(V v) {
#pragma unroll
    for (int step = W / 2; step > 0; step /= 2) v += __shfl_xor_sync(0xffffffffu, v, step);
    return v;
}

// Sum over a block of whole warps, in thread 0.
template <class V> INLINE V block_sum(V v) {
    __shared__ V warps[32];
    v = warp_sum(v);
    if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = v;
    __syncthreads();
    return warp_sum(threadIdx.x < blockDim.x / 32 ? warps[threadIdx.x] : V(0));
}

// Threads of a block as `lanes` rows of `columns` vectors, so that a thread keeps its channels from row to row. Rows wider
// than the block are cut into `tiles`. The best block for C = n vectors (at most 256 threads) wastes few threads: with
// columns = ceil(n / ceil(n / 256)), a block of columns * floor(256 / columns) threads, rounded up to whole warps.
struct Arrangement {
    int tiles, columns, lanes, lane, column;

    INLINE explicit Arrangement(int vectors) {
        const int threads = blockDim.x, thread = threadIdx.x;
        tiles = (vectors + threads - 1) / threads;
        columns = (vectors + tiles - 1) / tiles;
        lanes = threads / columns;
        lane = thread / columns;
        column = thread - lane * columns;
    }
};

// use(row, load(row)) for row, row + step, .. below `last`. U loads are under way before the first is used: a kernel that needs
// many registers has few threads to hide the memory's latency. (Unrolling alone leaves a branch between the loads.)
template <int U, class I, class Load, class Use> INLINE void for_rows(I row, I last, I step, Load load, Use use) {
    for (; row + (U - 1) * step < last; row += U * step) {
        decltype(load(row)) ahead[U];
#pragma unroll
        for (int i = 0; i < U; ++i) ahead[i] = load(row + i * step);
#pragma unroll
        for (int i = 0; i < U; ++i) use(row + i * step, ahead[i]);
    }
#pragma unroll 1
    for (; row < last; row += step) use(row, load(row));
}

// Vectors of two arrays at the same place.
template <class T, int N> struct Pair {
    Pack<T, N> first, second;
};
template <int N, class T> INLINE Pair<T, N> pair_at(const T* a, const T* b, long long at) {
    return {load_pack<N>(a + at), load_pack<N>(b + at)};
}

// Adds the vectors of all lanes, in their order, into those of lane 0. `shared` has blockDim.x N floats.
template <int N> INLINE void fold_lanes(const Arrangement& at, float (&sum)[N], float* shared) {
    const int threads = blockDim.x;
    __syncthreads();
#pragma unroll
    for (int k = 0; k < N; ++k) shared[k * threads + threadIdx.x] = sum[k];
    __syncthreads();
    if (at.lane != 0) return;
#pragma unroll 1
    for (int lane = 1; lane < at.lanes; ++lane) {
#pragma unroll
        for (int k = 0; k < N; ++k) sum[k] += shared[k * threads + lane * at.columns + at.column];
    }
}
