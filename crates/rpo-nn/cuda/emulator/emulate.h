// The device side of the emulated GPU: what a `.cu` file needs to be compiled by g++ and run on the CPU.
//   g++ -std=c++20 -DEMULATED_GPU -include emulate.h -x c++ kernel.cu
// The threads of a block are fibers of one OS thread (fibers.cpp): a thread runs until it waits at a barrier or in
// a warp collective, so one without either is a plain call. Only what the kernels use is here: a function that is
// missing (atomics on floats, say) is a deliberate compile error.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstring>
#include <math.h>
#include <type_traits>

#include "emulate_types.h"
#include "emulate_math.h"

// Function and variable qualifiers. The kernel list is made from the preprocessor's output (generate.py), in which
// kernels and their launch bounds must still be recognisable.
#ifdef EMULATED_LIST
#define __global__ __emulated_kernel__
#define __launch_bounds__(...) __emulated_bounds__(__VA_ARGS__)
#else
#define __global__
#define __launch_bounds__(...)
#endif
#define __device__
#define __host__
#define __constant__
#define __forceinline__ inline __attribute__((always_inline))
#define __noinline__ __attribute__((noinline))
#define __align__(n) __attribute__((aligned(n)))
// A block never leaves its OS thread, so its shared arrays can live in thread-local storage.
#define __shared__ static thread_local
#define DYNAMIC_SHARED(type, name) type* name = reinterpret_cast<type*>(emulated::dynamic_shared)

// `__thread` rather than `thread_local`: no wrapper function around each access.
#define EMULATED_TLS extern __thread __attribute__((tls_model("initial-exec")))
EMULATED_TLS uint3 threadIdx, blockIdx;
EMULATED_TLS dim3 blockDim, gridDim;
constexpr int warpSize = 32;

namespace emulated {

EMULATED_TLS unsigned char* dynamic_shared;

// Waits for all threads of the block that have not returned. Returns the number of them whose `value` is not 0.
int barrier(int value, const char* file, int line);

// Waits for the lanes of the warp named in `mask`. The last one to arrive calls `run` for all of them: args[lane]
// is each lane's `arg` (on its own stack), `present` the lanes of the mask that have not returned.
using Collective = void (*)(void* const* args, unsigned present);
void collective(unsigned mask, void* arg, Collective run, const char* file, int line);

// Lane of the calling thread, and an end with a message that names the kernel, block and thread.
unsigned lane();
[[noreturn]] void fail(const char* what);

enum class Shuffle { Index, Up, Down, Xor };

template <class T>
struct ShuffleArgs {
    T value, result;
    Shuffle kind;
    unsigned by, width;

    // The source lanes of PTX's shfl.sync, out-of-range sources giving the lane's own value.
    static void run(void* const* args, unsigned present) {
        for (unsigned lane = 0; lane < 32; ++lane) {
            if (!(present >> lane & 1)) continue;
            auto& own = *static_cast<ShuffleArgs*>(args[lane]);
            unsigned segment = 32 - own.width, first = lane & segment, last = first | (31 & ~segment), from = lane;
            switch (own.kind) {
                case Shuffle::Index: from = first | (own.by & ~segment & 31); break;
                case Shuffle::Up: from = lane >= first + own.by ? lane - own.by : lane; break;
                case Shuffle::Down: from = lane + own.by <= last ? lane + own.by : lane; break;
                case Shuffle::Xor: from = (lane ^ own.by) <= last ? lane ^ own.by : lane; break;
            }
            if (present >> from & 1) own.result = static_cast<ShuffleArgs*>(args[from])->value;
            else memset(&own.result, 0xFF, sizeof(T));  // a lane that has returned: undefined on a GPU
        }
    }
};

template <class T>
T shuffle(unsigned mask, T value, Shuffle kind, unsigned by, unsigned width, const char* file, int line) {
    static_assert(std::is_arithmetic_v<T>, "shuffles are for numbers");
    ShuffleArgs<T> args{value, value, kind, by, width};
    collective(mask, &args, ShuffleArgs<T>::run, file, line);
    return args.result;
}

struct VoteArgs {
    bool value;
    unsigned votes;
    static void run(void* const* args, unsigned present) {
        unsigned votes = 0;
        for (unsigned l = 0; l < 32; ++l)
            if (present >> l & 1 && static_cast<VoteArgs*>(args[l])->value) votes |= 1u << l;
        for (unsigned l = 0; l < 32; ++l)
            if (present >> l & 1) static_cast<VoteArgs*>(args[l])->votes = votes;
    }
};

inline void nothing(void* const*, unsigned) {}

}  // namespace emulated

// The call sites are compared: all threads have to wait at the same line.
#define EMULATED_SITE const char *file = __builtin_FILE(), int line = __builtin_LINE()

inline void __syncthreads(EMULATED_SITE) { emulated::barrier(0, file, line); }
inline int __syncthreads_count(int v, EMULATED_SITE) { return emulated::barrier(v, file, line); }
inline int __syncthreads_or(int v, EMULATED_SITE) { return emulated::barrier(v, file, line) != 0; }
inline int __syncthreads_and(int v, EMULATED_SITE) { return emulated::barrier(!v, file, line) == 0; }
// __syncwarp may be reached at different places by the lanes of a warp.
inline void __syncwarp(unsigned mask = 0xffffffff) { emulated::collective(mask, nullptr, emulated::nothing, "", 0); }

template <class T>
T __shfl_sync(unsigned mask, T v, int from, int width = 32, EMULATED_SITE) {
    return emulated::shuffle(mask, v, emulated::Shuffle::Index, from, width, file, line);
}
template <class T>
T __shfl_up_sync(unsigned mask, T v, unsigned by, int width = 32, EMULATED_SITE) {
    return emulated::shuffle(mask, v, emulated::Shuffle::Up, by, width, file, line);
}
template <class T>
T __shfl_down_sync(unsigned mask, T v, unsigned by, int width = 32, EMULATED_SITE) {
    return emulated::shuffle(mask, v, emulated::Shuffle::Down, by, width, file, line);
}
template <class T>
T __shfl_xor_sync(unsigned mask, T v, int by, int width = 32, EMULATED_SITE) {
    return emulated::shuffle(mask, v, emulated::Shuffle::Xor, by, width, file, line);
}
inline unsigned __ballot_sync(unsigned mask, int v, EMULATED_SITE) {
    emulated::VoteArgs args{v != 0, 0};
    emulated::collective(mask, &args, emulated::VoteArgs::run, file, line);
    return args.votes;
}
inline int __any_sync(unsigned mask, int v, EMULATED_SITE) { return __ballot_sync(mask, v, file, line) != 0; }
inline int __all_sync(unsigned mask, int v, EMULATED_SITE) { return __ballot_sync(mask, !v, file, line) == 0; }
inline void __threadfence() {}
inline void __threadfence_block() {}
[[noreturn]] inline void __trap() { emulated::fail("__trap"); }

#include "emulate_mma.h"
