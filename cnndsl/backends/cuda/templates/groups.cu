// Norms of single images, a block for each statistic: over POSITIONS rows of CHANNELS, INNER
// channels of one of GROUPS. The compiler defines these, T, and EPSILON.
constexpr int LENGTH = POSITIONS * INNER;

__device__ __forceinline__ float2 sums(float a, float b) {
    __shared__ float2 shared[256];
    shared[threadIdx.x] = make_float2(a, b);
    __syncthreads();
    for (int half = 128; half; half >>= 1) {
        if (threadIdx.x < half) {
            shared[threadIdx.x].x += shared[threadIdx.x + half].x;
            shared[threadIdx.x].y += shared[threadIdx.x + half].y;
        }
        __syncthreads();
    }
    return shared[0];
}

__device__ __forceinline__ long long place(int i) {
    return static_cast<long long>(i / INNER) * CHANNELS + i % INNER;
}

extern "C" __global__ void normalize(
    const T *x, const float *gamma, const float *beta, T *y, float *mean, float *inverse) {
    const long long item = blockIdx.x / GROUPS;
    const int group = blockIdx.x % GROUPS;
    const long long begin = item * POSITIONS * CHANNELS + group * INNER;
    const float first = number(x[begin]);
    float sum = 0.0f, squares = 0.0f;
    for (int i = threadIdx.x; i < LENGTH; i += 256) {
        const float v = number(x[begin + place(i)]) - first;
        sum += v;
        squares += v * v;
    }
    const float2 total = sums(sum, squares);
    const float shift = total.x / LENGTH;
    const float variance = fmaxf(total.y / LENGTH - shift * shift, 0.0f);
    const float centre = first + shift, scale = rsqrtf(variance + EPSILON);
    for (int i = threadIdx.x; i < LENGTH; i += 256) {
        const int c = group * INNER + i % INNER;
        const float v = (number(x[begin + place(i)]) - centre) * (scale * gamma[c]) + beta[c];
        y[begin + place(i)] = rounded<T>(v);
    }
    if (threadIdx.x == 0) {
        if (mean) mean[blockIdx.x] = centre;
        if (inverse) inverse[blockIdx.x] = scale;
    }
}

extern "C" __global__ void normalize_gradient(
    const T *x, const float *gamma, const float *mean, const float *inverse, const T *dy, T *dx) {
    const long long item = blockIdx.x / GROUPS;
    const int group = blockIdx.x % GROUPS;
    const long long begin = item * POSITIONS * CHANNELS + group * INNER;
    const float centre = mean[blockIdx.x], scale = inverse[blockIdx.x];
    float sum = 0.0f, products = 0.0f;
    for (int i = threadIdx.x; i < LENGTH; i += 256) {
        const float g = number(dy[begin + place(i)]) * gamma[group * INNER + i % INNER];
        sum += g;
        products += g * (number(x[begin + place(i)]) - centre) * scale;
    }
    const float2 total = sums(sum, products);
    for (int i = threadIdx.x; i < LENGTH; i += 256) {
        const float g = number(dy[begin + place(i)]) * gamma[group * INNER + i % INNER];
        const float normal = (number(x[begin + place(i)]) - centre) * scale;
        dx[begin + place(i)] =
            rounded<T>(scale * (g - total.x / LENGTH - normal * (total.y / LENGTH)));
    }
}
