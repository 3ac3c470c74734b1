// What is computed of the rows of a matrix, a warp each: softmax, its gradient, losses of classes.
// The compiler defines
//   ROWS, LENGTH                       of the matrix
//   T                                  element type of x and results
//   SMOOTHING                          of labels (losses)
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
// Of a row the largest logit, and the sums of exp(x - most) and of x - most.
struct Sums {
    float most, exponentials, all;
};
__device__ __forceinline__ Sums sums_of(const T *x, int lane) {
    float most = number(x[0]);
    for (int c = lane; c < LENGTH; c += 32) most = Larger()(number(x[c]), most);
    most = across(most, Larger());
    float exponentials = 0.0f, all = 0.0f;
    for (int c = lane; c < LENGTH; c += 32) {
        exponentials += expf(number(x[c]) - most);
        all += number(x[c]) - most;
    }
    return {most, across(exponentials, Plus()), across(all, Plus())};
}
__device__ __forceinline__ float loss_of(const T *x, long long label, const Sums &sums) {
    const float hit = number(x[label]) - sums.most;
    return logf(sums.exponentials) - (1.0f - SMOOTHING) * hit - SMOOTHING / LENGTH * sums.all;
}
__device__ __forceinline__ float probability_of(T x, const Sums &sums) {
    return expf(number(x) - sums.most) / sums.exponentials;
}
__device__ __forceinline__ float slope(float probability, bool is_label, float dloss) {
    const float wanted = is_label ? 1.0f - SMOOTHING : 0.0f;
    return dloss / ROWS * (probability - SMOOTHING / LENGTH - wanted);
}

// Of each image the loss, and the probabilities of its classes.
extern "C" __global__ void cross_entropy(
    const T *x, const long long *labels, T *probabilities, float *losses) {
    const int lane = threadIdx.x % 32;
    const long long row = static_cast<long long>(blockIdx.x) * WARPS + threadIdx.x / 32;
    if (row >= ROWS) return;
    x += row * LENGTH;
    const Sums sums = sums_of(x, lane);
    if (probabilities)
        for (int c = lane; c < LENGTH; c += 32)
            probabilities[row * LENGTH + c] = rounded<T>(probability_of(x[c], sums));
    if (lane == 0) losses[row] = loss_of(x, labels[row], sums);
}

extern "C" __global__ void cross_entropy_gradient(
    const T *probabilities, const long long *labels, const float *dloss, T *dx) {
    const long long i = static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x;
    if (i >= static_cast<long long>(ROWS) * LENGTH) return;
    const bool is_label = i % LENGTH == labels[i / LENGTH];
    dx[i] = rounded<T>(slope(number(probabilities[i]), is_label, number(dloss[0])));
}

// Of each image the loss, and the gradient of its logits.
extern "C" __global__ void cross_entropy_with_gradient(
    const T *x, const long long *labels, const float *dloss, T *dx, float *losses) {
    const int lane = threadIdx.x % 32;
    const long long row = static_cast<long long>(blockIdx.x) * WARPS + threadIdx.x / 32;
    if (row >= ROWS) return;
    x += row * LENGTH;
    const long long label = labels[row];
    const float above = number(dloss[0]);
    const Sums sums = sums_of(x, lane);
    for (int c = lane; c < LENGTH; c += 32)
        dx[row * LENGTH + c] = rounded<T>(slope(probability_of(x[c], sums), c == label, above));
    if (lane == 0) losses[row] = loss_of(x, label, sums);
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
