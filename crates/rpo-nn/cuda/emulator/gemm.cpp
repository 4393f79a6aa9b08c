// A blocked matrix product: tiles of d are shared out over the cores, and each is summed from packed f32 panels of a
// and b by a kernel that keeps 6 x 16 sums in vector registers. Sums do not depend on the number of cores.
#include "gemm.h"

#include <math.h>

#include <algorithm>
#include <cstdio>
#include <vector>

#include "memory.h"
#include "runtime.h"

namespace emulated {
namespace {

typedef float V __attribute__((vector_size(32), aligned(4)));
constexpr int MR = 6, NR = 16, TM = 96, TN = 256, KC = 256;

// out[p][l][i]: elements (i + R p, l) of a `rows` x `depth` matrix in panels of R rows, those past the end 0.
template <int R, class T>
void pack(float* out, const T* x, int64_t row, int64_t col, int64_t rows, int64_t depth) {
    for (int64_t p = 0; p < rows; p += R) {
        int64_t n = std::min<int64_t>(R, rows - p);
        for (int64_t l = 0; l < depth; ++l, out += R) {
            const T* from = x + p * row + l * col;
            for (int64_t i = 0; i < n; ++i) out[i] = static_cast<float>(from[i * row]);
            for (int64_t i = n; i < R; ++i) out[i] = 0;
        }
    }
}
template <int R>
void pack(float* out, const Matrix& x, int64_t row, int64_t col, int64_t at, int64_t rows, int64_t depth) {
    if (x.type == Type::F32) pack<R>(out, static_cast<const float*>(x.data) + at, row, col, rows, depth);
    else pack<R>(out, static_cast<const __nv_bfloat16*>(x.data) + at, row, col, rows, depth);
}

// tile[6][16] += a panel times b panel.
void kernel(const float* a, const float* b, int64_t depth, float* tile) {
    V s[MR][2] = {};
    for (int64_t l = 0; l < depth; ++l, a += MR, b += NR) {
        V b0 = *reinterpret_cast<const V*>(b), b1 = *reinterpret_cast<const V*>(b + 8);
        for (int i = 0; i < MR; ++i) {
            s[i][0] += a[i] * b0;
            s[i][1] += a[i] * b1;
        }
    }
    for (int i = 0; i < MR; ++i) {
        *reinterpret_cast<V*>(tile + i * TN) += s[i][0];
        *reinterpret_cast<V*>(tile + i * TN + 8) += s[i][1];
    }
}

void finish(const Gemm& g, const float* tile, int64_t batch, int64_t i0, int64_t j0, int64_t rows, int64_t cols) {
    auto at = [&](const Matrix& x, int64_t i, int64_t j) { return batch * x.batch + (i0 + i) * x.row + (j0 + j) * x.col; };
    for (int64_t i = 0; i < rows; ++i) {
        float bias = g.bias ? load(g.bias, g.bias_type, batch * g.bias_batch + i0 + i) : 0;
        for (int64_t j = 0; j < cols; ++j) {
            float v = g.alpha * tile[i * TN + j];
            if (g.beta != 0) v += g.beta * load(g.c.data, g.c.type, at(g.c, i, j));
            store(g.d.data, g.d.type, at(g.d, i, j), activate(g.activation, v + bias));
        }
    }
}

}  // namespace

float activate(Activation a, float x) {
    switch (a) {
        case Activation::None: return x;
        case Activation::Relu: return x > 0 ? x : x != x ? x : 0;
        case Activation::GeluTanh: return 0.5f * x * (1 + tanhf(0.7978845608f * (x + 0.044715f * x * x * x)));
    }
    return x;
}

void gemm(const Gemm& g) {
    count_launch();
    if (idle()) return;
    if (g.m <= 0 || g.n <= 0 || g.count <= 0) return;
    int64_t k = g.alpha == 0 ? 0 : g.k;  // a and b are not read then
    int64_t tiles_m = (g.m + TM - 1) / TM, tiles_n = (g.n + TN - 1) / TN;
    parallel(size_t(g.count * tiles_m * tiles_n), [&](size_t task) {
        int64_t t = int64_t(task), i0 = t % tiles_m * TM, j0 = t / tiles_m % tiles_n * TN, batch = t / (tiles_m * tiles_n);
        int64_t rows = std::min<int64_t>(TM, g.m - i0), cols = std::min<int64_t>(TN, g.n - j0);
        thread_local std::vector<float> tile(TM * TN), pa(TM * KC), pb(TN * KC);
        std::fill(tile.begin(), tile.end(), 0.0f);
        for (int64_t l = 0; l < k; l += KC) {
            int64_t depth = std::min<int64_t>(KC, k - l);
            pack<MR>(pa.data(), g.a, g.a.row, g.a.col, batch * g.a.batch + i0 * g.a.row + l * g.a.col, rows, depth);
            pack<NR>(pb.data(), g.b, g.b.col, g.b.row, batch * g.b.batch + j0 * g.b.col + l * g.b.row, cols, depth);
            for (int64_t j = 0; j < cols; j += NR)
                for (int64_t i = 0; i < rows; i += MR)
                    kernel(pa.data() + i * depth, pb.data() + j * depth, depth, tile.data() + i * TN + j);
        }
        finish(g, tile.data(), batch, i0, j0, rows, cols);
    });
}

bool owns(const char* function, const char* name, const Matrix& x, int64_t rows, int64_t cols, int64_t count) {
    if (rows <= 0 || cols <= 0 || count <= 0) return true;
    int64_t last = (rows - 1) * x.row + (cols - 1) * x.col;
    for (int64_t b : {int64_t(0), count - 1}) {
        auto at = static_cast<const char*>(x.data) + b * x.batch * int64_t(size_of(x.type));
        if (reinterpret_cast<uintptr_t>(at) % size_of(x.type) || !device_owns(at, size_t(last + 1) * size_of(x.type))) {
            fprintf(stderr, "emulated GPU: %s: %s is not inside of one allocation of device memory\n", function, name);
            return false;
        }
    }
    return true;
}

}  // namespace emulated
