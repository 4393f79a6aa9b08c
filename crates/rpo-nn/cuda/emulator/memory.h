// Device memory of the emulated GPU, as the driver uses it.
#pragma once

#include <cstddef>
#include <cstdint>

namespace emulated {

// 0 bytes and more than is left give null. The memory is poisoned and ends where a page that cannot be touched begins.
void* device_alloc(size_t bytes);
// False for what is no allocation. Ends the program if something was written around the allocation.
bool device_free(void* at);
// Whether the bytes all belong to one allocation.
__attribute__((visibility("default"))) bool device_owns(const void* at, size_t bytes);
struct MemoryUse {
    size_t limit, used, high;
};
MemoryUse device_memory();

}  // namespace emulated
