// Convolutions as matrix products with im2col: a row for each output position, a column for each weight of a filter
// in the filter's memory order. Rows are made by the chunk, so that the matrix stays small.
#include "conv.h"

#include <algorithm>

#include "runtime.h"

namespace emulated {
namespace {

constexpr int64_t CHUNK = 16 << 20;  // floats

struct Problem {
    const Conv& op;
    const Tensor &x, &y;
    const Filter& w;
    int64_t columns = w.c * w.r * w.s, k = w.k / op.groups, rows = y.dim[0] * y.dim[2] * y.dim[3];
    int64_t chunk = std::clamp<int64_t>(CHUNK / std::max<int64_t>(1, columns), 1, std::max<int64_t>(1, rows));

    struct Position {
        int64_t n, p, q;
    };
    Position position(int64_t row) const { return {row / (y.dim[3] * y.dim[2]), row / y.dim[3] % y.dim[2], row % y.dim[3]}; }

    // f(column of channel 0, step of the column a channel, h, w) for the taps of an output position that lie in x.
    template <class F>
    void taps(const Position& at, F f) const {
        for (int64_t r = 0; r < w.r; ++r)
            for (int64_t s = 0; s < w.s; ++s) {
                int64_t h = at.p * op.stride[0] - op.pad[0] + (op.flip ? w.r - 1 - r : r) * op.dilation[0];
                int64_t v = at.q * op.stride[1] - op.pad[1] + (op.flip ? w.s - 1 - s : s) * op.dilation[1];
                if (h < 0 || h >= x.dim[2] || v < 0 || v >= x.dim[3]) continue;
                f(w.channels_last ? (r * w.s + s) * w.c : r * w.s + s, w.channels_last ? 1 : w.r * w.s, h, v);
            }
    }

    // Rows from `first` of the matrix of x's channels from `channel`.
    void im2col(const void* data, int64_t channel, int64_t first, int64_t count, float* out) const {
        parallel(size_t(count + 63) / 64, [&](size_t task) {
            for (int64_t i = int64_t(task) * 64, last = std::min(count, i + 64); i < last; ++i) {
                Position at = position(first + i);
                float* to = out + i * columns;
                std::fill(to, to + columns, 0.0f);
                taps(at, [&](int64_t column, int64_t step, int64_t h, int64_t v) {
                    int64_t from = x.at(at.n, channel, h, v);
                    for (int64_t c = 0; c < w.c; ++c) to[column + c * step] = load(data, x.type, from + c * x.stride[1]);
                });
            }
        });
    }

    // The transpose of im2col, added to dx, a dense [n, h, w, w.c]. Each task has its own channels.
    void col2im(const float* in, int64_t first, int64_t count, float* dx) const {
        parallel(size_t(w.c + 15) / 16, [&](size_t task) {
            int64_t c0 = int64_t(task) * 16, c1 = std::min(w.c, c0 + 16);
            for (int64_t i = 0; i < count; ++i) {
                Position at = position(first + i);
                taps(at, [&](int64_t column, int64_t step, int64_t h, int64_t v) {
                    float* to = dx + ((at.n * x.dim[2] + h) * x.dim[3] + v) * w.c;
                    for (int64_t c = c0; c < c1; ++c) to[c] += in[i * columns + column + c * step];
                });
            }
        });
    }

    // Rows of y, `k` channels from `channel`, as a dense matrix.
    void gather(const void* data, int64_t channel, int64_t first, int64_t count, float* out) const {
        parallel(size_t(count + 255) / 256, [&](size_t task) {
            for (int64_t i = int64_t(task) * 256, last = std::min(count, i + 256); i < last; ++i) {
                Position at = position(first + i);
                int64_t from = y.at(at.n, channel, at.p, at.q);
                for (int64_t c = 0; c < k; ++c) out[i * k + c] = load(data, y.type, from + c * y.stride[1]);
            }
        });
    }
};

Matrix dense(const void* data, Type type, int64_t row, int64_t col, int64_t offset = 0) {
    auto at = static_cast<const char*>(data) + offset * int64_t(size_of(type));
    return {const_cast<char*>(at), type, row, col, 0};
}

}  // namespace

void conv_forward(const Conv& op, float alpha, const Tensor& tx, const void* x, const Filter& tw, const void* w, float beta,
                  const void* z, const void* bias, Activation activation, const Tensor& ty, void* y) {
    count_launch();
    if (idle()) return;
    Problem p{op, tx, ty, tw};
    std::vector<float> columns(p.chunk * p.columns), out(p.chunk * p.k);
    for (int64_t g = 0; g < op.groups; ++g)
        for (int64_t first = 0; first < p.rows; first += p.chunk) {
            int64_t count = std::min(p.chunk, p.rows - first);
            p.im2col(x, g * tw.c, first, count, columns.data());
            Gemm m;
            m.m = count, m.n = p.k, m.k = p.columns;
            m.a = dense(columns.data(), Type::F32, p.columns, 1);
            m.b = dense(w, tw.type, 1, p.columns, g * p.k * p.columns);
            m.d = dense(out.data(), Type::F32, p.k, 1);
            gemm(m);
            parallel(size_t(count + 255) / 256, [&](size_t task) {
                for (int64_t i = int64_t(task) * 256, last = std::min(count, i + 256); i < last; ++i) {
                    auto at = p.position(first + i);
                    for (int64_t c = 0; c < p.k; ++c) {
                        int64_t channel = g * p.k + c, to = ty.at(at.n, channel, at.p, at.q);
                        float v = alpha * out[i * p.k + c];
                        if (beta != 0) v += beta * load(z, ty.type, to);
                        if (bias) v += load(bias, ty.type, channel);
                        store(y, ty.type, to, activate(activation, v));
                    }
                }
            });
        }
}

void conv_backward_data(const Conv& op, float alpha, const Filter& tw, const void* w, const Tensor& ty, const void* dy,
                        float beta, const Tensor& tx, void* dx) {
    count_launch();
    if (idle()) return;
    Problem p{op, tx, ty, tw};
    int64_t positions = tx.dim[0] * tx.dim[2] * tx.dim[3];
    std::vector<float> columns(p.chunk * p.columns), grad(p.chunk * p.k), sums(positions * tw.c);
    for (int64_t g = 0; g < op.groups; ++g) {
        std::fill(sums.begin(), sums.end(), 0.0f);
        for (int64_t first = 0; first < p.rows; first += p.chunk) {
            int64_t count = std::min(p.chunk, p.rows - first);
            p.gather(dy, g * p.k, first, count, grad.data());
            Gemm m;
            m.m = count, m.n = p.columns, m.k = p.k;
            m.a = dense(grad.data(), Type::F32, p.k, 1);
            m.b = dense(w, tw.type, p.columns, 1, g * p.k * p.columns);
            m.d = dense(columns.data(), Type::F32, p.columns, 1);
            gemm(m);
            p.col2im(columns.data(), first, count, sums.data());
        }
        for (int64_t i = 0; i < positions; ++i)
            for (int64_t c = 0; c < tw.c; ++c) {
                int64_t to = tx.at(i / (tx.dim[2] * tx.dim[3]), g * tw.c + c, i / tx.dim[3] % tx.dim[2], i % tx.dim[3]);
                float v = alpha * sums[i * tw.c + c];
                if (beta != 0) v += beta * load(dx, tx.type, to);
                store(dx, tx.type, to, v);
            }
    }
}

void conv_backward_filter(const Conv& op, float alpha, const Tensor& tx, const void* x, const Tensor& ty, const void* dy,
                          float beta, const Filter& tw, void* dw) {
    count_launch();
    if (idle()) return;
    Problem p{op, tx, ty, tw};
    std::vector<float> columns(p.chunk * p.columns), grad(p.chunk * p.k), sums(p.k * p.columns);
    for (int64_t g = 0; g < op.groups; ++g) {
        for (int64_t first = 0; first < p.rows; first += p.chunk) {
            int64_t count = std::min(p.chunk, p.rows - first);
            p.im2col(x, g * tw.c, first, count, columns.data());
            p.gather(dy, g * p.k, first, count, grad.data());
            Gemm m;
            m.m = p.k, m.n = p.columns, m.k = count;
            m.a = dense(grad.data(), Type::F32, 1, p.k);
            m.b = dense(columns.data(), Type::F32, p.columns, 1);
            m.c = m.d = dense(sums.data(), Type::F32, p.columns, 1);
            m.beta = first ? 1.0f : 0.0f;
            gemm(m);
        }
        for (int64_t i = 0; i < p.k * p.columns; ++i) {
            int64_t to = g * p.k * p.columns + i;
            float v = alpha * sums[i];
            if (beta != 0) v += beta * load(dw, tw.type, to);
            store(dw, tw.type, to, v);
        }
    }
}

}  // namespace emulated
