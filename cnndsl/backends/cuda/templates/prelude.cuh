// What every kernel begins with. The same text is compiled for a GPU and for the simulator.
#ifdef CNNDSL_SIMULATED
#include "simulator.h"
#else
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#endif

using bfloat16 = __nv_bfloat16;
using float16 = __half;

__device__ __forceinline__ float number(float x) { return x; }
__device__ __forceinline__ float number(bfloat16 x) { return __bfloat162float(x); }
__device__ __forceinline__ float number(float16 x) { return __half2float(x); }
__device__ __forceinline__ float number(unsigned char x) { return x; }
__device__ __forceinline__ float number(int x) { return static_cast<float>(x); }

template <class T> __device__ __forceinline__ T rounded(float x) { return static_cast<T>(x); }
template <> __device__ __forceinline__ bfloat16 rounded<bfloat16>(float x) {
    return __float2bfloat16(x);
}
template <> __device__ __forceinline__ float16 rounded<float16>(float x) { return __float2half(x); }

// N neighbours, read and written by accesses of 16 bytes.
template <class T, int N> struct alignas(sizeof(T) * N < 16 ? sizeof(T) * N : 16) Pack {
    T at[N];
};

template <int N, class T> __device__ __forceinline__ Pack<T, N> load(const T *from) {
    return *reinterpret_cast<const Pack<T, N> *>(from);
}
template <int N, class T> __device__ __forceinline__ void store(T *to, const Pack<T, N> &pack) {
    *reinterpret_cast<Pack<T, N> *>(to) = pack;
}

// A word of 32 bits of Philox4x64-10 (Salmon et al., 2011) for a seed, a key and a step: number
// `place` of the eight of a block, the first of which is 0. What is the same for several of these
// is computed once where loops are unrolled.
__device__ __forceinline__ unsigned random_word(
    unsigned long long seed, unsigned long long key, unsigned long long step,
    unsigned long long block, int place) {
    unsigned long long c0 = block + 1, c1 = step, c2 = 0, c3 = 0;
#pragma unroll
    for (int round = 0; round < 10; round++) {
        const unsigned long long high0 = __umul64hi(0xD2E7470EE14C6C93ull, c0);
        const unsigned long long high1 = __umul64hi(0xCA5A826395121157ull, c2);
        const unsigned long long low0 = 0xD2E7470EE14C6C93ull * c0;
        const unsigned long long low1 = 0xCA5A826395121157ull * c2;
        c0 = high1 ^ c1 ^ seed;
        c1 = low1;
        c2 = high0 ^ c3 ^ key;
        c3 = low0;
        seed += 0x9E3779B97F4A7C15ull;
        key += 0xBB67AE8584CAA73Bull;
    }
    const int word = place / 2;
    const unsigned long long drawn = word == 0 ? c0 : word == 1 ? c1 : word == 2 ? c2 : c3;
    return static_cast<unsigned>(place % 2 ? drawn >> 32 : drawn);
}
