// Sums over the taps of depthwise convolutions of maps (N, H, W, C): forward ones, and gradients of
// inputs, whose taps are mirrored. Position `q` of the result sees with tap `t` the position
// (q * STRIDE + t * DILATION - TOP) / APART of the map, if that is whole. The compiler defines
//   T, Result, Index           element types; an integer that counts places
//   IMAGES, HEIGHT, WIDTH, CHANNELS, OUT_HEIGHT, OUT_WIDTH     of the map, and of the result
//   KERNEL_H, KERNEL_W, STRIDE_H, STRIDE_W, DILATION_H, DILATION_W, APART_H, APART_W, TOP, LEFT
//   MIRRORED                   whether the last tap of the filters is the first
//   PACK, LANES                channels of a thread; threads side by side
//   COLUMNS, FIRST, LAST       columns of the result of a thread, which see those from FIRST to LAST
//   STEPS                      places, of so many columns each, that a thread does in turn
//   PARAMETERS                 pointers: x, filters, what READ wants, y
//   READ, CHANGE               loads what is added at `to`, `channel`; adds number k of that to v
constexpr int DEPTH = 256 / LANES, TAPS = KERNEL_H * KERNEL_W;
constexpr int GROUPS = (OUT_WIDTH + COLUMNS - 1) / COLUMNS;
constexpr Index PLACES = static_cast<Index>(IMAGES) * OUT_HEIGHT * GROUPS;

// The tap with which column `o` of a thread sees column `j`; -1 if with none.
__device__ constexpr int tap(int j, int o) {
    const int reach = j * APART_W + LEFT - o * STRIDE_W;
    return reach < 0 || reach % DILATION_W || reach / DILATION_W >= KERNEL_W ? -1 : reach / DILATION_W;
}

__device__ constexpr bool is_seen(int j) {
    for (int o = 0; o < COLUMNS; o++)
        if (tap(j, o) >= 0) return true;
    return false;
}

extern "C" __global__ void __launch_bounds__(256, 4) depthwise(PARAMETERS) {
    __shared__ alignas(16) float weights[TAPS][LANES * PACK];
    const int lane = threadIdx.x % LANES, depth = threadIdx.x / LANES;
    const int begin = blockIdx.y * LANES * PACK, channel = begin + lane * PACK;
    for (int i = threadIdx.x; i < TAPS * LANES * PACK; i += 256) {
        const int t = i / (LANES * PACK), c = i % (LANES * PACK);
        const int from = MIRRORED ? TAPS - 1 - t : t;
        weights[t][c] = begin + c < CHANNELS ? number(filters[(begin + c) * TAPS + from]) : 0.0f;
    }
    __syncthreads();
    if (channel >= CHANNELS) return;
    for (int step = 0; step < STEPS; step++) {
        const Index place = (static_cast<Index>(blockIdx.x) * STEPS + step) * DEPTH + depth;
        if (place >= PLACES) return;
        const int column = place % GROUPS * COLUMNS, row = place / GROUPS % OUT_HEIGHT;
        const long long image = place / GROUPS / OUT_HEIGHT;
        const int left = column * STRIDE_W / APART_W;
        float sum[COLUMNS][PACK] = {};
#pragma unroll 1
        for (int r = 0; r < KERNEL_H; r++) {
            const int reach = row * STRIDE_H + r * DILATION_H - TOP;
            if (reach < 0 || reach % APART_H || reach / APART_H >= HEIGHT) continue;
            const T *from = x + ((image * HEIGHT + reach / APART_H) * WIDTH + left) * CHANNELS + channel;
#pragma unroll
            for (int j = FIRST; j <= LAST; j++) {
                if (!is_seen(j)) continue;
                Pack<T, PACK> here = {};
                if (left + j >= 0 && left + j < WIDTH) here = load<PACK>(from + j * CHANNELS);
#pragma unroll
                for (int o = 0; o < COLUMNS; o++) {
                    if (tap(j, o) < 0) continue;
                    const Pack<float, PACK> weight =
                        load<PACK>(&weights[r * KERNEL_W + tap(j, o)][lane * PACK]);
#pragma unroll
                    for (int k = 0; k < PACK; k++) sum[o][k] += number(here.at[k]) * weight.at[k];
                }
            }
        }
#pragma unroll
        for (int o = 0; o < COLUMNS; o++) {
            if (column + o >= OUT_WIDTH) continue;
            const long long to = ((image * OUT_HEIGHT + row) * OUT_WIDTH + column + o) * CHANNELS + channel;
            Pack<Result, PACK> result;
            READ
#pragma unroll
            for (int k = 0; k < PACK; k++) {
                float v = sum[o][k];
                CHANGE
                result.at[k] = rounded<Result>(v);
            }
            store<PACK>(y + to, result);
        }
    }
}
