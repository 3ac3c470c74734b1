// What is computed of the rows of a matrix, a warp each: softmax, its gradient, losses of classes.
// The compiler defines
//   ROWS, LENGTH                       of the matrix
//   T                                  element type of x and results
//   Number                             element type of probabilities (losses)
constexpr int WARPS = 8;

template <class Combine> __device__ __forceinline__ float across(float v, Combine combine) {
    for (int mask = 16; mask; mask >>= 1) v = combine(v, __shfl_xor_sync(0xffffffffu, v, mask));
    return v;
}
struct Larger {
    __device__ float operator()(float a, float b) const { return a != a || a > b ? a : b; }
};
struct Plus {
    __device__ float operator()(float a, float b) const { return a + b; }
};

#ifdef SOFTMAX
extern "C" __global__ void softmax(const T *x, T *y) {
    const int lane = threadIdx.x % 32;
    const long long row = static_cast<long long>(blockIdx.x) * WARPS + threadIdx.x / 32;
    if (row >= ROWS) return;
    x += row * LENGTH;
    y += row * LENGTH;
    float most = number(x[0]);
    for (int c = lane; c < LENGTH; c += 32) most = Larger()(number(x[c]), most);
    most = across(most, Larger());
    float sum = 0.0f;
    for (int c = lane; c < LENGTH; c += 32) sum += expf(number(x[c]) - most);
    sum = across(sum, Plus());
    for (int c = lane; c < LENGTH; c += 32) y[c] = rounded<T>(expf(number(x[c]) - most) / sum);
}

extern "C" __global__ void softmax_gradient(const T *y, const T *dy, T *dx) {
    const int lane = threadIdx.x % 32;
    const long long row = static_cast<long long>(blockIdx.x) * WARPS + threadIdx.x / 32;
    if (row >= ROWS) return;
    y += row * LENGTH;
    dy += row * LENGTH;
    dx += row * LENGTH;
    float sum = 0.0f;
    for (int c = lane; c < LENGTH; c += 32) sum += number(y[c]) * number(dy[c]);
    sum = across(sum, Plus());
    for (int c = lane; c < LENGTH; c += 32)
        dx[c] = rounded<T>(number(y[c]) * (number(dy[c]) - sum));
}
#endif

#ifdef LOSS
// Of each image the loss, and the probabilities of its classes.
extern "C" __global__ void cross_entropy(
    const T *x, const long long *labels, T *probabilities, float *losses) {
    const int lane = threadIdx.x % 32;
    const long long row = static_cast<long long>(blockIdx.x) * WARPS + threadIdx.x / 32;
    if (row >= ROWS) return;
    x += row * LENGTH;
    float most = number(x[0]);
    for (int c = lane; c < LENGTH; c += 32) most = Larger()(number(x[c]), most);
    most = across(most, Larger());
    float sum = 0.0f, all = 0.0f;
    for (int c = lane; c < LENGTH; c += 32) {
        sum += expf(number(x[c]) - most);
        all += number(x[c]) - most;
    }
    sum = across(sum, Plus());
    all = across(all, Plus());
    if (probabilities)
        for (int c = lane; c < LENGTH; c += 32)
            probabilities[row * LENGTH + c] = rounded<T>(expf(number(x[c]) - most) / sum);
    if (lane == 0) {
        const float hit = number(x[labels[row]]) - most;
        losses[row] = logf(sum) - (1.0f - SMOOTHING) * hit - SMOOTHING / LENGTH * all;
    }
}

extern "C" __global__ void cross_entropy_gradient(
    const T *probabilities, const long long *labels, const float *dloss, T *dx) {
    const long long i = static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x;
    if (i >= static_cast<long long>(ROWS) * LENGTH) return;
    const float wanted = (i % LENGTH == labels[i / LENGTH] ? 1.0f - SMOOTHING : 0.0f);
    const float share = number(dloss[0]) / ROWS;
    dx[i] = rounded<T>(share * (number(probabilities[i]) - SMOOTHING / LENGTH - wanted));
}
#endif

#ifdef CORRECT
// Of each row whether its largest element, the first of equals, is where it is wanted.
__device__ __forceinline__ int largest(const T *x, int lane) {
    float most = 0.0f;
    int place = LENGTH;
    for (int c = lane; c < LENGTH; c += 32)
        if (place == LENGTH || number(x[c]) > most || (number(x[c]) != number(x[c]) && most == most)) {
            most = number(x[c]);
            place = c;
        }
    for (int mask = 16; mask; mask >>= 1) {
        const float other = __shfl_xor_sync(0xffffffffu, most, mask);
        const int there = __shfl_xor_sync(0xffffffffu, place, mask);
        const bool mine = place < LENGTH, theirs = there < LENGTH;
        const bool same = other == most || (other != other && most != most);
        const bool larger = other > most || (other != other && most == most);
        if (theirs && (!mine || larger || (same && there < place))) {
            most = other;
            place = there;
        }
    }
    return place;
}

extern "C" __global__ void correct(const T *x, const Label *labels, float *hits) {
    const int lane = threadIdx.x % 32;
    const long long row = static_cast<long long>(blockIdx.x) * WARPS + threadIdx.x / 32;
    if (row >= ROWS) return;
    const int place = largest(x + row * LENGTH, lane);
#ifdef SOFT
    const int wanted = largest(labels + row * LENGTH, lane);
#else
    const long long wanted = labels[row];
#endif
    if (lane == 0) hits[row] = place == wanted ? 1.0f : 0.0f;
}
#endif
