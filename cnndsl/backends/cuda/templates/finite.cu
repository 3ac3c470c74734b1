// Of each block whether one of its numbers is not finite; blocks take turns at COUNT numbers.
extern "C" __global__ void not_finite(const T *x, float *found) {
    int any = 0;
    for (long long i = static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x; i < COUNT;
         i += static_cast<long long>(gridDim.x) * blockDim.x) {
        const float v = number(x[i]);
        any |= !(v - v == 0.0f);
    }
    any = __syncthreads_or(any);
    if (threadIdx.x == 0) found[blockIdx.x] = any ? 1.0f : 0.0f;
}
