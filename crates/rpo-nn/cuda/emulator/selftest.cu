// Self test of the emulated GPU's device side: `build.sh OUT test`. The kernels are compiled as every `.cu`; a second
// compilation with SELFTEST_MAIN makes the program that calls them and compares with plain loops.
#ifndef SELFTEST_MAIN

// blockDim = 256, one block: out[0] = sum of x by warp shuffles and one shared array; out[1] = number of threads with an x.
extern "C" __global__ void __launch_bounds__(256) selftest_sum(const float* x, float* out, long long n) {
    __shared__ float warps[8];
    float sum = 0;
    for (long long i = threadIdx.x; i < n; i += blockDim.x) sum += x[i];
    for (int by = 16; by; by /= 2) sum += __shfl_xor_sync(0xffffffff, sum, by);
    if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = sum;
    __syncthreads();
    int count = __syncthreads_count(threadIdx.x < n);
    if (threadIdx.x >= 32) return;
    sum = threadIdx.x < 8 ? warps[threadIdx.x] : 0.0f;
    for (int by = 4; by; by /= 2) sum += __shfl_down_sync(0xffffffff, sum, by);
    if (threadIdx.x == 0) out[0] = sum, out[1] = count;
}

// blockDim = (32, 8), grid (cols / 32, rows / 32), rounded up: y = x^T through dynamic shared memory of 32 * 33 floats.
extern "C" __global__ void selftest_transpose(const float* x, float* y, int rows, int cols) {
    DYNAMIC_SHARED(float, tile);
    int col = blockIdx.x * 32 + threadIdx.x;
    for (int i = threadIdx.y; i < 32; i += 8) {
        int row = blockIdx.y * 32 + i;
        if (row < rows && col < cols) tile[i * 33 + threadIdx.x] = x[row * cols + col];
    }
    __syncthreads();
    int row = blockIdx.y * 32 + threadIdx.x;
    for (int i = threadIdx.y; i < 32; i += 8) {
        int c = blockIdx.x * 32 + i;
        if (row < rows && c < cols) y[c * rows + row] = tile[threadIdx.x * 33 + i];
    }
}

// One warp: d (16 x 8) = a (16 x 16) b (16 x 8), row-major, by cp.async, ldmatrix and one mma.
extern "C" __global__ void selftest_mma(const __nv_bfloat16* a, const __nv_bfloat16* b, float* d) {
    __shared__ __align__(16) __nv_bfloat16 sa[16][16];
    __shared__ __align__(16) __nv_bfloat16 sb[16][8];
    int lane = threadIdx.x;
    cp_async_16(&sa[lane / 2][lane % 2 * 8], a + lane * 8);
    cp_async_commit();
    if (lane < 16) cp_async_16_zfill(&sb[lane][0], b + lane * 8, true);
    cp_async_commit();
    cp_async_wait<0>();
    __syncwarp();
    unsigned fa[4], fb[4];
    ldmatrix_x4(fa, &sa[lane % 16][lane / 16 * 8]);
    ldmatrix_x4_trans(fb, &sb[lane % 16][0]);
    float acc[4] = {0, 0, 0, 0};
    mma_m16n8k16(acc, fa, fb);
    for (int i = 0; i < 4; ++i) d[(lane / 4 + i / 2 * 8) * 8 + lane % 4 * 2 + i % 2] = acc[i];
}

// Any grid: y = 2 x; no barrier.
extern "C" __global__ void selftest_double(const float* x, float* y, long long n) {
    for (long long i = blockIdx.x * (long long)blockDim.x + threadIdx.x; i < n; i += (long long)gridDim.x * blockDim.x)
        y[i] = 2 * x[i];
}

// Faults: 0 a barrier that half of the threads skip, 1 shared memory read before it is written (gives NaN), 2 a
// misaligned access, 3 a read far out of bounds, 4 a missing cp_async_wait (gives NaN).
extern "C" __global__ void selftest_fault(float* x, int what) {
    __shared__ __align__(16) float s[4];
    DYNAMIC_SHARED(float, dynamic);
    if (what == 0) {
        if (threadIdx.x % 2) __syncthreads();
        else __shfl_sync(0xffffffff, 1, 0);
    }
    if (what == 1) x[0] = s[threadIdx.x % 4] + dynamic[0];
    if (what == 2) *reinterpret_cast<float4*>(x + 1) = float4{0, 0, 0, 0};
    if (what == 3) x[0] = x[1ll << 40];
    if (what == 4) {
        cp_async_16(s, x);
        cp_async_commit();
        cp_async_wait<1>();
        x[0] = s[0];
    }
}

#else

#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <vector>

extern "C" int emulate_launch(const char*, int, int, int, int, int, int, int, void**);

template <class... A>
void run(const char* name, dim3 grid, dim3 block, int shared, A... args) {
    void* params[] = {&args...};
    if (int rc = emulate_launch(name, grid.x, grid.y, grid.z, block.x, block.y, block.z, shared, params)) {
        printf("%s: error %d\n", name, rc);
        exit(1);
    }
}

void check(const char* what, bool ok) {
    printf("%-44s %s\n", what, ok ? "ok" : "WRONG");
    if (!ok) exit(1);
}

// Runs it in a child process: does it die?
template <class F>
bool dies(F f) {
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        if (!freopen("/dev/null", "w", stderr)) _exit(0);
        f();
        _exit(0);
    }
    int status = 0;
    waitpid(child, &status, 0);
    return WIFSIGNALED(status);
}

int main() {
    alignas(16) float out[8];
    float* po = out;
    // First, as a child process has no thread pool.
    check("a barrier that threads skip is found", dies([&] { run("selftest_fault", 1, 64, 16, po, 0); }));
    check("a misaligned access is found", dies([&] { run("selftest_fault", 1, 1, 16, po, 2); }));
    check("an access out of bounds is found", dies([&] { run("selftest_fault", 1, 1, 16, po, 3); }));
    run("selftest_fault", 1, 4, 16, po, 1);
    check("shared memory starts as NaN", out[0] != out[0]);
    out[0] = 1;
    run("selftest_fault", 1, 1, 16, po, 4);
    check("a missing cp_async_wait gives NaN", out[0] != out[0]);

    std::vector<float> x(1000), y(1000);
    const float* px = x.data();
    float sum = 0;
    for (int i = 0; i < 1000; ++i) sum += x[i] = i % 7;
    for (int repeat = 0; repeat < 2; ++repeat) {  // in both orders of the threads
        run("selftest_sum", 1, 256, 0, px, po, 1000ll);
        check("sum by shuffles", out[0] == sum && out[1] == 256);
    }
    run("selftest_double", 13, 64, 0, px, y.data(), 1000ll);
    bool ok = true;
    for (int i = 0; i < 1000; ++i) ok &= y[i] == 2 * x[i];
    check("elementwise", ok);

    int rows = 40, cols = 25;
    run("selftest_transpose", dim3(1, 2), dim3(32, 8), 32 * 33 * 4, px, y.data(), rows, cols);
    for (int r = 0; r < rows; ++r)
        for (int c = 0; c < cols; ++c) ok &= y[c * rows + r] == x[r * cols + c];
    check("transpose through shared memory", ok);

    alignas(16) __nv_bfloat16 a[256], b[128];
    const __nv_bfloat16 *pa = a, *pb = b;
    float d[128], *pd = d;
    for (int i = 0; i < 256; ++i) a[i] = __float2bfloat16_rn((i * 37 % 101 - 50) / 8.0f);
    for (int i = 0; i < 128; ++i) b[i] = __float2bfloat16_rn((i * 53 % 97 - 48) / 4.0f);
    run("selftest_mma", 1, 32, 0, pa, pb, pd);
    for (int i = 0; i < 16; ++i)
        for (int n = 0; n < 8; ++n) {
            float s = 0;
            for (int k = 0; k < 16; ++k) s += float(a[i * 16 + k]) * float(b[k * 8 + n]);
            ok &= d[i * 8 + n] == s;
        }
    check("mma.m16n8k16, ldmatrix, cp.async", ok);
    ok = __float2bfloat16_rn(1.00390625f).__x == 0x3f80 && __float2bfloat16_rn(1.01171875f).__x == 0x3f82;
    check("bf16 rounds to even", ok);
}
#endif
