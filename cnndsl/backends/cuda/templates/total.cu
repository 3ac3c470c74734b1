// The sum of COUNT numbers times FACTOR, by one block, always in the same order; TERM is the number
// at i of what PARAMETERS points to.
extern "C" __global__ void total(PARAMETERS, float *sum) {
    __shared__ float shared[256];
    float own = 0.0f;
    for (long long i = threadIdx.x; i < COUNT; i += 256) own += TERM;
    shared[threadIdx.x] = own;
    __syncthreads();
    for (int half = 128; half; half >>= 1) {
        if (threadIdx.x < half) shared[threadIdx.x] += shared[threadIdx.x + half];
        __syncthreads();
    }
    if (threadIdx.x == 0) sum[0] = shared[0] * FACTOR;
}
