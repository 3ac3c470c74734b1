// A matrix product, D[m][n] = sum over k of left(m, k) * right(k, n), whose operands are computed
// from arrays element by element: convolutions of all kinds. The compiler defines
//   T, ROWS, COLUMNS, INNER          element type of the operands; the extents of m, n and k
//   Index                            an integer that counts the elements of any operand
//   PARAMETERS                       pointers to the operands and to the result
//   LEFT, RIGHT                      expressions of T for (m, k) and (k, n) of group blockIdx.z
//   STORE                            what becomes of `v`, the sum at (m, n)
constexpr int TILE = 64, DEPTH = 16, PITCH = DEPTH + 8;

#ifdef TENSOR_CORES
// One product of 16x16 and 16x8 by a warp; a thread's numbers are where the instruction wants them.
__device__ __forceinline__ void multiply(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
#ifdef CNNDSL_SIMULATED
    const int lane = threadIdx.x % 32, row = lane / 4, column = lane % 4 * 2;
    for (int part = 0; part < 2; part++)
        for (int pair = 0; pair < 4; pair++)
            for (int half = 0; half < 2; half++) {
                // k = part * 8 + pair * 2 + half, which lane `pair` of a row or column has
                unsigned of_row[2], of_column[2];
                for (int low = 0; low < 2; low++) {
                    of_row[low] = __shfl_sync(0xffffffffu, a[2 * part + low], row * 4 + pair);
                    of_column[low] = __shfl_sync(0xffffffffu, b[part], (column + low) * 4 + pair);
                }
                for (int i = 0; i < 4; i++) {
                    const T *x = reinterpret_cast<const T *>(&of_row[i / 2]);
                    const T *y = reinterpret_cast<const T *>(&of_column[i % 2]);
                    d[i] += number(x[half]) * number(y[half]);
                }
            }
#else
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32." TENSOR_CORES "." TENSOR_CORES ".f32 "
                 "{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#endif
}
#endif

// A warp has 32x32 of a block's 64x64: a thread 2x4 squares of 16x8, of each the sums at rows
// `row` and `row + 8`, columns `column` and `column + 1`.
extern "C" __global__ void __launch_bounds__(128, 3) gemm(PARAMETERS) {
    __shared__ alignas(16) T lefts[TILE][PITCH];
    __shared__ alignas(16) T rights[TILE][PITCH];
    const Index first = static_cast<Index>(blockIdx.x) * TILE;
    const Index begin = static_cast<Index>(blockIdx.y) * TILE;
    const int group = blockIdx.z, warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const int row = warp / 2 * 32 + lane / 4, column = warp % 2 * 32 + lane % 4 * 2;
    float sum[2][4][4] = {};
    for (Index deep = 0; deep < INNER; deep += DEPTH) {
        for (int i = threadIdx.x; i < TILE * DEPTH; i += 128) {
            const Index k = deep + i % DEPTH, m = first + i / DEPTH, n = begin + i / DEPTH;
            const T zero = rounded<T>(0.0f);
            lefts[i / DEPTH][i % DEPTH] = m < ROWS && k < INNER ? LEFT : zero;
            rights[i / DEPTH][i % DEPTH] = n < COLUMNS && k < INNER ? RIGHT : zero;
        }
        __syncthreads();
#ifdef TENSOR_CORES
#pragma unroll
        for (int i = 0; i < 2; i++)
#pragma unroll
            for (int j = 0; j < 4; j++) {
                const int down = row + 16 * i, across = warp % 2 * 32 + 8 * j;
                const int deepest = lane % 4 * 2;
                unsigned a[4], b[2];
#pragma unroll
                for (int part = 0; part < 4; part++)
                    a[part] = *reinterpret_cast<const unsigned *>(
                        &lefts[down + part % 2 * 8][deepest + part / 2 * 8]);
#pragma unroll
                for (int part = 0; part < 2; part++)
                    b[part] = *reinterpret_cast<const unsigned *>(
                        &rights[across + lane / 4][deepest + part * 8]);
                multiply(sum[i][j], a, b);
            }
#else
#pragma unroll 2
        for (int k = 0; k < DEPTH; k++) {
            float left[4], right[8];
#pragma unroll
            for (int i = 0; i < 4; i++) left[i] = number(lefts[row + 8 * i][k]);
#pragma unroll
            for (int j = 0; j < 8; j++) right[j] = number(rights[column + j / 2 * 8 + j % 2][k]);
#pragma unroll
            for (int i = 0; i < 4; i++)
#pragma unroll
                for (int j = 0; j < 8; j++)
                    sum[i / 2][j / 2][i % 2 * 2 + j % 2] += left[i] * right[j];
        }
#endif
        __syncthreads();
    }
#pragma unroll
    for (int i = 0; i < 2; i++)
#pragma unroll
        for (int j = 0; j < 4; j++)
#pragma unroll
            for (int place = 0; place < 4; place++) {
                const Index m = first + row + 16 * i + place / 2 * 8;
                const Index n = begin + column + 8 * j + place % 2;
                float v = sum[i][j][place];
                if (m < ROWS && n < COLUMNS) { STORE }
            }
}
