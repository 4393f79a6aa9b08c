// Kernels by name, launches over the blocks of a grid, and the pool of OS threads that both launches and the
// emulated libraries use.
#include <dirent.h>
#include <dlfcn.h>
#include <link.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "runtime.h"

namespace emulated {
namespace {

std::map<std::string, Kernel>& registry() {
    static auto* kernels = new std::map<std::string, Kernel>;  // outlives every other static
    return *kernels;
}

// One library for each `.cu`, as helper functions of the same name may differ between files.
void open_kernels() {
    Dl_info self{};
    dladdr(reinterpret_cast<void*>(&find_kernel), &self);
    char* path = realpath(self.dli_fname, nullptr);
    std::string folder = path ? path : self.dli_fname;
    free(path);
    folder = folder.substr(0, folder.rfind('/') + 1) + "kernels";
    std::vector<std::string> files;
    if (DIR* dir = opendir(folder.c_str())) {
        while (dirent* e = readdir(dir)) {
            std::string name = e->d_name;
            if (name.size() > 3 && name.substr(name.size() - 3) == ".so") files.push_back(folder + "/" + name);
        }
        closedir(dir);
    }
    std::sort(files.begin(), files.end());
    for (auto& f : files)
        if (!dlopen(f.c_str(), RTLD_NOW | RTLD_LOCAL)) die("%s", dlerror());
}

// Static shared arrays are thread-local variables of the kernel's library and all that it has of those: so its
// whole thread-local block is poisoned before a block runs. Only before the first ones of each OS thread in a
// launch, as it may be larger than what the kernel uses; a kernel that reads what it never wrote shows in these.
struct TlsBlock {
    size_t module = 0, size = 0;
};

TlsBlock tls_of(const void* function) {
    struct Search {
        uintptr_t at;
        TlsBlock found;
    } search{reinterpret_cast<uintptr_t>(function), {}};
    dl_iterate_phdr(
        [](dl_phdr_info* info, size_t, void* data) {
            auto& s = *static_cast<Search*>(data);
            bool inside = false;
            size_t size = 0;
            for (int i = 0; i < info->dlpi_phnum; ++i) {
                const auto& p = info->dlpi_phdr[i];
                uintptr_t start = info->dlpi_addr + p.p_vaddr;
                if (p.p_type == PT_LOAD && s.at >= start && s.at < start + p.p_memsz) inside = true;
                if (p.p_type == PT_TLS) size = p.p_memsz;
            }
            if (inside && size) s.found = {info->dlpi_tls_modid, size};
            return inside ? 1 : 0;
        },
        &search);
    return search.found;
}

extern "C" void* __tls_get_addr(void*);

void poison(const TlsBlock& tls) {
    if (!tls.size) return;
    size_t index[2] = {tls.module, 0};
    memset(__tls_get_addr(index), 0xFF, tls.size);
}

// A job is a function of an index; threads of the pool and the caller take the next index until there is none.
struct Pool {
    std::mutex mutex, in_use;
    std::condition_variable start, done;
    std::vector<std::thread> threads;
    void (*task)(void*, size_t) = nullptr;
    void* data = nullptr;
    std::atomic<size_t> next{0};
    size_t count = 0, running = 0, job = 0;

    Pool() {
        const char* wanted = getenv("RPO_EMULATED_THREADS");
        size_t n = wanted ? strtoul(wanted, nullptr, 10) : std::thread::hardware_concurrency();
        for (size_t i = 1; i < n; ++i) {
            threads.emplace_back([this] { work(); });
            threads.back().detach();
        }
    }
    void take() {
        for (size_t i; (i = next.fetch_add(1)) < count;) task(data, i);
    }
    void work() {
        watch_thread();
        size_t seen = 0;
        std::unique_lock lock(mutex);
        for (;;) {
            start.wait(lock, [&] { return job != seen; });
            seen = job;
            if (next.load() >= count) continue;  // came too late, or the job is over
            ++running;
            lock.unlock();
            take();
            lock.lock();
            if (--running == 0) done.notify_all();
        }
    }
    void run(size_t n, void (*f)(void*, size_t), void* d) {
        {
            std::lock_guard lock(mutex);
            task = f;
            data = d;
            count = n;
            next = 0;
            ++job;
        }
        start.notify_all();
        take();
        std::unique_lock lock(mutex);
        done.wait(lock, [&] { return running == 0; });
        count = 0;
    }
};

Pool& pool() {
    static auto* p = new Pool;
    return *p;
}

thread_local bool in_parallel = false;

}  // namespace

EMULATED_PUBLIC void parallel_for(size_t n, void (*task)(void*, size_t), void* data) {
    // Alone if there is nothing to share out, inside of another job, or while another thread has the pool.
    if (n >= 2 && !in_parallel && !pool().threads.empty() && pool().in_use.try_lock()) {
        in_parallel = true;
        pool().run(n, task, data);
        in_parallel = false;
        pool().in_use.unlock();
        return;
    }
    for (size_t i = 0; i < n; ++i) task(data, i);
}

EMULATED_PUBLIC bool idle() {
    static const bool is = getenv("RPO_EMULATED_IDLE");
    return is;
}

EMULATED_PUBLIC void count_launch() {
    static std::atomic<uint64_t> launches = 0;
    if (launches++ == 0 && idle()) atexit([] { fprintf(stderr, "emulated GPU: %lu launches\n", static_cast<unsigned long>(launches)); });
}

EMULATED_PUBLIC void add_kernel(const char* name, void (*invoke)(void**), unsigned bound) {
    if (!registry().emplace(name, Kernel{name, invoke, bound}).second) die("two kernels are named %s", name);
}

Kernel* find_kernel(const char* name) {
    static std::once_flag once;
    std::call_once(once, open_kernels);
    auto found = registry().find(name);
    return found == registry().end() ? nullptr : &found->second;
}

Result launch(Kernel& kernel, dim3 grid, dim3 block, unsigned shared_bytes, unsigned shared_limit, void** params) {
    auto refuse = [&](const char* why) {
        fprintf(stderr, "emulated GPU: launch of %s, grid (%u, %u, %u), block (%u, %u, %u), %u bytes shared: %s\n", kernel.name,
                grid.x, grid.y, grid.z, block.x, block.y, block.z, shared_bytes, why);
        return INVALID_VALUE;
    };
    uint64_t threads = uint64_t(block.x) * block.y * block.z, blocks = uint64_t(grid.x) * grid.y * grid.z;
    if (blocks == 0 || threads == 0) return refuse("empty");
    if (block.x > MAX_THREADS || block.y > MAX_THREADS || block.z > 64 || threads > MAX_THREADS) return refuse("block too large");
    if (kernel.bound && threads > kernel.bound) return refuse("more threads than its __launch_bounds__");
    if (grid.x > 0x7fffffff || grid.y > 65535 || grid.z > 65535) return refuse("grid too large");
    if (shared_bytes > shared_limit) return refuse("more dynamic shared memory than set by cuFuncSetAttribute (48 KiB)");

    count_launch();
    if (idle()) return SUCCESS;
    watch_process();
    watch_thread();
    // Every other block starts its threads from the last, the other ones at the next launch: a missing barrier that one
    // order hides shows in the other.
    static const char* order = getenv("RPO_EMULATED_ORDER");  // "forward" or "backward" for one order only
    unsigned parity = __atomic_fetch_add(&kernel.launches, 1, __ATOMIC_RELAXED);
    BlockTask task{&kernel, params, grid, block, shared_bytes};
    TlsBlock tls = tls_of(reinterpret_cast<void*>(kernel.invoke));
    // Small blocks are handed out by the dozen.
    uint64_t each = std::max<uint64_t>(1, std::min<uint64_t>(blocks / 16, 2048 / threads));
    auto run = [&](size_t i) {
        uint64_t first = i * each, last = std::min(blocks, first + each);
        for (uint64_t b = first; b < last; ++b) {
            uint3 index{unsigned(b % grid.x), unsigned(b / grid.x % grid.y), unsigned(b / grid.x / grid.y)};
            bool backward = order && *order ? *order == 'b' : (b + parity) % 2;
            if (b < 64) poison(tls);
            run_block(task, index, backward);
        }
    };
    parallel((blocks + each - 1) / each, run);
    return SUCCESS;
}

}  // namespace emulated

// For tests that call kernels without the driver, e.g. from Python's ctypes; the pointers are host pointers.
extern "C" EMULATED_PUBLIC int emulate_launch(const char* name, int gx, int gy, int gz, int bx, int by, int bz, int shared_bytes,
                                              void** params) {
    auto kernel = emulated::find_kernel(name);
    if (!kernel) return emulated::NOT_FOUND;
    return emulated::launch(*kernel, dim3(gx, gy, gz), dim3(bx, by, bz), shared_bytes, emulated::MAX_SHARED, params);
}
