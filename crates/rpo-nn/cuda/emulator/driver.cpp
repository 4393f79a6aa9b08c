// libcuda.so.1: one device with one context, whose streams do everything at once. Memory is in driver_memory.cpp,
// kernels are in modules.cpp. Functions that are in none answer CUDA_ERROR_NOT_SUPPORTED (stubs made by build.sh).
#include "driver.h"

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <set>

#include "memory.h"

namespace {

int context_object;  // the context's handle is its address

bool have_device() {
    const char* gpus = getenv("RPO_EMULATED_GPUS");
    return !gpus || strcmp(gpus, "0") != 0;
}

// Handles of streams and events that exist.
struct Event {
    bool timed, recorded = false;
    std::chrono::steady_clock::time_point at;
};
std::mutex handles_mutex;
std::set<void*> streams;
std::map<void*, Event> events;

}  // namespace

namespace emulated {
bool initialised = false;
thread_local void* current = nullptr;
bool is_stream(void* s) {
    if (reinterpret_cast<uintptr_t>(s) <= 2) return true;
    std::lock_guard lock(handles_mutex);
    return streams.count(s);
}
}  // namespace emulated

// ---- Device and context

API cuInit(unsigned) {
    if (!have_device()) return NO_DEVICE;
    initialised = true;
    watch_process();
    return SUCCESS;
}
API cuDriverGetVersion(int* version) {
    const char* given = std::getenv("RPO_EMULATED_DRIVER");
    return *version = given ? std::atoi(given) : 13000, SUCCESS;
}
API cuDeviceGetCount(int* count) {
    if (!have_device()) return *count = 0, NO_DEVICE;
    if (!initialised) return NOT_INITIALIZED;
    return *count = 1, SUCCESS;
}
API cuDeviceGet(int* device, int ordinal) {
    NEED_DEVICE(ordinal);
    return *device = 0, SUCCESS;
}
API cuDeviceGetName(char* name, int length, int device) {
    NEED_DEVICE(device);
    snprintf(name, length, "Emulated GPU");
    return SUCCESS;
}
API cuDeviceGetUuid_v2(void* uuid, int device) {
    NEED_DEVICE(device);
    memcpy(uuid, "Emulated GPU 0\0", 16);
    return SUCCESS;
}
API cuDeviceGetUuid(void* uuid, int device) { return cuDeviceGetUuid_v2(uuid, device); }
API cuDeviceTotalMem_v2(size_t* bytes, int device) {
    NEED_DEVICE(device);
    return *bytes = device_memory().limit, SUCCESS;
}
API cuDeviceGetAttribute(int* value, int attribute, int device) {
    NEED_DEVICE(device);
    // The numbers of an H100; CUdevice_attribute.
    static const std::map<int, int> values = {
        {1, 1024},        {2, 1024},       {3, 1024},     {4, 64},         {5, 0x7fffffff},  // block, grid dimensions
        {6, 65535},       {7, 65535},      {8, 48 << 10}, {9, 64 << 10},   {10, 32},         // shared, constant, warp
        {11, 0x7fffffff}, {12, 65536},     {13, 1980000}, {16, 132},       {31, 1},          // registers, clock, SMs
        {36, 2619000},    {37, 5120},      {38, 50 << 20}, {39, 2048},     {40, 3},          // memory, L2, threads an SM
        {41, 1},          {75, 9},         {76, 0},       {81, 228 << 10}, {82, 65536},      // unified addresses, sm_90
        {95, 1},          {97, 227 << 10}, {106, 32},     {111, 1 << 10},  {115, 1},         // opt-in shared, pools
    };
    auto found = values.find(attribute);
    *value = found == values.end() ? 0 : found->second;
    return SUCCESS;
}
API cuDevicePrimaryCtxRetain(void** context, int device) {
    NEED_DEVICE(device);
    return *context = &context_object, SUCCESS;
}
API cuDevicePrimaryCtxRelease_v2(int device) {
    NEED_DEVICE(device);
    return SUCCESS;
}
API cuCtxGetCurrent(void** context) {
    if (!initialised) return NOT_INITIALIZED;
    return *context = current, SUCCESS;
}
API cuCtxSetCurrent(void* context) {
    if (!initialised) return NOT_INITIALIZED;
    if (context && context != &context_object) return INVALID_CONTEXT;
    return current = context, SUCCESS;
}
API cuCtxGetDevice(int* device) {
    NEED_CONTEXT;
    return *device = 0, SUCCESS;
}
API cuCtxSynchronize() {
    NEED_CONTEXT;
    return SUCCESS;
}
API cuCtxSetFlags(unsigned) {
    NEED_CONTEXT;
    return SUCCESS;
}
API cuCtxGetStreamPriorityRange(int* least, int* greatest) {
    NEED_CONTEXT;
    return *least = 0, *greatest = -5, SUCCESS;
}

// ---- Streams and events

API cuStreamCreate(void** stream, unsigned) {
    NEED_CONTEXT;
    std::lock_guard lock(handles_mutex);
    streams.insert(*stream = new char[8]);
    return SUCCESS;
}
API cuStreamCreateWithPriority(void** stream, unsigned flags, int) { return cuStreamCreate(stream, flags); }
API cuStreamDestroy_v2(void* stream) {
    NEED_CONTEXT;
    std::lock_guard lock(handles_mutex);
    if (!streams.erase(stream)) return INVALID_HANDLE;
    delete[] static_cast<char*>(stream);
    return SUCCESS;
}
API cuStreamSynchronize(void* stream) {
    NEED_STREAM(stream);
    return SUCCESS;
}
API cuStreamQuery(void* stream) { return cuStreamSynchronize(stream); }
API cuStreamIsCapturing(void* stream, int* status) {
    NEED_STREAM(stream);
    return *status = 0, SUCCESS;
}
API cuEventCreate(void** event, unsigned flags) {
    NEED_CONTEXT;
    std::lock_guard lock(handles_mutex);
    events[*event = new char[8]] = Event{!(flags & 2), false, {}};
    return SUCCESS;
}
API cuEventDestroy_v2(void* event) {
    NEED_CONTEXT;
    std::lock_guard lock(handles_mutex);
    if (!events.erase(event)) return INVALID_HANDLE;
    delete[] static_cast<char*>(event);
    return SUCCESS;
}
API cuEventRecord(void* event, void* stream) {
    NEED_STREAM(stream);
    std::lock_guard lock(handles_mutex);
    auto found = events.find(event);
    if (found == events.end()) return INVALID_HANDLE;
    found->second.recorded = true;
    found->second.at = std::chrono::steady_clock::now();
    return SUCCESS;
}
API cuEventQuery(void* event) {
    NEED_CONTEXT;
    std::lock_guard lock(handles_mutex);
    return events.count(event) ? SUCCESS : INVALID_HANDLE;
}
API cuEventSynchronize(void* event) { return cuEventQuery(event); }
API cuStreamWaitEvent(void* stream, void* event, unsigned) {
    NEED_STREAM(stream);
    return cuEventQuery(event);
}
API cuEventElapsedTime_v2(float* ms, void* from, void* to) {
    NEED_CONTEXT;
    std::lock_guard lock(handles_mutex);
    auto a = events.find(from), b = events.find(to);
    if (a == events.end() || b == events.end()) return INVALID_HANDLE;
    if (!a->second.timed || !b->second.timed || !a->second.recorded || !b->second.recorded) return INVALID_HANDLE;
    *ms = std::chrono::duration<float, std::milli>(b->second.at - a->second.at).count();
    return SUCCESS;
}
API cuEventElapsedTime(float* ms, void* from, void* to) { return cuEventElapsedTime_v2(ms, from, to); }
API cuLaunchHostFunc(void* stream, void (*f)(void*), void* data) {
    NEED_STREAM(stream);
    return f(data), SUCCESS;
}
