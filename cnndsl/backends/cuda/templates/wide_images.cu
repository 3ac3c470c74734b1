// Images whose rows of channels get longer by zeros, a position each. The compiler defines
//   From, Number              element types
//   COUNT                     positions of all images
//   CHANNELS, PITCH, PACK     channels there are; as there are to be; how many are written at once
extern "C" __global__ void wide_images(const From *x, Number *y) {
    const long long at = static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x;
    if (at >= COUNT) return;
#pragma unroll
    for (int first = 0; first < PITCH; first += PACK) {
        Pack<Number, PACK> result;
#pragma unroll
        for (int k = 0; k < PACK; k++) {
            const int c = first + k;
            result.at[k] = rounded<Number>(c < CHANNELS ? number(x[at * CHANNELS + c]) : 0.0f);
        }
        store<PACK>(y + at * PITCH + first, result);
    }
}
