// The second half of columns.cu: the sums of all blocks of rows, and results from them.
extern "C" __global__ void column_totals(PARAMETERS, const float *partial, RESULTS) {
    __shared__ float shared[SUMS][32][33];
    const int c = blockIdx.x * 32 + threadIdx.x;
    float total[SUMS] = {};
    if (c < CHANNELS)
        for (int part = threadIdx.y; part < PARTS; part += 32)
            for (int s = 0; s < SUMS; s++)
                total[s] +=
                    partial[((static_cast<long long>(blockIdx.z) * PARTS + part) * SUMS + s) * CHANNELS + c];
    for (int s = 0; s < SUMS; s++) shared[s][threadIdx.y][threadIdx.x] = total[s];
    __syncthreads();
    if (threadIdx.y > 0 || c >= CHANNELS) return;
    for (int s = 0; s < SUMS; s++) {
        total[s] = 0.0f;
        for (int y = 0; y < 32; y++) total[s] += shared[s][y][threadIdx.x];
    }
    const long long at = static_cast<long long>(blockIdx.z) * CHANNELS + c;
    FINISH
}
