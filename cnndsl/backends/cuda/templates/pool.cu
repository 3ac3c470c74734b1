// Pooling of maps (N, H, W, C). The compiler defines
//   T, Winner, PACK                    element types; channels of a thread
//   IMAGES, HEIGHT, WIDTH, CHANNELS    of the input
//   OUT_HEIGHT, OUT_WIDTH              of the output
//   KERNEL_H, KERNEL_W, STRIDE, TOP, LEFT
//   MAXIMUM, or of average pooling ROWS_BEGIN, ROWS_END, COLUMNS_BEGIN, COLUMNS_END: what of a
//                                      window counts lies between; SUM: that, and no mean
constexpr int PACKS = CHANNELS / PACK;

#ifdef MAXIMUM
// The largest of each window and which one it is, row by row, the first of equals; what is not a
// number wins over all that is.
extern "C" __global__ void maxpool(const T *x, T *y, Winner *winner) {
    const long long at = static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x;
    if (at >= static_cast<long long>(IMAGES) * OUT_HEIGHT * OUT_WIDTH * PACKS) return;
    const int c = at % PACKS * PACK, column = at / PACKS % OUT_WIDTH;
    const int row = at / PACKS / OUT_WIDTH % OUT_HEIGHT;
    const long long image = at / PACKS / OUT_WIDTH / OUT_HEIGHT;
    const int top = row * STRIDE - TOP, left = column * STRIDE - LEFT;
    float best[PACK];
    int place[PACK];
    bool any = false;
    for (int r = 0; r < KERNEL_H; r++) {
        if (top + r < 0 || top + r >= HEIGHT) continue;
        for (int s = 0; s < KERNEL_W; s++) {
            if (left + s < 0 || left + s >= WIDTH) continue;
            const Pack<T, PACK> here =
                load<PACK>(x + ((image * HEIGHT + top + r) * WIDTH + left + s) * CHANNELS + c);
#pragma unroll
            for (int k = 0; k < PACK; k++) {
                const float v = number(here.at[k]);
                if (!any || v > best[k] || (v != v && best[k] == best[k])) {
                    best[k] = v;
                    place[k] = r * KERNEL_W + s;
                }
            }
            any = true;
        }
    }
    Pack<T, PACK> largest;
    Pack<Winner, PACK> winners;
#pragma unroll
    for (int k = 0; k < PACK; k++) {
        largest.at[k] = rounded<T>(best[k]);
        winners.at[k] = static_cast<Winner>(place[k]);
    }
    store<PACK>(y + at * PACK, largest);
    if (winner) store<PACK>(winner + at * PACK, winners);
}

// Every element of the input gathers what the windows send it that it won.
extern "C" __global__ void maxpool_gradient(const Winner *winner, const T *dy, T *dx) {
    const long long at = static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x;
    if (at >= static_cast<long long>(IMAGES) * HEIGHT * WIDTH * PACKS) return;
    const int c = at % PACKS * PACK, column = at / PACKS % WIDTH, row = at / PACKS / WIDTH % HEIGHT;
    const long long image = at / PACKS / WIDTH / HEIGHT;
    float sum[PACK] = {};
    const int below = row + TOP, right = column + LEFT;
    for (int q = max(0, (below - KERNEL_H) / STRIDE); q <= below / STRIDE && q < OUT_HEIGHT; q++) {
        const int r = below - q * STRIDE;
        if (r >= KERNEL_H) continue;
        for (int p = max(0, (right - KERNEL_W) / STRIDE); p <= right / STRIDE && p < OUT_WIDTH; p++) {
            const int s = right - p * STRIDE;
            if (s >= KERNEL_W) continue;
            const long long from = ((image * OUT_HEIGHT + q) * OUT_WIDTH + p) * CHANNELS + c;
            const Pack<Winner, PACK> winners = load<PACK>(winner + from);
            const Pack<T, PACK> slopes = load<PACK>(dy + from);
#pragma unroll
            for (int k = 0; k < PACK; k++)
                if (winners.at[k] == r * KERNEL_W + s) sum[k] += number(slopes.at[k]);
        }
    }
    Pack<T, PACK> result;
#pragma unroll
    for (int k = 0; k < PACK; k++) result.at[k] = rounded<T>(sum[k]);
    store<PACK>(dx + at * PACK, result);
}
#else
__device__ __forceinline__ float area(int top, int left) {
#ifdef SUM
    return 1.0f;
#endif
    const int rows = min(top + KERNEL_H, ROWS_END) - max(top, ROWS_BEGIN);
    const int columns = min(left + KERNEL_W, COLUMNS_END) - max(left, COLUMNS_BEGIN);
    return static_cast<float>(rows * columns);
}

extern "C" __global__ void avgpool(const T *x, T *y) {
    const long long at = static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x;
    if (at >= static_cast<long long>(IMAGES) * OUT_HEIGHT * OUT_WIDTH * PACKS) return;
    const int c = at % PACKS * PACK, column = at / PACKS % OUT_WIDTH;
    const int row = at / PACKS / OUT_WIDTH % OUT_HEIGHT;
    const long long image = at / PACKS / OUT_WIDTH / OUT_HEIGHT;
    const int top = row * STRIDE - TOP, left = column * STRIDE - LEFT;
    float sum[PACK] = {};
    for (int r = max(top, 0); r < min(top + KERNEL_H, HEIGHT); r++)
        for (int s = max(left, 0); s < min(left + KERNEL_W, WIDTH); s++) {
            const Pack<T, PACK> here =
                load<PACK>(x + ((image * HEIGHT + r) * WIDTH + s) * CHANNELS + c);
#pragma unroll
            for (int k = 0; k < PACK; k++) sum[k] += number(here.at[k]);
        }
    const float share = 1.0f / area(top, left);
    Pack<T, PACK> mean;
#pragma unroll
    for (int k = 0; k < PACK; k++) mean.at[k] = rounded<T>(sum[k] * share);
    store<PACK>(y + at * PACK, mean);
}

extern "C" __global__ void avgpool_gradient(const T *dy, T *dx) {
    const long long at = static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x;
    if (at >= static_cast<long long>(IMAGES) * HEIGHT * WIDTH * PACKS) return;
    const int c = at % PACKS * PACK, column = at / PACKS % WIDTH, row = at / PACKS / WIDTH % HEIGHT;
    const long long image = at / PACKS / WIDTH / HEIGHT;
    float sum[PACK] = {};
    const int below = row + TOP, right = column + LEFT;
    for (int q = max(0, (below - KERNEL_H) / STRIDE); q <= below / STRIDE && q < OUT_HEIGHT; q++) {
        if (below - q * STRIDE >= KERNEL_H) continue;
        for (int p = max(0, (right - KERNEL_W) / STRIDE); p <= right / STRIDE && p < OUT_WIDTH; p++) {
            if (right - p * STRIDE >= KERNEL_W) continue;
            const float share = 1.0f / area(q * STRIDE - TOP, p * STRIDE - LEFT);
            const Pack<T, PACK> slopes =
                load<PACK>(dy + ((image * OUT_HEIGHT + q) * OUT_WIDTH + p) * CHANNELS + c);
#pragma unroll
            for (int k = 0; k < PACK; k++) sum[k] += number(slopes.at[k]) * share;
        }
    }
    Pack<T, PACK> result;
#pragma unroll
    for (int k = 0; k < PACK; k++) result.at[k] = rounded<T>(sum[k]);
    store<PACK>(dx + at * PACK, result);
}
#endif
