// Results element by element. The compiler defines
//   PACK            how many elements a thread works on
//   PARAMETERS      pointers to operands and results, and the `count` of elements
//   LOAD, STORE     packs of what is read and written element by element
//   BODY            results from operands, for element `i`, the `k`-th of the pack
extern "C" __global__ void pointwise(PARAMETERS) {
    const long long first = (static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x) * PACK;
    if (first >= count) return;
    LOAD
#pragma unroll
    for (int k = 0; k < PACK; k++) {
        const long long i = first + k;
        BODY
    }
    STORE
}
