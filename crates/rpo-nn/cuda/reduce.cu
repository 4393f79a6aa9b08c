// Sums over rows, and sums of squares. No atomics: the order of every sum depends on shapes (and alignment) alone.
#include "prelude.cuh"

template <int N, class T> INLINE void sum_rows(const T* x, float* partial, long long rows, int cols, int rows_per_block) {
    __shared__ float shared[256 * N];
    const Arrangement at(cols / N);
    const long long first = static_cast<long long>(blockIdx.x) * rows_per_block;
    const long long last = rows < first + rows_per_block ? rows : first + rows_per_block;
    x += blockIdx.y * rows * cols;
    partial += (static_cast<long long>(blockIdx.y) * gridDim.x + blockIdx.x) * cols;
    for (int tile = blockIdx.z; tile < at.tiles; tile += gridDim.z) {
        const int column = (tile * at.columns + at.column) * N;
        float sum[N] = {};
        if (at.lane < at.lanes && column < cols) {
            const auto read = [&](long long row) { return load_pack<N>(x + row * cols + column); };
            for_rows<4>(first + at.lane, last, static_cast<long long>(at.lanes), read, [&](long long, const auto& pack) {
                float v[N];
                unpack(pack, v);
#pragma unroll
                for (int k = 0; k < N; ++k) sum[k] += v[k];
            });
        }
        fold_lanes(at, sum, shared);
        if (at.lane == 0 && column < cols) store(partial + column, sum);
    }
}

// partial[b, i, :] = sum of rows i rows_per_block .. (i + 1) rows_per_block of x[b], x [batch, rows, cols].
// blockDim = a multiple of 32 up to 256 (best: see Arrangement), grid (ceil(rows / rows_per_block), batch, tiles or fewer);
// rows_per_block of 32 to 256 keeps the sums of a thread short.
#define K(S, T)                                                                                                         \
    extern "C" __global__ void sum_rows_##S(const T* x, float* partial, long long rows, int cols, int rows_per_block) { \
        if (cols % WIDTH<T> == 0 && aligned(x, partial)) sum_rows<WIDTH<T>>(x, partial, rows, cols, rows_per_block);    \
        else sum_rows<1>(x, partial, rows, cols, rows_per_block);                                                       \
    }
FOR_BOTH(K)
#undef K

template <class T> INLINE void add_partials(const float* partial, T* out, int blocks, int cols) {
    __shared__ double shared[8][32];
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    partial += static_cast<long long>(blockIdx.y) * blocks * cols;
    for (int first = blockIdx.x * 32; first < cols; first += gridDim.x * 32) {
        const int col = first + lane;
        double sum = 0.0;
        if (col < cols) {
            const auto read = [&](int block) { return partial[static_cast<long long>(block) * cols + col]; };
            for_rows<8>(warp, blocks, 8, read, [&](int, float v) { sum += v; });
        }
        shared[warp][lane] = sum;
        __syncthreads();
        if (warp == 0 && col < cols) {
            for (int other = 1; other < 8; ++other) sum += shared[other][lane];
            out[static_cast<long long>(blockIdx.y) * cols + col] = from_float<T>(static_cast<float>(sum));
        }
        __syncthreads();
    }
}

// out[b, :] = sum of the rows of partial[b], partial [batch, blocks, cols]. blockDim = 256, grid (at most ceil(cols / 32), batch)
extern "C" __global__ void sum_partials(const float* partial, float* out, int blocks, int cols) {
    add_partials<float>(partial, out, blocks, cols);
}
extern "C" __global__ void sum_partials_bf16(const float* partial, bf16* out, int blocks, int cols) {
    add_partials<bf16>(partial, out, blocks, cols);
}

// A piece of a tensor, f32 or bf16; at most 65536 values keep the blocks even.
struct Chunk {
    const void* values;
    long long len;
    int bf16;
    int pad;
};

template <class T> INLINE double sum_of_squares(const T* x, long long len) {
    constexpr int N = WIDTH<T>;
    const long long whole = aligned(x) ? len / N * N : 0;
    double sum = 0.0;
#pragma unroll 2
    for (long long i = threadIdx.x * N; i < whole; i += blockDim.x * N) {
        float v[N];
        load(x + i, v);
#pragma unroll
        for (int k = 0; k < N; ++k) sum += static_cast<double>(v[k]) * v[k];
    }
    for (long long i = whole + threadIdx.x; i < len; i += blockDim.x) {
        const double v = to_float(x[i]);
        sum += v * v;
    }
    return sum;
}

// partial[i] = sum of the squares of chunk i. blockDim = 256, grid = at most count
extern "C" __global__ void squares(const Chunk* chunks, double* partial, int count) {
    for (int i = blockIdx.x; i < count; i += gridDim.x) {
        const Chunk chunk = chunks[i];
        const double sum = block_sum(chunk.bf16 ? sum_of_squares(static_cast<const bf16*>(chunk.values), chunk.len)
                                                : sum_of_squares(static_cast<const float*>(chunk.values), chunk.len));
        if (threadIdx.x == 0) partial[i] = sum;
        __syncthreads();
    }
}
