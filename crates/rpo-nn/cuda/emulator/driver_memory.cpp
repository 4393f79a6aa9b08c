// Memory functions of libcuda.so.1: allocation, copies, and the one memory pool. Streams do everything at once.
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "driver.h"
#include "memory.h"

namespace {

int pool_object;  // the pool's handle is its address
uint64_t pool_threshold = 0;

int copied(const char* what) {
    fprintf(stderr, "emulated GPU: %s: not inside of one allocation of device memory\n", what);
    return INVALID_VALUE;
}

}  // namespace

API cuMemAlloc_v2(void** at, size_t bytes) {
    NEED_CONTEXT;
    if (bytes == 0) return INVALID_VALUE;
    *at = device_alloc(bytes);
    return *at ? SUCCESS : OUT_OF_MEMORY;
}
// In stream order 0 bytes are allowed.
API cuMemAllocAsync(void** at, size_t bytes, void* stream) {
    NEED_STREAM(stream);
    if (bytes == 0) return *at = nullptr, SUCCESS;
    return cuMemAlloc_v2(at, bytes);
}
API cuMemAllocFromPoolAsync(void** at, size_t bytes, void*, void* stream) { return cuMemAllocAsync(at, bytes, stream); }
API cuMemFree_v2(void* at) {
    NEED_CONTEXT;
    return !at || device_free(at) ? SUCCESS : INVALID_VALUE;
}
API cuMemFreeAsync(void* at, void* stream) {
    NEED_STREAM(stream);
    return cuMemFree_v2(at);
}
API cuMemGetInfo_v2(size_t* free, size_t* total) {
    NEED_CONTEXT;
    MemoryUse use = device_memory();
    return *free = use.limit - use.used, *total = use.limit, SUCCESS;
}
API cuMemHostAlloc(void** at, size_t bytes, unsigned) {
    NEED_CONTEXT;
    *at = aligned_alloc(4096, (bytes + 4095) / 4096 * 4096);
    return *at ? SUCCESS : OUT_OF_MEMORY;
}
API cuMemAllocHost_v2(void** at, size_t bytes) { return cuMemHostAlloc(at, bytes, 0); }
API cuMemFreeHost(void* at) {
    NEED_CONTEXT;
    return free(at), SUCCESS;
}
API cuMemHostRegister_v2(void*, size_t, unsigned) {
    NEED_CONTEXT;
    return SUCCESS;
}
API cuMemHostUnregister(void*) {
    NEED_CONTEXT;
    return SUCCESS;
}
API cuMemcpyHtoDAsync_v2(void* to, const void* from, size_t bytes, void* stream) {
    NEED_STREAM(stream);
    if (!device_owns(to, bytes)) return copied("copy to the device");
    return memmove(to, from, bytes), SUCCESS;
}
API cuMemcpyDtoHAsync_v2(void* to, const void* from, size_t bytes, void* stream) {
    NEED_STREAM(stream);
    if (!device_owns(from, bytes)) return copied("copy from the device");
    return memmove(to, from, bytes), SUCCESS;
}
API cuMemcpyDtoDAsync_v2(void* to, const void* from, size_t bytes, void* stream) {
    NEED_STREAM(stream);
    if (!device_owns(to, bytes) || !device_owns(from, bytes)) return copied("copy on the device");
    if (!idle()) memmove(to, from, bytes);
    return SUCCESS;
}
API cuMemcpyHtoD_v2(void* to, const void* from, size_t bytes) { return cuMemcpyHtoDAsync_v2(to, from, bytes, nullptr); }
API cuMemcpyDtoH_v2(void* to, const void* from, size_t bytes) { return cuMemcpyDtoHAsync_v2(to, from, bytes, nullptr); }
API cuMemcpyDtoD_v2(void* to, const void* from, size_t bytes) { return cuMemcpyDtoDAsync_v2(to, from, bytes, nullptr); }
API cuMemcpyPeerAsync(void* to, void*, const void* from, void*, size_t bytes, void* stream) {
    return cuMemcpyDtoDAsync_v2(to, from, bytes, stream);
}
API cuMemsetD8Async(void* at, unsigned char value, size_t n, void* stream) {
    NEED_STREAM(stream);
    if (!device_owns(at, n)) return copied("memset");
    return memset(at, value, n), SUCCESS;
}
API cuMemsetD8_v2(void* at, unsigned char value, size_t n) { return cuMemsetD8Async(at, value, n, nullptr); }
API cuMemsetD32Async(unsigned* at, unsigned value, size_t n, void* stream) {
    NEED_STREAM(stream);
    if (!device_owns(at, n * 4)) return copied("memset");
    for (size_t i = 0; i < n; ++i) at[i] = value;
    return SUCCESS;
}
API cuMemsetD32_v2(unsigned* at, unsigned value, size_t n) { return cuMemsetD32Async(at, value, n, nullptr); }

// One pool, the default one.
API cuDeviceGetDefaultMemPool(void** pool, int device) {
    NEED_DEVICE(device);
    return *pool = &pool_object, SUCCESS;
}
API cuDeviceGetMemPool(void** pool, int device) { return cuDeviceGetDefaultMemPool(pool, device); }
API cuDeviceSetMemPool(int device, void*) {
    NEED_DEVICE(device);
    return SUCCESS;
}
API cuMemPoolTrimTo(void*, size_t) {
    NEED_CONTEXT;
    return SUCCESS;
}
API cuMemPoolSetAttribute(void*, int attribute, void* value) {
    if (!initialised) return NOT_INITIALIZED;
    if (attribute == 4) pool_threshold = *static_cast<uint64_t*>(value);  // RELEASE_THRESHOLD
    return SUCCESS;
}
API cuMemPoolGetAttribute(void*, int attribute, void* value) {
    if (!initialised) return NOT_INITIALIZED;
    MemoryUse use = device_memory();
    switch (attribute) {
        case 1: case 2: case 3: *static_cast<int*>(value) = 1; break;          // REUSE_*
        case 4: *static_cast<uint64_t*>(value) = pool_threshold; break;
        case 5: case 7: *static_cast<uint64_t*>(value) = use.used; break;      // RESERVED, USED_MEM_CURRENT
        case 6: case 8: *static_cast<uint64_t*>(value) = use.high; break;      // RESERVED, USED_MEM_HIGH
        default: return INVALID_VALUE;
    }
    return SUCCESS;
}
