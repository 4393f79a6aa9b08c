// Runs the threads of a block as fibers of one OS thread. A fiber takes one thread of the block after the other as
// long as they return without waiting; a thread that waits keeps its fiber, and the next free fiber goes on. So
// kernels without barriers are plain loops, and those with barriers need no OS threads.
#include <sys/mman.h>

#include <vector>

#include "async_copies.h"
#include "emulate.h"
#include "runtime.h"

__attribute__((visibility("default"))) __thread uint3 threadIdx, blockIdx;
__attribute__((visibility("default"))) __thread dim3 blockDim, gridDim;
namespace emulated {
EMULATED_PUBLIC __thread unsigned char* dynamic_shared;
}

// Saves the callee-saved registers on the stack and goes on with another stack.
asm(R"(
.text
.type emulated_switch, @function
emulated_switch:
    push %rbp
    push %rbx
    push %r12
    push %r13
    push %r14
    push %r15
    mov %rsp, (%rdi)
    mov %rsi, %rsp
    pop %r15
    pop %r14
    pop %r13
    pop %r12
    pop %rbx
    pop %rbp
    ret
.size emulated_switch, .-emulated_switch
)");
extern "C" void emulated_switch(void** save, void* load) __attribute__((visibility("hidden")));

namespace emulated {
namespace {

constexpr size_t STACK = 128 << 10, PAGE = 4096;

struct Fiber {
    void* sp;
};

enum class State : uint8_t { New, Running, Ready, AtBarrier, InWarp, Returned };

struct Thread {
    State state;
    uint3 index;
    Fiber* fiber;
    // What the thread waits for.
    const char* file;
    int line, value;
    unsigned mask;
    Collective run;
    void* arg;
    AsyncCopies copies;
};

struct Block {
    BlockTask task{};
    unsigned count = 0, next = 0, live = 0, at_barrier = 0;
    bool backward = false;
    std::vector<Thread> threads = std::vector<Thread>(MAX_THREADS);
    std::vector<unsigned> waiting = std::vector<unsigned>(MAX_THREADS / 32);   // lanes in a collective, per warp
    std::vector<unsigned> returned = std::vector<unsigned>(MAX_THREADS / 32);  // lanes that have returned
    std::vector<unsigned> ready = std::vector<unsigned>(MAX_THREADS);          // ring buffer
    unsigned ready_head = 0, ready_count = 0;
    std::vector<Fiber*> idle;
    unsigned fibers = 0;
    Thread* current = nullptr;
    void* scheduler = nullptr;
    unsigned char* shared_end = nullptr;

    void run(const BlockTask& t, uint3 index, bool backward);
    void schedule();
    void fiber_loop(Fiber* fiber);
    Fiber* new_fiber();
    void enter(Thread& t);
    void wake(Thread& t);
    void finish(Thread& t);
    bool release_barrier();
    bool release_warp(unsigned warp, unsigned mask);
    unsigned number(const Thread& t) const { return &t - threads.data(); }
    unsigned lanes(unsigned warp) const {
        unsigned n = count - warp * 32;
        return n >= 32 ? 0xffffffff : (1u << n) - 1;
    }
    [[noreturn]] void deadlock();
};

__thread __attribute__((tls_model("initial-exec"))) Block* block_of_thread = nullptr;

Block& own_block() {
    if (!block_of_thread) block_of_thread = new Block;  // lives as long as the process: pool threads do
    return *block_of_thread;
}

struct FiberStart {
    Block* block;
    Fiber* fiber;
};
thread_local FiberStart fiber_start;

void fiber_entry() {
    FiberStart start = fiber_start;
    start.block->fiber_loop(start.fiber);
    __builtin_unreachable();
}

Fiber* Block::new_fiber() {
    auto base = static_cast<char*>(mmap(nullptr, PAGE + STACK, PROT_READ | PROT_WRITE,
                                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
    if (base == MAP_FAILED) die("no memory for a fiber's stack");
    mprotect(base, PAGE, PROT_NONE);
    // Tops at different places of a page, or all stacks would share a few lines of the caches.
    auto top = reinterpret_cast<void**>(base + PAGE + STACK - fibers++ % 16 * 256);
    top[-1] = nullptr;
    top[-2] = reinterpret_cast<void*>(&fiber_entry);
    for (int i = 3; i <= 8; ++i) top[-i] = nullptr;
    return new Fiber{top - 8};
}

void Block::enter(Thread& t) {
    current = &t;
    t.state = State::Running;
    threadIdx = t.index;
}

void Block::fiber_loop(Fiber* fiber) {
    for (;;) {
        while (ready_count == 0 && next < count) {
            unsigned i = backward ? count - 1 - next : next;
            ++next;
            Thread& t = threads[i];
            t.fiber = fiber;
            enter(t);
            task.kernel->invoke(task.params);
            finish(t);
        }
        idle.push_back(fiber);
        emulated_switch(&fiber->sp, scheduler);
    }
}

void Block::schedule() {
    while (live > 0) {
        Fiber* fiber;
        if (ready_count > 0) {
            Thread& t = threads[ready[ready_head]];
            ready_head = (ready_head + 1) % MAX_THREADS;
            --ready_count;
            enter(t);
            fiber = t.fiber;
        } else if (next < count) {
            if (idle.empty()) {
                fiber = new_fiber();
                fiber_start = {this, fiber};
            } else {
                fiber = idle.back();
                idle.pop_back();
            }
        } else {
            deadlock();
        }
        emulated_switch(&scheduler, fiber->sp);
    }
    current = nullptr;
}

void Block::wake(Thread& t) {
    t.state = State::Ready;
    ready[(ready_head + ready_count++) % MAX_THREADS] = number(t);
}

void Block::finish(Thread& t) {
    t.state = State::Returned;
    t.copies.clear();
    --live;
    unsigned i = number(t), warp = i / 32;
    returned[warp] |= 1u << i % 32;
    if (at_barrier > 0) release_barrier();
    // The thread may have been the last one that a collective of its warp waited for.
    for (unsigned left = waiting[warp]; left;) {
        Thread& other = threads[warp * 32 + __builtin_ctz(left)];
        left &= ~other.mask;
        release_warp(warp, other.mask);
    }
}

// If all threads that have not returned wait at the barrier, lets them go on.
bool Block::release_barrier() {
    if (at_barrier != live) return false;
    int nonzero = 0;
    const Thread* first = nullptr;
    for (unsigned i = 0; i < count; ++i) {
        Thread& t = threads[i];
        if (t.state != State::AtBarrier) continue;
        if (!first) first = &t;
        if (t.line != first->line || (t.file != first->file && strcmp(t.file, first->file)))
            die("%s: threads wait at different barriers: %u at %s:%d, %u at %s:%d", task.kernel->name,
                number(*first), first->file, first->line, i, t.file, t.line);
        nonzero += t.value != 0;
    }
    for (unsigned n = 0; n < count; ++n) {
        Thread& t = threads[backward ? count - 1 - n : n];
        if (t.state != State::AtBarrier) continue;
        t.value = nonzero;
        wake(t);
    }
    at_barrier = 0;
    return true;
}

// If all lanes of `mask` that have not returned wait in the same collective, does it and lets them go on.
bool Block::release_warp(unsigned warp, unsigned mask) {
    unsigned present = mask & lanes(warp) & ~returned[warp];
    if (!present || (waiting[warp] & present) != present) return false;
    Thread* lane = &threads[warp * 32];
    void* args[32];
    Thread* first = nullptr;
    for (unsigned l = 0; l < 32; ++l) {
        if (!(present >> l & 1)) continue;
        Thread& t = lane[l];
        if (!first) first = &t;
        bool same_site = t.line == first->line && (t.file == first->file || !strcmp(t.file, first->file));
        if (t.mask != first->mask || t.run != first->run || !same_site)
            die("%s: lanes of a warp wait in different collectives: thread %u at %s:%d (mask %08x), %u at %s:%d (mask %08x)",
                task.kernel->name, number(*first), first->file, first->line, first->mask, number(t), t.file, t.line,
                t.mask);
        args[l] = t.arg;
    }
    first->run(args, present);
    waiting[warp] &= ~present;
    for (unsigned n = 0; n < 32; ++n) {
        unsigned l = backward ? 31 - n : n;
        if (present >> l & 1) wake(lane[l]);
    }
    return true;
}

void Block::deadlock() {
    const Thread* seen[2] = {};
    for (unsigned i = 0; i < count; ++i) {
        const Thread& t = threads[i];
        if (t.state != State::AtBarrier && t.state != State::InWarp) continue;
        if (!seen[0]) seen[0] = &t;
        else if (!seen[1] && (t.state != seen[0]->state || t.line != seen[0]->line)) seen[1] = &t;
    }
    auto what = [](const Thread* t) { return t->state == State::AtBarrier ? "a barrier" : "a warp collective"; };
    if (!seen[1])
        die("%s: deadlock in block (%u, %u, %u): thread %u waits in %s at %s:%d for lanes that never come",
            task.kernel->name, blockIdx.x, blockIdx.y, blockIdx.z, number(*seen[0]), what(seen[0]), seen[0]->file, seen[0]->line);
    die("%s: deadlock in block (%u, %u, %u): thread %u waits in %s at %s:%d, thread %u in %s at %s:%d", task.kernel->name,
        blockIdx.x, blockIdx.y, blockIdx.z, number(*seen[0]), what(seen[0]), seen[0]->file, seen[0]->line, number(*seen[1]),
        what(seen[1]), seen[1]->file, seen[1]->line);
}

void Block::run(const BlockTask& t, uint3 index, bool from_last) {
    if (current) die("a kernel launches a kernel");
    bool same_shape = t.block.x == task.block.x && t.block.y == task.block.y && t.block.z == task.block.z && count > 0;
    task = t;
    backward = from_last;
    count = t.block.x * t.block.y * t.block.z;
    next = at_barrier = ready_count = 0;
    live = count;
    blockDim = t.block;
    gridDim = t.grid;
    blockIdx = index;
    for (unsigned i = 0; i < count; ++i) threads[i].state = State::New;
    for (unsigned i = 0; i < count && !same_shape; ++i)
        threads[i].index = {i % t.block.x, i / t.block.x % t.block.y, i / (t.block.x * t.block.y)};
    for (unsigned w = 0; w < (count + 31) / 32; ++w) waiting[w] = returned[w] = 0;
    // Dynamic shared memory ends at a page that cannot be touched.
    if (!shared_end) {
        constexpr size_t size = (MAX_SHARED + PAGE - 1) / PAGE * PAGE;
        auto base = static_cast<unsigned char*>(
            mmap(nullptr, size + PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
        if (base == MAP_FAILED) die("no memory for shared memory");
        mprotect(base + size, PAGE, PROT_NONE);
        shared_end = base + size;
    }
    dynamic_shared = shared_end - (t.shared_bytes + 15) / 16 * 16;
    memset(dynamic_shared, 0xFF, shared_end - dynamic_shared);
    schedule();
}

}  // namespace

void run_block(const BlockTask& task, uint3 index, bool backward) { own_block().run(task, index, backward); }

Place current_place() {
    Block* b = block_of_thread;
    if (!b || !b->current) return {};
    return {b->task.kernel->name, blockIdx, b->current->index};
}

EMULATED_PUBLIC int barrier(int value, const char* file, int line) {
    Block& b = *block_of_thread;
    Thread& t = *b.current;
    t.file = file;
    t.line = line;
    t.value = value;
    ++b.at_barrier;
    t.state = State::AtBarrier;
    b.release_barrier();
    emulated_switch(&t.fiber->sp, b.scheduler);
    return t.value;
}

EMULATED_PUBLIC void collective(unsigned mask, void* arg, Collective run, const char* file, int line) {
    Block& b = *block_of_thread;
    Thread& t = *b.current;
    unsigned i = b.number(t), warp = i / 32;
    if (!(mask >> i % 32 & 1)) fail("a lane calls a warp collective whose mask does not name it");
    t.file = file;
    t.line = line;
    t.mask = mask;
    t.arg = arg;
    t.run = run;
    t.state = State::InWarp;
    b.waiting[warp] |= 1u << i % 32;
    b.release_warp(warp, mask);
    emulated_switch(&t.fiber->sp, b.scheduler);
}

EMULATED_PUBLIC unsigned lane() { return block_of_thread->number(*block_of_thread->current) % 32; }

EMULATED_PUBLIC void copy_later(void* shared, const void* global, int bytes, int from_global) {
    block_of_thread->current->copies.add(shared, global, bytes, from_global);
}
EMULATED_PUBLIC void copy_commit() { block_of_thread->current->copies.commit(); }
EMULATED_PUBLIC void copy_wait(int pending) { block_of_thread->current->copies.wait(pending); }

}  // namespace emulated
