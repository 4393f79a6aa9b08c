// Ends of the program: tells which kernel, block and thread made an invalid access, and where in the source.
#include <dlfcn.h>
#include <signal.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#include <atomic>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>

#include "emulate.h"
#include "runtime.h"

namespace emulated {
namespace {

constexpr int SIGNALS[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE};
struct sigaction before[32];

void handle(int signal, siginfo_t* info, void* context) {
    Place p = current_place();
    char near[160] = "";
    if (signal == SIGSEGV || signal == SIGBUS) {
        describe_address(reinterpret_cast<uintptr_t>(info->si_addr), near, sizeof near);
    }
    if (!p.kernel) {  // not ours: as if this handler were not there
        sigaction(signal, &before[signal], nullptr);
        if (*near) dprintf(2, "emulated GPU: outside of kernels, access of %p%s\n", info->si_addr, near);
        return;  // the instruction is done again and ends in the handler before
    }
    static std::atomic_flag telling;
    while (telling.test_and_set()) pause();  // one thread is enough
    const char* what = signal == SIGILL    ? "misaligned access, index out of an array's bounds, or integer overflow"
                       : signal == SIGFPE ? "integer division by zero"
                                          : "invalid access";
    dprintf(2, "emulated GPU: %s: block (%u, %u, %u), thread (%u, %u, %u): %s at %p%s\n", p.kernel, p.block.x, p.block.y,
            p.block.z, p.thread.x, p.thread.y, p.thread.z, what, info->si_addr, near);
    auto at = static_cast<ucontext_t*>(context)->uc_mcontext.gregs[REG_RIP];
    Dl_info lib{};
    if (dladdr(reinterpret_cast<void*>(at), &lib) && lib.dli_fname) {
        char command[512];
        snprintf(command, sizeof command, "addr2line -f -C -i -p -e '%s' %#llx >&2 2>/dev/null", lib.dli_fname,
                 static_cast<unsigned long long>(at) - reinterpret_cast<unsigned long long>(lib.dli_fbase));
        if (system(command)) dprintf(2, "  %s\n", command);  // no addr2line here
    }
    abort();
}

}  // namespace

void watch_process() {
    static std::once_flag once;
    std::call_once(once, [] {
        struct sigaction a{};
        a.sa_sigaction = handle;
        a.sa_flags = SA_SIGINFO | SA_ONSTACK;
        for (int s : SIGNALS) sigaction(s, &a, &before[s]);
    });
}

// The handler needs a stack of its own, as the fiber's may have overflowed.
void watch_thread() {
    thread_local bool watched = false;
    if (watched) return;
    watched = true;
    stack_t old{};
    sigaltstack(nullptr, &old);
    constexpr size_t size = 64 << 10;
    if (!(old.ss_flags & SS_DISABLE) && old.ss_size >= size) return;
    void* memory = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) return;
    stack_t mine{};
    mine.ss_sp = memory;
    mine.ss_size = size;
    sigaltstack(&mine, nullptr);
}

EMULATED_PUBLIC void fail(const char* what) {
    Place p = current_place();
    die("%s: block (%u, %u, %u), thread (%u, %u, %u): %s", p.kernel ? p.kernel : "?", p.block.x, p.block.y, p.block.z,
        p.thread.x, p.thread.y, p.thread.z, what);
}

void die(const char* format, ...) {
    fputs("emulated GPU: ", stderr);
    va_list args;
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    abort();
}

}  // namespace emulated
