// libcurand.so.10: generators can be made and draw uniform and normal f32 numbers (others than cuRAND's).
#include <math.h>

#include <random>

#include "runtime.h"

#define API extern "C" EMULATED_PUBLIC int

namespace {
struct Generator {
    std::mt19937_64 bits{0};
    // In (0, 1], as cuRAND's.
    float uniform() { return float((bits() >> 40) + 1) * 0x1p-24f; }
};
}  // namespace

API curandCreateGenerator(Generator** g, int) { return *g = new Generator, 0; }
API curandDestroyGenerator(Generator* g) { return delete g, 0; }
API curandSetStream(Generator*, void*) { return 0; }
API curandSetPseudoRandomGeneratorSeed(Generator* g, unsigned long long seed) { return g->bits.seed(seed), 0; }
API curandSetGeneratorOffset(Generator* g, unsigned long long offset) { return g->bits.discard(offset), 0; }
API curandGenerateUniform(Generator* g, float* out, size_t n) {
    for (size_t i = 0; i < n; ++i) out[i] = g->uniform();
    return 0;
}
API curandGenerateNormal(Generator* g, float* out, size_t n, float mean, float deviation) {
    if (n % 2) return 105;  // CURAND_STATUS_LENGTH_NOT_MULTIPLE
    for (size_t i = 0; i < n; i += 2) {
        float r = deviation * sqrtf(-2 * logf(g->uniform())), angle = 6.2831853f * g->uniform();
        out[i] = mean + r * cosf(angle), out[i + 1] = mean + r * sinf(angle);
    }
    return 0;
}
