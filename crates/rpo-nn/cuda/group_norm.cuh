// What the passes of group normalisation share.
#pragma once
#include "prelude.cuh"

// The rows of one block: blockIdx.x rows_per_block and so on of image blockIdx.y.
struct Band {
    int first, last;

    INLINE Band(int positions, int rows_per_block) {
        first = blockIdx.x * rows_per_block;
        last = min(positions, first + rows_per_block);
    }
};

// of[k] = values[g step] for g the group of channel `channel` + k.
template <int N, class T> INLINE void of_groups(const T* values, int channel, int width, float (&of)[N], int step = 1) {
    int group = channel / width, place = channel - group * width;
#pragma unroll
    for (int k = 0; k < N; ++k) {
        of[k] = to_float(values[group * step]);
        if (++place == width) {
            place = 0;
            ++group;
        }
    }
}

// What a thread knows of its channels: z = (x - mean) scale + beta, before SiLU.
template <int N> struct Channels {
    float mean[N], scale[N], beta[N];

    INLINE Channels(const float* means, const float* rstds, const float* gamma, const float* betas, int column, int width) {
        of_groups(means, column, width, mean);
        of_groups(rstds, column, width, scale);
        load(betas + column, beta);
        float g[N];
        load(gamma + column, g);
#pragma unroll
        for (int k = 0; k < N; ++k) scale[k] *= g[k];
    }
    INLINE float z(int k, float x) const { return fmaf(x - mean[k], scale[k], beta[k]); }
};

// The rows of a thread: lanes of all blocks of the image take turns.
struct Turns {
    int first, step;

    INLINE explicit Turns(const Arrangement& at) : first(blockIdx.x * at.lanes + at.lane), step(gridDim.x * at.lanes) {}
};
