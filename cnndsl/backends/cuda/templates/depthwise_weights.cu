// The gradient of a depthwise convolution's filters: a block adds up some taps of some channels over
// a strip of places, always in the same order; column_totals.cu adds up what blocks found. The
// compiler defines
//   T, Index                   element type; an integer that counts places
//   IMAGES, HEIGHT, WIDTH, CHANNELS, OUT_HEIGHT, OUT_WIDTH     of the map, and of the result
//   KERNEL_H, KERNEL_W, STRIDE_H, STRIDE_W, DILATION_H, DILATION_W, TOP, LEFT
//   PACK, LANES                channels of a thread; threads side by side
//   TILE_H, TILE_W             taps of a thread: blockIdx.z counts such tiles of a filter
//   COLUMNS, STRIP             columns of the result that are a place; places of a block
constexpr int DEPTH = 256 / LANES, GROUPS = (OUT_WIDTH + COLUMNS - 1) / COLUMNS;
constexpr int TILES = (KERNEL_W + TILE_W - 1) / TILE_W;
constexpr int SPAN = (COLUMNS - 1) * STRIDE_W + (TILE_W - 1) * DILATION_W + 1;
constexpr Index PLACES = static_cast<Index>(IMAGES) * OUT_HEIGHT * GROUPS;

// The tap of a tile with which column `o` of a place sees column `j`; -1 if with none.
__device__ constexpr int tap(int j, int o) {
    const int reach = j - o * STRIDE_W;
    return reach < 0 || reach % DILATION_W || reach / DILATION_W >= TILE_W ? -1 : reach / DILATION_W;
}

__device__ constexpr bool is_seen(int j) {
    for (int o = 0; o < COLUMNS; o++)
        if (tap(j, o) >= 0) return true;
    return false;
}

extern "C" __global__ void __launch_bounds__(256, 4)
    depthwise_weights(const T *x, const T *dy, float *partial) {
    __shared__ float shared[DEPTH][LANES * PACK];
    const int lane = threadIdx.x % LANES, depth = threadIdx.x / LANES;
    const int begin = blockIdx.x * LANES * PACK, channel = begin + lane * PACK;
    const int above = blockIdx.z / TILES * TILE_H, before = blockIdx.z % TILES * TILE_W;
    float sum[TILE_H][TILE_W][PACK] = {};
    for (int step = depth; step < STRIP && channel < CHANNELS; step += DEPTH) {
        const Index place = static_cast<Index>(blockIdx.y) * STRIP + step;
        if (place >= PLACES) break;
        const int column = place % GROUPS * COLUMNS, row = place / GROUPS % OUT_HEIGHT;
        const long long image = place / GROUPS / OUT_HEIGHT;
        const T *slopes = dy + ((image * OUT_HEIGHT + row) * OUT_WIDTH + column) * CHANNELS + channel;
        Pack<T, PACK> slope[COLUMNS] = {};
#pragma unroll
        for (int o = 0; o < COLUMNS; o++)
            if (column + o < OUT_WIDTH) slope[o] = load<PACK>(slopes + o * CHANNELS);
        const int left = column * STRIDE_W + before * DILATION_W - LEFT;
#pragma unroll
        for (int r = 0; r < TILE_H; r++) {
            const int h = row * STRIDE_H + (above + r) * DILATION_H - TOP;
            if (h < 0 || h >= HEIGHT) continue;
            const T *from = x + ((image * HEIGHT + h) * WIDTH + left) * CHANNELS + channel;
#pragma unroll
            for (int j = 0; j < SPAN; j++) {
                if (!is_seen(j)) continue;
                Pack<T, PACK> here = {};
                if (left + j >= 0 && left + j < WIDTH) here = load<PACK>(from + j * CHANNELS);
#pragma unroll
                for (int o = 0; o < COLUMNS; o++) {
                    if (tap(j, o) < 0) continue;
#pragma unroll
                    for (int k = 0; k < PACK; k++)
                        sum[r][tap(j, o)][k] += number(here.at[k]) * number(slope[o].at[k]);
                }
            }
        }
    }
#pragma unroll
    for (int r = 0; r < TILE_H; r++)
#pragma unroll
        for (int s = 0; s < TILE_W; s++) {
            for (int k = 0; k < PACK; k++) shared[depth][lane * PACK + k] = sum[r][s][k];
            __syncthreads();
            const int c = begin + threadIdx.x;
            if (threadIdx.x < LANES * PACK && c < CHANNELS && above + r < KERNEL_H && before + s < KERNEL_W) {
                float total = 0.0f;
                for (int d = 0; d < DEPTH; d++) total += shared[d][threadIdx.x];
                const int t = (above + r) * KERNEL_W + before + s;
                partial[(static_cast<long long>(blockIdx.y) * KERNEL_H * KERNEL_W + t) * CHANNELS + c] = total;
            }
            __syncthreads();
        }
}
