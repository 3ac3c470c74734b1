// Local response normalisation, a thread for each element. The compiler defines
//   T, COUNT, CHANNELS, BEFORE, BEHIND     neighbours of a channel
//   FACTOR, BASE, POWER                    y = x * (BASE + FACTOR * sum of squares)^-POWER
__device__ __forceinline__ float base(const T *x, int c) {
    float sum = 0.0f;
    for (int j = max(0, c - BEFORE); j <= min(CHANNELS - 1, c + BEHIND); j++)
        sum += number(x[j]) * number(x[j]);
    return BASE + FACTOR * sum;
}

extern "C" __global__ void lrn(const T *x, T *y) {
    const long long i = static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x;
    if (i >= COUNT) return;
    const int c = i % CHANNELS;
    y[i] = rounded<T>(number(x[i]) * powf(base(x + (i - c), c), -POWER));
}

extern "C" __global__ void lrn_gradient(const T *x, const T *dy, T *dx) {
    const long long i = static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x;
    if (i >= COUNT) return;
    const int c = i % CHANNELS;
    x += i - c;
    dy += i - c;
    float sum = 0.0f;
    for (int j = max(0, c - BEHIND); j <= min(CHANNELS - 1, c + BEFORE); j++)
        sum += number(dy[j]) * number(x[j]) * powf(base(x, j), -POWER - 1.0f);
    const float own = number(dy[c]) * powf(base(x, c), -POWER);
    dx[i] = rounded<T>(own - 2.0f * FACTOR * POWER * number(x[c]) * sum);
}
