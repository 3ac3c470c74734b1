// Every element of a map (N, H, W, C) is one of the operand, or zero. The compiler defines
//   T, PACK, COUNT               element type; neighbours of a thread; elements of the result
//   HEIGHT, WIDTH, CHANNELS      of the result
//   SOURCE                       sets `from` to where element (n, h, w, c) stands in the operand, if
//                                it does; PACK neighbours stand side by side
extern "C" __global__ void gather(const T *x, T *y) {
    const long long at =
        (static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x) * PACK;
    if (at >= COUNT) return;
    const int c = at % CHANNELS, w = at / CHANNELS % WIDTH, h = at / CHANNELS / WIDTH % HEIGHT;
    const long long n = at / CHANNELS / WIDTH / HEIGHT;
    long long from = -1;
    SOURCE
    Pack<T, PACK> result;
    if (from >= 0) {
        result = load<PACK>(x + from);
    } else {
#pragma unroll
        for (int k = 0; k < PACK; k++) result.at[k] = rounded<T>(0.0f);
    }
    store<PACK>(y + at, result);
}
