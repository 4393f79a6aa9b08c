// Modules, functions and launches of libcuda.so.1. A module is the PTX that the same kernels were compiled to by nvcc;
// it decides which kernels it has, and the emulated ones of these names are run.
#include <algorithm>
#include <cctype>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <sstream>
#include <string>

#include "driver.h"

namespace {

constexpr int NO_BINARY_FOR_GPU = 209, UNSUPPORTED_PTX_VERSION = 222, FILE_NOT_FOUND = 301;

struct Function {
    Kernel* kernel;
    unsigned shared_limit = 48 << 10;
};

struct Module {
    bool any = false;  // not PTX, or PTX without kernels: has all
    std::set<std::string> names;
    std::map<std::string, Function> functions;
};

std::mutex modules_mutex;
std::map<void*, std::unique_ptr<Module>> modules;

// The number that follows `word` in the PTX, 0 if there is none.
double number_after(const char* text, const char* word) {
    const char* at = strstr(text, word);
    return at ? atof(at + strlen(word)) : 0;
}

int load(void** out, const char* image) {
    NEED_CONTEXT;
    if (!image || !*image) return INVALID_VALUE;
    auto module = std::make_unique<Module>();
    bool text = isprint(static_cast<unsigned char>(*image)) || isspace(static_cast<unsigned char>(*image));
    if (text) {
        if (number_after(image, ".version ") > 9.0) return UNSUPPORTED_PTX_VERSION;
        if (number_after(image, ".target sm_") > 90) return NO_BINARY_FOR_GPU;
        for (const char* at = image; (at = strstr(at, ".entry "));) {
            at += 7;
            const char* end = at;
            while (isalnum(static_cast<unsigned char>(*end)) || *end == '_' || *end == '$') ++end;
            module->names.emplace(at, end);
        }
    }
    module->any = module->names.empty();
    std::lock_guard lock(modules_mutex);
    *out = module.get();
    modules[*out] = std::move(module);
    return SUCCESS;
}

int run(Function* f, dim3 grid, dim3 block, unsigned shared, void* stream, void** params, void** extra) {
    NEED_STREAM(stream);
    if (!f) return INVALID_HANDLE;
    if (extra) return NOT_SUPPORTED;
    return launch(*f->kernel, grid, block, shared, f->shared_limit, params);
}

// Blocks that fit into one of an H100's multiprocessors, registers aside.
int resident(int block, size_t shared) {
    if (block <= 0 || block > 1024) return 0;
    size_t by_shared = (228 << 10) / (shared + 1024);
    return static_cast<int>(std::min<size_t>({size_t(2048 / block), 32, by_shared}));
}

}  // namespace

API cuModuleLoadData(void** module, const void* image) { return load(module, static_cast<const char*>(image)); }
API cuModuleLoadDataEx(void** module, const void* image, unsigned, void*, void**) { return cuModuleLoadData(module, image); }
API cuModuleLoad(void** module, const char* path) {
    std::ifstream file(path, std::ios::binary);
    if (!file) return FILE_NOT_FOUND;
    std::stringstream text;
    text << file.rdbuf();
    return load(module, text.str().c_str());
}
API cuModuleUnload(void* module) {
    std::lock_guard lock(modules_mutex);
    return modules.erase(module) ? SUCCESS : INVALID_HANDLE;
}
API cuModuleGetFunction(void** function, void* handle, const char* name) {
    std::lock_guard lock(modules_mutex);
    auto found = modules.find(handle);
    if (found == modules.end()) return INVALID_HANDLE;
    Module& m = *found->second;
    Kernel* kernel = m.any || m.names.count(name) ? find_kernel(name) : nullptr;
    if (!kernel) {
        if (m.names.count(name)) fprintf(stderr, "emulated GPU: %s is in the PTX but not among the emulated kernels\n", name);
        return NOT_FOUND;
    }
    *function = &m.functions.try_emplace(name, Function{kernel}).first->second;
    return SUCCESS;
}
API cuModuleGetGlobal_v2(void**, size_t*, void*, const char*) { return NOT_FOUND; }

API cuLibraryLoadData(void** library, const void* code, void*, void**, unsigned, void*, void**, unsigned) {
    return cuModuleLoadData(library, code);
}
API cuLibraryUnload(void* library) { return cuModuleUnload(library); }
API cuLibraryGetModule(void** module, void* library) { return *module = library, SUCCESS; }
API cuLibraryGetKernel(void** kernel, void* library, const char* name) { return cuModuleGetFunction(kernel, library, name); }
API cuKernelGetFunction(void** function, void* kernel) { return *function = kernel, SUCCESS; }

// CUfunction_attribute: 0 threads a block, 4 registers, 5 and 6 PTX and binary version, 8 dynamic shared memory.
API cuFuncGetAttribute(int* value, int attribute, Function* f) {
    switch (attribute) {
        case 0: *value = f->kernel->bound ? f->kernel->bound : 1024; break;
        case 4: *value = 32; break;
        case 5: *value = 80; break;
        case 6: *value = 90; break;
        case 8: *value = f->shared_limit; break;
        case 9: *value = -1; break;
        default: *value = 0;
    }
    return SUCCESS;
}
API cuFuncSetAttribute(Function* f, int attribute, int value) {
    if (attribute == 8) {
        if (value < 0 || unsigned(value) > MAX_SHARED) return INVALID_VALUE;
        f->shared_limit = value;
    }
    return SUCCESS;
}
API cuFuncSetCacheConfig(void*, int) { return SUCCESS; }

API cuLaunchKernel(Function* f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz, unsigned shared,
                   void* stream, void** params, void** extra) {
    return run(f, {gx, gy, gz}, {bx, by, bz}, shared, stream, params, extra);
}
struct LaunchConfig {  // CUlaunchConfig
    unsigned gx, gy, gz, bx, by, bz, shared;
    void *stream, *attributes;
    unsigned count;
};
API cuLaunchKernelEx(const LaunchConfig* c, Function* f, void** params, void** extra) {
    return run(f, {c->gx, c->gy, c->gz}, {c->bx, c->by, c->bz}, c->shared, c->stream, params, extra);
}

API cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int* blocks, Function*, int block, size_t shared, unsigned) {
    return *blocks = resident(block, shared), SUCCESS;
}
API cuOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, Function*, int block, size_t shared) {
    return *blocks = resident(block, shared), SUCCESS;
}
API cuOccupancyMaxPotentialBlockSizeWithFlags(int* grid, int* block, Function* f, size_t (*shared_of)(int), size_t shared,
                                              int limit, unsigned) {
    int most = f->kernel->bound ? f->kernel->bound : 1024;
    *block = limit > 0 && limit < most ? limit : most;
    *grid = 132 * resident(*block, shared_of ? shared_of(*block) : shared);
    return SUCCESS;
}
API cuOccupancyMaxPotentialBlockSize(int* grid, int* block, Function* f, size_t (*shared_of)(int), size_t shared, int limit) {
    return cuOccupancyMaxPotentialBlockSizeWithFlags(grid, block, f, shared_of, shared, limit, 0);
}
API cuOccupancyAvailableDynamicSMemPerBlock(size_t* bytes, Function*, int blocks, int) {
    if (blocks <= 0) return INVALID_VALUE;
    return *bytes = std::min<size_t>(MAX_SHARED, (228 << 10) / blocks - 1024), SUCCESS;
}

// ---- Errors

static const std::map<int, std::pair<const char*, const char*>> ERRORS = {
    {0, {"CUDA_SUCCESS", "no error"}},
    {1, {"CUDA_ERROR_INVALID_VALUE", "invalid argument"}},
    {2, {"CUDA_ERROR_OUT_OF_MEMORY", "out of memory"}},
    {3, {"CUDA_ERROR_NOT_INITIALIZED", "initialization error"}},
    {100, {"CUDA_ERROR_NO_DEVICE", "no CUDA-capable device is detected"}},
    {101, {"CUDA_ERROR_INVALID_DEVICE", "invalid device ordinal"}},
    {201, {"CUDA_ERROR_INVALID_CONTEXT", "invalid device context"}},
    {209, {"CUDA_ERROR_NO_BINARY_FOR_GPU", "no kernel image is available for execution on the device"}},
    {222, {"CUDA_ERROR_UNSUPPORTED_PTX_VERSION", "the provided PTX was compiled with an unsupported toolchain."}},
    {301, {"CUDA_ERROR_FILE_NOT_FOUND", "file not found"}},
    {400, {"CUDA_ERROR_INVALID_HANDLE", "invalid resource handle"}},
    {500, {"CUDA_ERROR_NOT_FOUND", "named symbol not found"}},
    {801, {"CUDA_ERROR_NOT_SUPPORTED", "operation not supported"}},
};
API cuGetErrorName(int error, const char** out) {
    auto found = ERRORS.find(error);
    *out = found == ERRORS.end() ? nullptr : found->second.first;
    return *out ? SUCCESS : INVALID_VALUE;
}
API cuGetErrorString(int error, const char** out) {
    auto found = ERRORS.find(error);
    *out = found == ERRORS.end() ? nullptr : found->second.second;
    return *out ? SUCCESS : INVALID_VALUE;
}
