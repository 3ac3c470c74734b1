// CUDA's language: what its compiler knows without headers.
#pragma once

#define __global__ __attribute__((visibility("default")))
#define __device__
#define __host__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __align__(bytes) __attribute__((aligned(bytes)))
#define alignas(...) __attribute__((aligned(__VA_ARGS__)))  // may stand behind __shared__ in CUDA
#define __constant__ static
// `used`: that nobody writes a variable does not mean that it is zero.
#define __shared__ static __thread __attribute__((used))
#define DYNAMIC_SHARED(type, name) type *const name = (type *)simulator::dynamic_shared

#define threadIdx (simulator::current->thread)
#define blockIdx (simulator::block_index)
#define blockDim (simulator::block)
#define gridDim (simulator::grid)
static const int warpSize = 32;

// Where a function is called: the line of the text.
#define CNNDSL_LINE int line = __builtin_LINE()

inline void __syncthreads(CNNDSL_LINE) { simulator::barrier(false, line); }
inline int __syncthreads_count(int said, CNNDSL_LINE) { return simulator::barrier(said, line); }
inline int __syncthreads_or(int said, CNNDSL_LINE) { return simulator::barrier(said, line) > 0; }
inline int __syncthreads_and(int said, CNNDSL_LINE) { return !simulator::barrier(!said, line); }

inline void __syncwarp(unsigned mask = ~0u, CNNDSL_LINE) {
    simulator::meet(simulator::SYNC, mask, 0, 0, line);
}

template <class T>
T __shfl_sync(unsigned mask, T value, int source, int width = 32, CNNDSL_LINE) {
    int first = simulator::first(width, line);
    return simulator::shuffle(mask, value, first + (source & (width - 1)), line);
}

template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned distance, int width = 32, CNNDSL_LINE) {
    int lane = simulator::lane(), first = simulator::first(width, line);
    int source = distance > unsigned(lane - first) ? lane : int(lane - distance);
    return simulator::shuffle(mask, value, source, line);
}

template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned distance, int width = 32, CNNDSL_LINE) {
    int lane = simulator::lane(), last = simulator::first(width, line) + width - 1;
    int source = distance > unsigned(last - lane) ? lane : int(lane + distance);
    return simulator::shuffle(mask, value, source, line);
}

template <class T>
T __shfl_xor_sync(unsigned mask, T value, int bits, int width = 32, CNNDSL_LINE) {
    int lane = simulator::lane(), last = simulator::first(width, line) + width - 1;
    unsigned source = lane ^ bits;
    return simulator::shuffle(mask, value, source > unsigned(last) ? lane : int(source), line);
}

inline unsigned __ballot_sync(unsigned mask, int said, CNNDSL_LINE) {
    return simulator::meet(simulator::VOTE, mask, said != 0, 0, line);
}
inline int __any_sync(unsigned mask, int said, CNNDSL_LINE) {
    return __ballot_sync(mask, said, line) != 0;
}
inline int __all_sync(unsigned mask, int said, CNNDSL_LINE) {
    return __ballot_sync(mask, !said, line) == 0;
}

// The lanes that have not ended: a device may know fewer.
inline unsigned __activemask() {
    unsigned active = 0;
    for (unsigned left = simulator::lanes(); left; left &= left - 1) {
        int i = __builtin_ctz(left);
        const simulator::Fiber *fiber = simulator::current - simulator::lane() + i;
        active |= unsigned(fiber->state != simulator::ENDED) << i;
    }
    return active;
}

inline void __threadfence() {}
inline void __threadfence_block() {}

#define CNNDSL_ATOMIC(name, type, result)                  \
    inline type name(type *address, type value) {          \
        type before = *address;                            \
        *address = result;                                 \
        return before;                                     \
    }
CNNDSL_ATOMIC(atomicAdd, float, before + value)
CNNDSL_ATOMIC(atomicAdd, int, int(unsigned(before) + unsigned(value)))
CNNDSL_ATOMIC(atomicAdd, unsigned, before + value)
CNNDSL_ATOMIC(atomicAdd, unsigned long long, before + value)
CNNDSL_ATOMIC(atomicMax, int, before < value ? value : before)
CNNDSL_ATOMIC(atomicMax, unsigned, before < value ? value : before)
CNNDSL_ATOMIC(atomicMin, int, value < before ? value : before)
CNNDSL_ATOMIC(atomicMin, unsigned, value < before ? value : before)
CNNDSL_ATOMIC(atomicExch, int, value)
CNNDSL_ATOMIC(atomicExch, unsigned, value)
#undef CNNDSL_ATOMIC

inline int atomicCAS(int *address, int expected, int value) {
    int before = *address;
    *address = before == expected ? value : before;
    return before;
}
inline unsigned atomicCAS(unsigned *address, unsigned expected, unsigned value) {
    unsigned before = *address;
    *address = before == expected ? value : before;
    return before;
}

#define CNNDSL_VECTOR(type, base)                                                               \
    struct alignas(8) base##2 {                                                                 \
        type x, y;                                                                              \
    };                                                                                          \
    struct alignas(16) base##4 {                                                                \
        type x, y, z, w;                                                                        \
    };                                                                                          \
    inline base##2 make_##base##2(type x, type y) { return {x, y}; }                            \
    inline base##4 make_##base##4(type x, type y, type z, type w) { return {x, y, z, w}; }
CNNDSL_VECTOR(int, int)
CNNDSL_VECTOR(unsigned, uint)
CNNDSL_VECTOR(float, float)
#undef CNNDSL_VECTOR

template <class T>
T __ldg(const T *address) {
    return *address;
}

inline unsigned __float_as_uint(float value) {
    unsigned bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}
inline float __uint_as_float(unsigned bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}
inline int __float_as_int(float value) { return __float_as_uint(value); }
inline float __int_as_float(int bits) { return __uint_as_float(bits); }

inline unsigned __umulhi(unsigned a, unsigned b) { return (unsigned long long)a * b >> 32; }
inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
    return (unsigned __int128)a * b >> 64;
}
inline int __popc(unsigned bits) { return __builtin_popcount(bits); }
inline int __clz(int bits) { return bits ? __builtin_clz(bits) : 32; }
inline int __ffs(int bits) { return __builtin_ffs(bits); }

// <cmath> would take longer to compile than most kernels.
extern "C" {
float expf(float) noexcept;
float exp2f(float) noexcept;
float expm1f(float) noexcept;
double pow(double, double) noexcept;
double sqrt(double) noexcept;
float logf(float) noexcept;
float log2f(float) noexcept;
float log1pf(float) noexcept;
float sqrtf(float) noexcept;
float tanhf(float) noexcept;
float erff(float) noexcept;
float sinf(float) noexcept;
float cosf(float) noexcept;
float powf(float, float) noexcept;
float fabsf(float) noexcept;
float floorf(float) noexcept;
float ceilf(float) noexcept;
float truncf(float) noexcept;
float roundf(float) noexcept;
float rintf(float) noexcept;
float fmaf(float, float, float) noexcept;
float fmaxf(float, float) noexcept;
float fminf(float, float) noexcept;
}

inline float rsqrtf(float x) { return 1 / sqrtf(x); }
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }
inline float __fdividef(float a, float b) { return a / b; }
inline float __expf(float x) { return expf(x); }
inline float __logf(float x) { return logf(x); }
inline bool isnan(float x) { return __builtin_isnan(x); }
inline bool isinf(float x) { return __builtin_isinf(x); }
inline bool isfinite(float x) { return __builtin_isfinite(x); }

template <class A, class B>
auto min(A a, B b) -> decltype(a + b) {
    return decltype(a + b)(b) < decltype(a + b)(a) ? b : a;
}
template <class A, class B>
auto max(A a, B b) -> decltype(a + b) {
    return decltype(a + b)(a) < decltype(a + b)(b) ? b : a;
}
inline float min(float a, float b) { return fminf(a, b); }
inline float max(float a, float b) { return fmaxf(a, b); }
