// Parts of rows: LENGTH elements from OFFSET on in rows of STRIDE, as rows of TO_STRIDE from
// TO_OFFSET on.
extern "C" __global__ void slab(const T *x, T *y) {
    const long long at =
        (static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x) * PACK;
    if (at >= COUNT) return;
    const long long row = at / LENGTH, place = at % LENGTH;
    store<PACK>(y + row * TO_STRIDE + TO_OFFSET + place, load<PACK>(x + row * STRIDE + OFFSET + place));
}
