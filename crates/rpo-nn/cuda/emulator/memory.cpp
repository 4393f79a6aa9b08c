// Device memory. Every allocation ends at a page that cannot be touched, is filled with NaN, and cannot be touched
// once freed, so that what a GPU might forgive ends the program: reads past the end, of what was never written, and
// of freed memory. Writes before the start, and into the bytes that alignment leaves at the end, show when it is freed.
#include "memory.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <map>
#include <mutex>

#include "runtime.h"

namespace emulated {
namespace {

constexpr size_t PAGE = 4096, ALIGN = 16;
// Freed pages are kept this long: mapping new ones costs more than changing their protection, and an access of memory
// that was freed a short time ago is sure to fault.
constexpr size_t CACHE_BYTES = 256 << 20, CACHE_COUNT = 8192;

struct Allocation {
    char* base;  // pages * PAGE bytes, then the guard page
    size_t pages, bytes;
    size_t rounded() const { return (bytes + ALIGN - 1) / ALIGN * ALIGN; }
    char* start() const { return base + pages * PAGE - rounded(); }
};

struct Memory {
    std::mutex mutex;
    std::map<const char*, Allocation> live;            // by start
    std::map<size_t, std::deque<Allocation>> by_pages;  // freed ones, oldest first
    size_t cached_bytes = 0, cached_count = 0;
    size_t limit = size_t(8) << 30, used = 0, high = 0;

    Memory() {
        if (const char* bytes = getenv("RPO_EMULATED_BYTES")) limit = strtoull(bytes, nullptr, 10);
    }

    // The allocation that an address belongs to.
    const Allocation* find(const char* at) const {
        auto next = live.upper_bound(at);
        if (next == live.begin()) return nullptr;
        const Allocation& a = std::prev(next)->second;
        return at < a.base + a.pages * PAGE + PAGE ? &a : nullptr;
    }

    bool take(size_t pages, Allocation& out) {
        auto cached = by_pages.find(pages);
        if (cached != by_pages.end()) {
            out = cached->second.front();
            cached->second.pop_front();
            if (cached->second.empty()) by_pages.erase(cached);
            cached_bytes -= pages * PAGE;
            --cached_count;
            return idle() || mprotect(out.base, pages * PAGE, PROT_READ | PROT_WRITE) == 0;
        }
        void* base = mmap(nullptr, (pages + 1) * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (base == MAP_FAILED) return false;
        out = {static_cast<char*>(base), pages, 0};
        return mprotect(base, pages * PAGE, PROT_READ | PROT_WRITE) == 0;
    }

    void give(const Allocation& a) {
        if (!idle()) mprotect(a.base, a.pages * PAGE, PROT_NONE);
        by_pages[a.pages].push_back(a);
        cached_bytes += a.pages * PAGE;
        ++cached_count;
        while (!idle() && (cached_bytes > CACHE_BYTES || cached_count > CACHE_COUNT)) {  // the largest go first
            auto largest = std::prev(by_pages.end());
            const Allocation old = largest->second.front();
            munmap(old.base, (old.pages + 1) * PAGE);
            cached_bytes -= old.pages * PAGE;
            --cached_count;
            largest->second.pop_front();
            if (largest->second.empty()) by_pages.erase(largest);
        }
    }
};

Memory& memory() {
    static auto* m = new Memory;
    return *m;
}

bool poisoned(const char* from, const char* to) {
    return std::all_of(from, to, [](char c) { return c == '\xFF'; });
}

}  // namespace

void* device_alloc(size_t bytes) {
    Memory& m = memory();
    if (bytes == 0) return nullptr;
    Allocation a{};
    {
        std::lock_guard lock(m.mutex);
        if (bytes > m.limit - m.used) return nullptr;
        if (!m.take((bytes + PAGE - 1) / PAGE, a)) return nullptr;
        a.bytes = bytes;
        m.used += bytes;
        m.high = std::max(m.high, m.used);
        m.live[a.start()] = a;
    }
    if (!idle()) memset(a.base, 0xFF, a.pages * PAGE);
    return a.start();
}

bool device_free(void* at) {
    Memory& m = memory();
    std::lock_guard lock(m.mutex);
    auto found = m.live.find(static_cast<char*>(at));
    if (found == m.live.end()) return false;
    Allocation a = found->second;
    if (!idle() && !poisoned(a.base, a.start())) die("something was written before the start of an allocation of %zu bytes", a.bytes);
    if (!idle() && !poisoned(a.start() + a.bytes, a.start() + a.rounded()))
        die("something was written past the end of an allocation of %zu bytes", a.bytes);
    m.live.erase(found);
    m.used -= a.bytes;
    m.give(a);
    return true;
}

bool device_owns(const void* at, size_t bytes) {
    if (bytes == 0) return true;
    Memory& m = memory();
    std::lock_guard lock(m.mutex);
    auto p = static_cast<const char*>(at);
    const Allocation* a = m.find(p);
    return a && p >= a->start() && bytes <= a->bytes && p + bytes <= a->start() + a->bytes;
}

MemoryUse device_memory() {
    Memory& m = memory();
    std::lock_guard lock(m.mutex);
    return {m.limit, m.used, m.high};
}

// Called by a signal handler: without waiting for the lock.
void describe_address(uintptr_t at, char* out, size_t size) {
    Memory& m = memory();
    *out = 0;
    std::unique_lock lock(m.mutex, std::try_to_lock);
    if (!lock) return;
    auto p = reinterpret_cast<const char*>(at);
    if (const Allocation* a = m.find(p)) {
        long from_end = p - (a->start() + a->bytes);
        if (from_end >= 0) snprintf(out, size, ", %ld bytes past the end of an allocation of %zu bytes", from_end, a->bytes);
        else snprintf(out, size, ", inside an allocation of %zu bytes", a->bytes);
        return;
    }
    for (auto& [pages, list] : m.by_pages)
        for (auto& a : list)
            if (p >= a.base && p < a.base + (pages + 1) * PAGE) {
                snprintf(out, size, ", in memory that was freed (%zu bytes)", a.bytes);
                return;
            }
}

}  // namespace emulated
