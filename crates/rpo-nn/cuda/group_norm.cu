// Group normalisation of x [B, P, C] over the positions P and the C / groups channels of each group, SiLU fused in on request.
// A thread keeps its vector of channels from row to row (see Arrangement), with what the formulas need of them in registers.
#include "group_norm.cuh"

template <int N, class T>
INLINE void moments(const T* __restrict__ x, float4* partial, int positions, int c, int groups, int rows_per_block) {
    DYNAMIC_SHARED(float, shared);
    const Arrangement at(c / N);
    const Band band(positions, rows_per_block);
    float* const squares = shared + at.lanes * c;
    x += static_cast<long long>(blockIdx.y) * positions * c;
    const int width = c / groups;
    // The first value of each group is subtracted from all, which is exact where it matters: |mean| >> std.
    const T* const shifts = x + static_cast<long long>(band.first) * c;
    // Welford's mean and sum of squared distances from it, for every channel and lane.
    for (int tile = 0; tile < at.tiles; ++tile) {
        const int column = (tile * at.columns + at.column) * N;
        if (at.lane >= at.lanes || column >= c) continue;
        float mean[N] = {}, square[N] = {}, shift[N], count = 0.0f;
        of_groups(shifts, column, width, shift, width);
        const auto read = [&](int row) { return load_pack<N>(x + static_cast<long long>(row) * c + column); };
        for_rows<4>(band.first + at.lane, band.last, at.lanes, read, [&](int, const auto& pack) {
            float v[N];
            unpack(pack, v);
            // Two units in the last place of the share do no harm, a quotient's slow path does.
            const float share = __fdividef(1.0f, ++count);
#pragma unroll
            for (int k = 0; k < N; ++k) {
                const float u = v[k] - shift[k], d = u - mean[k];
                mean[k] = fmaf(d, share, mean[k]);
                square[k] = fmaf(d, u - mean[k], square[k]);
            }
        });
        store(shared + at.lane * c + column, mean);
        store(squares + at.lane * c + column, square);
    }
    __syncthreads();
    // Eight threads a group: mean = sum(n_i mean_i) / n, M2 = sum(M2_i + n_i mean_i^2) - n mean^2, in double as this may cancel.
    const int rows = max(0, band.last - band.first), each = rows / at.lanes, more = rows - each * at.lanes;
    const double count = static_cast<double>(rows) * width, share = 1.0 / count;
    for (int first = 0; first < groups; first += blockDim.x / 8) {
        const int group = first + threadIdx.x / 8;
        double sum = 0.0, square = 0.0;
        if (group < groups) {
            int lane = 0, place = threadIdx.x % 8;
            for (;; place += 8) {
                for (; place >= width; place -= width) ++lane;
                if (lane >= at.lanes) break;
                const int i = lane * c + group * width + place;
                const double mean = shared[i], total = (lane < more ? each + 1 : each) * mean;
                sum += total;
                square += total * mean + squares[i];
            }
        }
        sum = warp_sum<8>(sum);
        square = warp_sum<8>(square);
        if (group < groups && threadIdx.x % 8 == 0) {
            const double mean = sum * share;
            partial[(static_cast<long long>(blockIdx.y) * groups + group) * gridDim.x + blockIdx.x] =
                float4{to_float(shifts[group * width]), static_cast<float>(mean), static_cast<float>(square - sum * mean),
                       static_cast<float>(count)};
        }
    }
}

// partial [B, groups, chunks]: (shift, mean - shift, M2 = sum of squared distances from the mean, count) of a chunk's rows in a
// group; two numbers for the mean, as differences between chunks count and it may be large.
// blockDim = a multiple of 32 up to 256 (best: see Arrangement), grid (chunks = ceil(P / rows_per_block), B), dynamic shared
// memory 8 max(C, blockDim N) bytes, N = 4 (f32) or 8 (bf16): C up to 6144
#define K(S, T)                                                                                                      \
    extern "C" __global__ void group_norm_moments_##S(const T* x, float4* partial, int positions, int c, int groups, \
                                                      int rows_per_block) {                                          \
        if (c % WIDTH<T> == 0 && aligned(x)) moments<WIDTH<T>>(x, partial, positions, c, groups, rows_per_block);    \
        else moments<1>(x, partial, positions, c, groups, rows_per_block);                                           \
    }
FOR_BOTH(K)
#undef K

// mean, rstd [B, groups] from all chunks (Chan, Golub and LeVeque 1979): mean = sum(n_i mean_i) / n,
// rstd = 1 / sqrt(sum(M2_i + n_i (mean_i - mean)^2) / n + eps). blockDim = 32, grid (groups, B)
extern "C" __global__ void group_norm_statistics(const float4* partial, float* mean, float* rstd, int chunks, int groups,
                                                 float eps) {
    const long long at = static_cast<long long>(blockIdx.y) * groups + blockIdx.x;
    partial += at * chunks;
    double count = 0.0, sum = 0.0, square = 0.0;
    for (int i = threadIdx.x; i < chunks; i += 32) {
        const float4 p = partial[i];
        count += p.w;
        sum += p.w * (static_cast<double>(p.x) + p.y);
    }
    count = warp_sum(count);
    const double centre = warp_sum(sum) / count;
    for (int i = threadIdx.x; i < chunks; i += 32) {
        const float4 p = partial[i];
        const double d = p.x - centre + p.y;
        square += p.z + p.w * d * d;
    }
    square = warp_sum(square);
    if (threadIdx.x == 0) {
        mean[at] = static_cast<float>(centre);
        rstd[at] = static_cast<float>(1.0 / sqrt(square / count + eps));
    }
}

template <int N, bool SILU, class T>
INLINE void apply(const T* __restrict__ x, const float* mean, const float* rstd, const float* gamma, const float* beta,
                  T* __restrict__ y, int positions, int c, int groups, int batch) {
    const Arrangement at(c / N);
    const Turns turns(at);
    for (int b = blockIdx.y; b < batch; b += gridDim.y)
        for (int tile = 0; tile < at.tiles; ++tile) {
            const int column = (tile * at.columns + at.column) * N;
            if (at.lane >= at.lanes || column >= c) continue;
            const Channels<N> channels(mean + b * groups, rstd + b * groups, gamma, beta, column, c / groups);
            const long long from = static_cast<long long>(b) * positions * c + column;
            const auto read = [&](int row) { return load_pack<N>(x + from + static_cast<long long>(row) * c); };
            for_rows<2>(turns.first, positions, turns.step, read, [&](int row, const auto& pack) {
                float v[N];
                unpack(pack, v);
#pragma unroll
                for (int k = 0; k < N; ++k) {
                    const float z = channels.z(k, v[k]);
                    v[k] = SILU ? z * sigmoid<T>(z) : z;
                }
                store(y + from + static_cast<long long>(row) * c, v);
            });
        }
}

// y = (x - mean) rstd gamma + beta, then SiLU if `silu`; n = B P C. blockDim = a multiple of 32 (best: see Arrangement),
// grid (blocks an image: ceil(P / lanes) or fewer, B)
#define K(S, T)                                                                                                           \
    extern "C" __global__ void group_norm_apply_##S(const T* x, const float* mean, const float* rstd, const float* gamma, \
                                                    const float* beta, T* y, int positions, int c, int groups, int silu,  \
                                                    long long n) {                                                        \
        constexpr int N = WIDTH<T>;                                                                                       \
        const int batch = static_cast<int>(n / (static_cast<long long>(positions) * c));                                  \
        const bool wide = c % N == 0 && aligned(x, gamma, beta, y);                                                       \
        if (wide && silu) apply<N, true>(x, mean, rstd, gamma, beta, y, positions, c, groups, batch);                     \
        else if (wide) apply<N, false>(x, mean, rstd, gamma, beta, y, positions, c, groups, batch);                       \
        else if (silu) apply<1, true>(x, mean, rstd, gamma, beta, y, positions, c, groups, batch);                        \
        else apply<1, false>(x, mean, rstd, gamma, beta, y, positions, c, groups, batch);                                 \
    }
FOR_BOTH(K)
#undef K
