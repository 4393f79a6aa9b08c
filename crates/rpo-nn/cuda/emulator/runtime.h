// What the parts of the emulated GPU share: kernels, their registration, launches and the thread pool. Libraries
// other than the driver's (cuBLAS, cuDNN) use `parallel` and nothing else.
#pragma once

#include <cstddef>
#include <cstdint>

#include "emulate_types.h"

#define EMULATED_PUBLIC __attribute__((visibility("default")))

namespace emulated {

// The results of CUDA's driver API that are used here.
enum Result : int {
    SUCCESS = 0,
    INVALID_VALUE = 1,
    OUT_OF_MEMORY = 2,
    NOT_INITIALIZED = 3,
    NO_DEVICE = 100,
    INVALID_DEVICE = 101,
    INVALID_CONTEXT = 201,
    INVALID_PTX = 218,
    INVALID_HANDLE = 400,
    NOT_FOUND = 500,
    LAUNCH_FAILED = 719,
    NOT_SUPPORTED = 801,
};

struct Kernel {
    const char* name;
    void (*invoke)(void** params);  // runs one thread of the kernel
    unsigned bound;                 // __launch_bounds__, 0 for none
    unsigned launches = 0;
};

EMULATED_PUBLIC void add_kernel(const char* name, void (*invoke)(void**), unsigned bound);
// Kernels come from kernels/*.so beside this library, opened at the first call.
Kernel* find_kernel(const char* name);

constexpr unsigned MAX_SHARED = 227 << 10, MAX_THREADS = 1024;
Result launch(Kernel& kernel, dim3 grid, dim3 block, unsigned shared_bytes, unsigned shared_limit, void** params);

// Runs one block on the calling OS thread (fibers.cpp). `backward` starts its threads from the last.
struct BlockTask {
    Kernel* kernel;
    void** params;
    dim3 grid, block;
    unsigned shared_bytes;
};
void run_block(const BlockTask& task, uint3 index, bool backward);

// task(i) for i < n, on all cores.
EMULATED_PUBLIC void parallel_for(size_t n, void (*task)(void* data, size_t i), void* data);
template <class F>
void parallel(size_t n, const F& f) {
    parallel_for(n, [](void* data, size_t i) { (*static_cast<const F*>(data))(i); }, const_cast<F*>(&f));
}

// Whether nothing is computed (RPO_EMULATED_IDLE): kernels and libraries return at once, memory is neither filled nor guarded.
EMULATED_PUBLIC bool idle();
// Counts a launch; an idle device tells their number when the process ends.
EMULATED_PUBLIC void count_launch();

// Where an OS thread is, for messages; `kernel` is null outside of kernels.
struct Place {
    const char* kernel;
    uint3 block, thread;
};
Place current_place();

// Signal handlers that tell where a kernel failed, for this process and this OS thread.
void watch_process();
void watch_thread();
// Describes an address in or near device memory, "" if it is neither.
void describe_address(uintptr_t at, char* out, size_t size);

[[noreturn]] void die(const char* format, ...) __attribute__((format(printf, 1, 2)));

}  // namespace emulated
