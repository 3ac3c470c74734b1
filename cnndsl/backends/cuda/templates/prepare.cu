// Images from pixels, a position each. The compiler defines
//   Pixel, Number                element types of pixels and of images
//   COUNT                        images times positions of an image
//   HEIGHT, WIDTH                of the images
//   ROWS, COLUMNS, STORED        rows, columns and channels of pixels
//   CHANNELS, PITCH, PACK        channels of an image; how many stand in its rows, of which the last
//                                may be 0; and how many are written at once
//   DRAWS                        numbers of `chosen` for an image: its row of pixels, what is drawn
//   MOVES                        takes (h, w) of an image back to that of the pixels, the last move
//                                first; `kept` is false where nothing is left of them
//   SCALE(c), SHIFT(c)           of a channel
extern "C" __global__ void prepare(const Pixel *pixels, const int *chosen, Number *images) {
    const long long at = static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x;
    if (at >= COUNT) return;
    const int *drawn = chosen + at / (HEIGHT * WIDTH) * DRAWS;
    int h = at / WIDTH % HEIGHT, w = at % WIDTH;
    bool kept = true;
    MOVES
    const Pixel *pixel = pixels + ((static_cast<long long>(drawn[0]) * ROWS + h) * COLUMNS + w) * STORED;
#pragma unroll
    for (int first = 0; first < PITCH; first += PACK) {
        Pack<Number, PACK> result;
#pragma unroll
        for (int k = 0; k < PACK; k++) {
            const int c = first + k;
            float value = 0.0f;
            if (kept && c < CHANNELS)
                value = __fadd_rn(__fmul_rn(number(pixel[STORED == 1 ? 0 : c]), SCALE(c)), SHIFT(c));
            result.at[k] = rounded<Number>(value);
        }
        store<PACK>(images + at * PITCH + first, result);
    }
}
