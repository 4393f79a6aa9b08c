// What the parts of libcuda.so.1 share.
#pragma once

#include "runtime.h"

using namespace emulated;

#define API extern "C" EMULATED_PUBLIC int

namespace emulated {
extern bool initialised;            // cuInit was called
extern thread_local void* current;  // this thread's context, null for none
bool is_stream(void* s);            // also 0, the default stream, 1, the legacy, and 2, the per-thread default stream
}  // namespace emulated

// What nearly every function begins with.
#define NEED_CONTEXT                          \
    if (!initialised) return NOT_INITIALIZED; \
    if (!current) return INVALID_CONTEXT
#define NEED_STREAM(s) \
    NEED_CONTEXT;      \
    if (!is_stream(s)) return INVALID_HANDLE
#define NEED_DEVICE(d)                        \
    if (!initialised) return NOT_INITIALIZED; \
    if (d != 0) return INVALID_DEVICE
