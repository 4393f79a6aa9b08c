// Backward pass of group normalisation: per-channel sums, then dx.
#include "group_norm.cuh"

// The gradient of z from that of SiLU(z).
template <class T> INLINE float through_silu(float grad, float z) {
    const float s = sigmoid<T>(z);
    return grad * s * fmaf(z, 1.0f - s, 1.0f);
}

template <int N, bool SILU, class T>
INLINE void backward_sums(const T* __restrict__ x, const T* __restrict__ grad, const float* mean, const float* rstd,
                          const float* gamma, const float* beta, float* partial, int positions, int c, int groups,
                          int rows_per_block) {
    __shared__ float shared[256 * N];
    const Arrangement at(c / N);
    const Band band(positions, rows_per_block);
    const int width = c / groups;
    const long long image = static_cast<long long>(blockIdx.y) * positions * c;
    mean += blockIdx.y * groups;
    rstd += blockIdx.y * groups;
    partial += (static_cast<long long>(blockIdx.y) * gridDim.x + blockIdx.x) * 2 * c;
    for (int tile = blockIdx.z; tile < at.tiles; tile += gridDim.z) {
        const int column = (tile * at.columns + at.column) * N;
        const bool active = at.lane < at.lanes && column < c;
        float plain[N] = {}, weighted[N] = {};
        if (active) {
            const Channels<N> channels(mean, rstd, gamma, beta, column, width);
            const long long from = image + column;
            const auto read = [&](int row) { return pair_at<N>(x, grad, from + static_cast<long long>(row) * c); };
            for_rows<2>(band.first + at.lane, band.last, at.lanes, read, [&](int, const auto& pair) {
                float u[N], d[N];
                unpack(pair.first, u);
                unpack(pair.second, d);
#pragma unroll
                for (int k = 0; k < N; ++k) {
                    if (SILU) d[k] = through_silu<T>(d[k], channels.z(k, u[k]));
                    plain[k] += d[k];
                    weighted[k] = fmaf(d[k], u[k] - channels.mean[k], weighted[k]);
                }
            });
        }
        fold_lanes(at, plain, shared);
        fold_lanes(at, weighted, shared);
        if (active && at.lane == 0) {
            float scale[N];
            of_groups(rstd, column, width, scale);
#pragma unroll
            for (int k = 0; k < N; ++k) weighted[k] *= scale[k];
            store(partial + column, plain);
            store(partial + c + column, weighted);
        }
    }
}

// partial [B, chunks, 2, C]: sums of d and of d xhat over the rows of a chunk, d = grad through SiLU, xhat = (x - mean) rstd.
// blockDim = a multiple of 32 up to 256 (best: see Arrangement), grid (chunks = ceil(P / rows_per_block), B, tiles or fewer);
// rows_per_block of 32 to 256 keeps the sums of a thread short
#define K(S, T)                                                                                                               \
    extern "C" __global__ void group_norm_backward_sums_##S(const T* x, const T* grad, const float* mean, const float* rstd,  \
                                                            const float* gamma, const float* beta, float* partial,            \
                                                            int positions, int c, int groups, int silu, int rows_per_block) { \
        constexpr int N = WIDTH<T>;                                                                                           \
        const bool wide = c % N == 0 && aligned(x, grad, gamma, beta, partial);                                               \
        const int p = positions, r = rows_per_block;                                                                          \
        if (wide && silu) backward_sums<N, true>(x, grad, mean, rstd, gamma, beta, partial, p, c, groups, r);                 \
        else if (wide) backward_sums<N, false>(x, grad, mean, rstd, gamma, beta, partial, p, c, groups, r);                   \
        else if (silu) backward_sums<1, true>(x, grad, mean, rstd, gamma, beta, partial, p, c, groups, r);                    \
        else backward_sums<1, false>(x, grad, mean, rstd, gamma, beta, partial, p, c, groups, r);                             \
    }
FOR_BOTH(K)
#undef K

// sums [B, 2, C] = the sum of partial [B, chunks, 2, C] over the chunks; means [B, 2, groups] = sum of gamma sums over the
// channels of a group, divided by its number of elements. blockDim = 256, grid (groups, B)
extern "C" __global__ void group_norm_backward_reduce(const float* partial, const float* gamma, float* sums, float* means,
                                                      int chunks, int c, int groups, int positions) {
    __shared__ double shared[2][8][32];
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, width = c / groups;
    const long long b = blockIdx.y;
    partial += b * chunks * 2 * c;
    double mean[2] = {};
    for (int first = 0; first < width; first += 32) {
        const int channel = blockIdx.x * width + first + lane;
        const bool active = first + lane < width;
        double sum[2] = {};
        if (active) {
            const auto read = [&](int chunk) {
                const float* row = partial + static_cast<long long>(chunk) * 2 * c + channel;
                return float2{row[0], row[c]};
            };
            for_rows<4>(warp, chunks, 8, read, [&](int, float2 v) {
                sum[0] += v.x;
                sum[1] += v.y;
            });
        }
        for (int i = 0; i < 2; ++i) shared[i][warp][lane] = sum[i];
        __syncthreads();
        if (warp == 0 && active)
            for (int i = 0; i < 2; ++i) {
                for (int other = 1; other < 8; ++other) sum[i] += shared[i][other][lane];
                sums[(b * 2 + i) * c + channel] = static_cast<float>(sum[i]);
                mean[i] += gamma[channel] * sum[i];
            }
        __syncthreads();
    }
    if (warp == 0)
        for (int i = 0; i < 2; ++i) {
            mean[i] = warp_sum(mean[i]);
            if (lane == 0) means[(b * 2 + i) * groups + blockIdx.x] = static_cast<float>(mean[i] / width / positions);
        }
}

// dbeta and dgamma [C] = sums [B, 2, C] of d and of d xhat, added over the images. Any grid and block
extern "C" __global__ void group_norm_backward_weights(const float* sums, float* dgamma, float* dbeta, int batch, int c) {
    for (long long i = grid_first(); i < c; i += grid_stride()) {
        double plain = 0.0, weighted = 0.0;
        for (int b = 0; b < batch; ++b) {
            plain += sums[2ll * b * c + i];
            weighted += sums[(2ll * b + 1) * c + i];
        }
        dbeta[i] = static_cast<float>(plain);
        dgamma[i] = static_cast<float>(weighted);
    }
}

template <int N, bool SILU, class T>
INLINE void backward_input(const T* __restrict__ x, const T* __restrict__ grad, const float* mean, const float* rstd,
                           const float* gamma, const float* beta, const float* means, T* __restrict__ dx, int positions,
                           int c, int groups, int batch) {
    const Arrangement at(c / N);
    const Turns turns(at);
    const int width = c / groups;
    for (int b = blockIdx.y; b < batch; b += gridDim.y)
        for (int tile = 0; tile < at.tiles; ++tile) {
            const int column = (tile * at.columns + at.column) * N;
            if (at.lane >= at.lanes || column >= c) continue;
            const Channels<N> channels(mean + b * groups, rstd + b * groups, gamma, beta, column, width);
            // dx = d scale - (x - mean) slope - offset, slope = rstd^2 m2, offset = rstd m1
            float scale[N], offset[N], slope[N];
            of_groups(rstd + b * groups, column, width, scale);
            of_groups(means + 2 * b * groups, column, width, offset);
            of_groups(means + (2 * b + 1) * groups, column, width, slope);
#pragma unroll
            for (int k = 0; k < N; ++k) {
                offset[k] *= scale[k];
                slope[k] *= scale[k] * scale[k];
            }
            const long long from = static_cast<long long>(b) * positions * c + column;
            const auto read = [&](int row) { return pair_at<N>(x, grad, from + static_cast<long long>(row) * c); };
            for_rows<2>(turns.first, positions, turns.step, read, [&](int row, const auto& pair) {
                float u[N], d[N];
                unpack(pair.first, u);
                unpack(pair.second, d);
#pragma unroll
                for (int k = 0; k < N; ++k) {
                    if (SILU) d[k] = through_silu<T>(d[k], channels.z(k, u[k]));
                    d[k] = fmaf(d[k], channels.scale[k], -fmaf(u[k] - channels.mean[k], slope[k], offset[k]));
                }
                store(dx + from + static_cast<long long>(row) * c, d);
            });
        }
}

// dx = rstd (gamma d - m1 - xhat m2), d = grad through SiLU, m1 and m2 = means [B, 2, groups]; n = B P C.
// blockDim = a multiple of 32 (best: see Arrangement), grid (blocks an image: ceil(P / lanes) or fewer, B)
#define K(S, T)                                                                                                                \
    extern "C" __global__ void group_norm_backward_input_##S(const T* x, const T* grad, const float* mean, const float* rstd,  \
                                                             const float* gamma, const float* beta, const float* means, T* dx, \
                                                             int positions, int c, int groups, int silu, long long n) {        \
        constexpr int N = WIDTH<T>;                                                                                            \
        const int batch = static_cast<int>(n / (static_cast<long long>(positions) * c)), p = positions;                        \
        const bool wide = c % N == 0 && aligned(x, grad, gamma, beta, dx);                                                     \
        if (wide && silu) backward_input<N, true>(x, grad, mean, rstd, gamma, beta, means, dx, p, c, groups, batch);           \
        else if (wide) backward_input<N, false>(x, grad, mean, rstd, gamma, beta, means, dx, p, c, groups, batch);             \
        else if (silu) backward_input<1, true>(x, grad, mean, rstd, gamma, beta, means, dx, p, c, groups, batch);              \
        else backward_input<1, false>(x, grad, mean, rstd, gamma, beta, means, dx, p, c, groups, batch);                       \
    }
FOR_BOTH(K)
#undef K
