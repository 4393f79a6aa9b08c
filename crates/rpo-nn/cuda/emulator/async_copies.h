// The cp.async copies that a thread has not waited for yet.
#pragma once

#include <cstring>
#include <vector>

#include "emulate.h"

namespace emulated {

class AsyncCopies {
    struct Copy {
        void* shared;
        const void* global;
        int bytes, from_global;
    };
    std::vector<Copy> copies;    // oldest first
    std::vector<size_t> groups;  // where each committed group ends

   public:
    void clear() {
        copies.clear();
        groups.clear();
    }
    // Poisons the destination: until the wait, a GPU may or may not have written it.
    void add(void* shared, const void* global, int bytes, int from_global) {
        if ((reinterpret_cast<uintptr_t>(shared) | reinterpret_cast<uintptr_t>(global)) % bytes)
            fail("cp.async: an address is not aligned to its size");
        memset(shared, 0xFF, bytes);
        copies.push_back({shared, global, bytes, from_global});
    }
    void commit() { groups.push_back(copies.size()); }
    // Makes the copies of all groups but the newest `pending`.
    void wait(int pending) {
        if (groups.size() <= size_t(pending)) return;
        size_t done = groups.size() - pending, end = groups[done - 1];
        for (size_t i = 0; i < end; ++i) {
            const Copy& c = copies[i];
            memcpy(c.shared, c.global, c.from_global);
            memset(static_cast<char*>(c.shared) + c.from_global, 0, c.bytes - c.from_global);
        }
        copies.erase(copies.begin(), copies.begin() + end);
        groups.erase(groups.begin(), groups.begin() + done);
        for (auto& g : groups) g -= end;
    }
};

}  // namespace emulated
