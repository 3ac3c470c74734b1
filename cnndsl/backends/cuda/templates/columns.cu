// Sums over rows, a channel each: first partial sums of some rows a block, always added in the
// same order, then those of all blocks. The compiler defines
//   ROWS, CHANNELS  of each of the matrices that a value is: blockIdx.z counts them
//   PACK, LANES     channels of a thread; threads side by side
//   SUMS, PARTS     sums a channel; blocks of rows
//   PARAMETERS, LOAD, TERMS     as in pointwise.cu; TERMS adds to sum[s][k] for `row`, `c`
//   RESULTS, FINISH             pointers to results; them at `at` from total[s] for channel `c`
constexpr int DEPTH = 256 / LANES;

// Four blocks of a multiprocessor, so that what waits for memory is hidden.
extern "C" __global__ void __launch_bounds__(256, 4) columns(PARAMETERS, float *partial) {
    __shared__ float shared[SUMS][DEPTH][LANES * PACK];
    const int lane = threadIdx.x % LANES, depth = threadIdx.x / LANES;
    const int begin = blockIdx.x * LANES * PACK, channel = begin + lane * PACK;
    float sum[SUMS][PACK] = {};
    if (channel < CHANNELS) {
        for (long long place = blockIdx.y * DEPTH + depth; place < ROWS; place += PARTS * DEPTH) {
            const long long row = blockIdx.z * ROWS + place, first = row * CHANNELS + channel;
            LOAD
#pragma unroll
            for (int k = 0; k < PACK; k++) {
                const int c = channel + k;
                TERMS
            }
        }
    }
    for (int s = 0; s < SUMS; s++)
        for (int k = 0; k < PACK; k++) shared[s][depth][lane * PACK + k] = sum[s][k];
    __syncthreads();
    for (int at = threadIdx.x; at < SUMS * LANES * PACK; at += blockDim.x) {
        const int s = at / (LANES * PACK), column = at % (LANES * PACK);
        float total = 0.0f;
        for (int d = 0; d < DEPTH; d++) total += shared[s][d][column];
        if (begin + column < CHANNELS)
            partial[((static_cast<long long>(blockIdx.z) * PARTS + blockIdx.y) * SUMS + s) * CHANNELS +
                    begin + column] = total;
    }
}
