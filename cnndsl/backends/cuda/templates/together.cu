// What is computed element by element of many sets of arrays; a block works on a part of one set.
// The compiler defines
//   ENTRY        the kernel's name
//   WIDTH        how many elements a thread takes at once, where all arrays are aligned to 16 bytes
//   CHUNK        how many elements a block has at most, a multiple of WIDTH
//   ADDRESSES    how many addresses a row of the table has: those of a set's arrays
//   ARRAYS       pointers from a `row`, and in `address` the bits of all addresses
//   SHARED, ONCE parameters that all sets have, and what a thread computes of them
//   LOAD, BODY, STORE  as in pointwise.cu
//   AFTER        what a block does in the end
// `parts` has three numbers for each block: the set, which of its chunks, and how long that is.
template <int N> struct Width {
    static constexpr int value = N;
};

extern "C" __global__ void __launch_bounds__(256, 6)
ENTRY(const long long *table, const int *parts SHARED) {
    const int *part = parts + 3 * blockIdx.x;
    const long long *row = table + ADDRESSES * part[0];
    const long long begin = static_cast<long long>(part[1]) * CHUNK;
    const long long end = begin + part[2];
    long long address = 0;
    ARRAYS
    ONCE
    const auto work = [&](auto width, long long first) {
        constexpr int PACK = decltype(width)::value;
        LOAD
#pragma unroll
        for (int k = 0; k < PACK; k++) {
            const long long i = first + k;
            BODY
        }
        STORE
    };
    const long long packed = address % 16 ? begin : end - part[2] % WIDTH;
    for (long long i = begin + threadIdx.x * WIDTH; i < packed; i += blockDim.x * WIDTH)
        work(Width<WIDTH>{}, i);
    for (long long i = packed + threadIdx.x; i < end; i += blockDim.x) work(Width<1>{}, i);
    AFTER
}
