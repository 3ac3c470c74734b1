"""The simulator gives what a GPU would."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest
from numpy.typing import NDArray
from texts import FLOATS, ONE, WHY_NOT, fault, kernel

from cnndsl.backends.cuda import simulator
from cnndsl.backends.cuda.launch import Addresses

pytestmark = [
    pytest.mark.gate,
    pytest.mark.skipif(WHY_NOT is not None, reason=str(WHY_NOT)),
]


TOTAL = """
__device__ __forceinline__ float total(float value) {
    for (int distance = 16; distance; distance /= 2)
        value += __shfl_xor_sync(0xffffffffu, value, distance);
    return value;
}"""
REDUCTION = """
__shared__ float parts[32];
float value = 0;
for (long long i = t; i < n; i += blockDim.x) value += x[i];
value = total(value);
if (t % 32 == 0) parts[t / 32] = value;
__syncthreads();
if (t < 32) {
    value = total(t < blockDim.x / 32 ? parts[t] : 0);
    if (t == 0) y[blockIdx.x] = value;
}"""


# What is right


@pytest.mark.parametrize("threads", [32, 96, 256, 1024])
def test_a_reduction_with_shuffles_and_shared_memory_is_right(threads: int) -> None:
    reduce = kernel("const float *__restrict__ x, float *y, long long n", REDUCTION, TOTAL)
    results = []
    for seed in range(4):
        y = np.zeros(5, np.float32)
        simulator.run(reduce, (5, 1, 1), (threads, 1, 1), 0, [FLOATS, y, FLOATS.size], seed)
        np.testing.assert_allclose(y, FLOATS.sum(dtype=np.float64), rtol=1e-5)
        results.append(y)
    assert all((y == results[0]).all() for y in results)


def test_shuffles_keep_to_groups_of_their_width() -> None:
    body = """
    y[t] = __shfl_sync(~0u, t, 3, 8);
    y[32 + t] = __shfl_up_sync(~0u, t, 2, 8);
    y[64 + t] = __shfl_down_sync(~0u, t, 2, 8);
    y[96 + t] = __shfl_xor_sync(~0u, t, 9, 8);
    y[128 + t] = __shfl_sync(~0u, t * 10000000000ll, t + 1) / 10000000000ll;
    """
    y = np.zeros((5, 32), np.int32)
    simulator.run(kernel("int *y", body), ONE, (32, 1, 1), 0, [y])
    lane = np.arange(32)
    np.testing.assert_array_equal(y[0], lane // 8 * 8 + 3)
    np.testing.assert_array_equal(y[1], np.where(lane % 8 < 2, lane, lane - 2))
    np.testing.assert_array_equal(y[2], np.where(lane % 8 > 5, lane, lane + 2))
    # Of a later group a lane gets nothing, of an earlier one what it asks for.
    np.testing.assert_array_equal(y[3], np.where((lane ^ 9) // 8 > lane // 8, lane, lane ^ 9))
    np.testing.assert_array_equal(y[4], (lane + 1) % 32)


def test_votes_count_the_lanes_of_their_mask() -> None:
    body = """
    y[t] = __ballot_sync(~0u, t % 3 == 0);
    y[48 + t] = __any_sync(~0u, t == 40) + 2 * __all_sync(~0u, t < 40);
    y[48 + t] += 4 * __any_sync(~0u, t < 50);
    unsigned half = t % 32 < 16 ? 0x0000ffffu : 0xffff0000u;
    y[96 + t] = __ballot_sync(half, 1);
    y[144 + t] = __activemask();
    __syncwarp();
    """
    y = np.zeros((4, 48), np.uint32)
    simulator.run(kernel("unsigned *y", body), ONE, (48, 1, 1), 0, [y], 3)
    ballots = [sum(1 << i for i in range(32) if (base + i) % 3 == 0) for base in (0, 32)]
    assert y[0].tolist() == [ballots[0]] * 32 + [ballots[1] & 0xFFFF] * 16
    assert y[1].tolist() == [6] * 32 + [5] * 16
    assert y[2].tolist() == [0xFFFF] * 16 + [0xFFFF0000] * 16 + [0xFFFF] * 16
    assert y[3].tolist() == [0xFFFFFFFF] * 32 + [0xFFFF] * 16


def test_barriers_count_threads() -> None:
    body = """
    y[t] = __syncthreads_count(t % 2) + 1000 * __syncthreads_or(t == 99)
         + 2000 * __syncthreads_or(t == 100) + 4000 * __syncthreads_and(t < 100)
         + 8000 * __syncthreads_and(t < 99);
    """
    y = np.zeros(100, np.int32)
    simulator.run(kernel("int *y", body), ONE, (100, 1, 1), 0, [y])
    assert (y == 50 + 1000 + 4000).all()


@pytest.mark.parametrize(
    ("narrow", "to_float", "to_narrow", "dtype"),
    [
        ("__nv_bfloat16", "__bfloat162float", "__float2bfloat16", ml_dtypes.bfloat16),
        ("__half", "__half2float", "__float2half", np.float16),
    ],
)
def test_every_number_of_16_bits_becomes_a_float_and_back(
    narrow: str, to_float: str, to_narrow: str, dtype: Any
) -> None:
    body = f"""
    long long i = blockIdx.x * 256 + t;
    wide[i] = {to_float}(x[i]);
    again[i] = {to_narrow}(static_cast<float>(x[i]));
    """
    convert = kernel(f"const {narrow} *x, float *wide, {narrow} *again", body)
    x = np.arange(65536, dtype=np.uint16).view(dtype)
    wide, again = np.zeros(65536, np.float32), np.zeros_like(x)
    simulator.run(convert, (256, 1, 1), (256, 1, 1), 0, [x, wide, again])
    np.testing.assert_array_equal(wide, x.astype(np.float32))
    np.testing.assert_array_equal(np.signbit(wide), np.arange(65536) >= 32768)
    number = ~np.isnan(wide)
    np.testing.assert_array_equal(again.view(np.uint16)[number], x.view(np.uint16)[number])
    assert np.isnan(again[~number].astype(np.float32)).all()


@pytest.mark.parametrize(
    ("narrow", "to_narrow", "dtype"),
    [
        ("__nv_bfloat16", "__float2bfloat16", ml_dtypes.bfloat16),
        ("__half", "__float2half", np.float16),
    ],
)
def test_floats_are_rounded_to_the_nearest_even(narrow: str, to_narrow: str, dtype: Any) -> None:
    random = np.random.default_rng(1)
    patterns = random.integers(0, 1 << 32, 100_000, np.uint32).view(np.float32)
    # Where the steps of halves change, and around the middles between neighbours.
    near = np.exp2(random.uniform(-27, 17, 100_000)).astype(np.float32)
    middles = (np.arange(65536, dtype=np.uint32) << 16 | 0x8000).view(np.float32)
    halves = np.arange(31743, dtype=np.uint16).view(np.float16).astype(np.float32)
    between = ((halves[1:] + halves[:-1]) / 2).astype(np.float32)
    special = np.array(
        [0, -0.0, np.inf, -np.inf, np.nan, 1e-45, 65504, 65519.99, 65520], np.float32
    )
    x = np.concatenate([patterns, near, middles, between, np.nextafter(between, np.inf), special])
    y, also = np.zeros(x.size, dtype), np.zeros(x.size, dtype)
    body = f"""
    for (long long i = blockIdx.x * 256 + t; i < n; i += gridDim.x * 256) {{
        y[i] = {to_narrow}(x[i]);
        also[i] = {narrow}(x[i]);
    }}"""
    convert = kernel(f"const float *x, {narrow} *y, {narrow} *also, long long n", body)
    simulator.run(convert, (4, 1, 1), (256, 1, 1), 0, [x, y, also, x.size])
    with np.errstate(over="ignore", invalid="ignore"):
        expected = x.astype(dtype)
    number = ~np.isnan(x)
    bits = expected.view(np.uint16)[number]
    np.testing.assert_array_equal(y.view(np.uint16)[number], bits)
    np.testing.assert_array_equal(also.view(np.uint16), y.view(np.uint16))
    assert np.isnan(y[~number].astype(np.float32)).all()


def test_pairs_of_16_bits_are_made_and_taken_apart() -> None:
    body = """
    float2 v = __bfloat1622float2(__floats2bfloat162_rn(1, 2));
    y[0] = v.x, y[1] = v.y;
    __half2 h = __float22half2_rn(make_float2(3, 4));
    y[2] = __low2float(h), y[3] = __half2float(__high2half(h));
    __nv_bfloat162 b = __halves2bfloat162(__float2bfloat16(5), __ushort_as_bfloat16(0x40C0));
    y[4] = __low2bfloat16(b), y[5] = __high2float(b);
    y[6] = __float2half(2049) * __float2half(3) + __float2half(0.5f);
    y[7] = sizeof b + sizeof h + alignof(__half2);
    """
    y = np.zeros(8, np.float32)
    simulator.run(kernel("float *y", body), ONE, ONE, 0, [y])
    assert y.tolist() == [1, 2, 3, 4, 5, 6, 6144, 12]


def test_dynamic_shared_memory_holds_what_is_asked_for() -> None:
    body = """
    DYNAMIC_SHARED(int, kept);
    kept[t] = t;
    __syncthreads();
    y[t] = kept[n - 1 - t];
    """
    y = np.zeros(100, np.int32)
    simulator.run(kernel("int *y, long long n", body), ONE, (100, 1, 1), 400, [y, 100])
    np.testing.assert_array_equal(y, np.arange(100)[::-1])


def test_every_instance_of_a_template_has_shared_memory_of_its_own() -> None:
    turned = """
    template <int N, int FACTOR> __device__ int turned(int t) {
        __shared__ alignas(16) int kept[N];
        kept[t] = FACTOR * t;
        __syncthreads();
        return kept[N - 1 - t];
    }"""
    y = np.zeros(32, np.int32)
    body = "__shared__ int own[32]; own[t] = 0; y[t] = turned<32, 1>(t) + turned<32, 50>(t);"
    simulator.run(kernel("int *y", body + " y[t] += own[0];", turned), ONE, (32, 1, 1), 0, [y])
    np.testing.assert_array_equal(y, 51 * np.arange(32)[::-1])


def test_vectors_are_loaded_and_stored_whole() -> None:
    body = """
    const float4 v = __ldg(reinterpret_cast<const float4 *>(x) + t);
    reinterpret_cast<float2 *>(y)[t] = make_float2(v.x + v.y, v.z + v.w);
    """
    x, y = np.arange(128, dtype=np.float32), np.zeros(64, np.float32)
    simulator.run(kernel("const float *x, float *y", body), ONE, (32, 1, 1), 0, [x, y])
    np.testing.assert_array_equal(y, x.reshape(64, 2).sum(1))


def test_atomic_operations_miss_nothing() -> None:
    body = """
    int number = blockIdx.x * blockDim.x + t;
    atomicAdd(sums, 1.0f);
    atomicAdd(reinterpret_cast<int *>(words), -number);
    atomicAdd(words + 1, number);
    atomicMax(words + 2, number);
    atomicMin(reinterpret_cast<int *>(words + 3), 5 - number);
    atomicAdd(reinterpret_cast<unsigned long long *>(words + 4), 1ull << 32);
    if (atomicCAS(words + 6, 0, 7) == 0) atomicAdd(words + 7, 1);
    if (atomicExch(words + 8, 1) == 0) atomicAdd(words + 7, 1);
    """
    sums, words = np.zeros(1, np.float32), np.zeros(10, np.uint32)
    simulator.run(
        kernel("float *sums, unsigned *words", body), (3, 1, 1), (40, 1, 1), 0, [sums, words]
    )
    total = 119 * 120 // 2
    assert sums[0] == 120
    assert words.view(np.int32).tolist() == [-total, total, 119, -114, 0, 120, 7, 2, 1, 0]


def test_grids_and_blocks_have_three_dimensions() -> None:
    body = """
    long long b = (blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
    long long i = (threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x;
    y[b * blockDim.x * blockDim.y * blockDim.z + i] += 1 + 100 * blockIdx.z + 10 * threadIdx.y;
    """
    y = np.zeros((4, 3, 2, 5, 6, 7), np.int32)
    simulator.run(kernel("int *y", body), (2, 3, 4), (7, 6, 5), 0, [y], 1)
    expected = 1 + 100 * np.arange(4).reshape(4, 1, 1, 1, 1, 1) + 10 * np.arange(6).reshape(6, 1)
    np.testing.assert_array_equal(y, np.broadcast_to(expected, y.shape))


def test_functions_are_as_in_cuda() -> None:
    body = """
    unsigned *bits = reinterpret_cast<unsigned *>(y + 8);
    y[0] = rsqrtf(4), y[1] = __fdividef(1, 4), y[2] = fmaf(2, 3, 4), y[3] = fmaxf(NAN_, 1);
    y[4] = min(2.0f, max(1.0f, 3.0f)), y[5] = isnan(NAN_), y[6] = __logf(__expf(0));
    y[7] = erff(9) + tanhf(0) + expf(0);
    bits[0] = __umulhi(0x80000000u, 6), bits[1] = __popc(0xF0F), bits[2] = __clz(1);
    bits[3] = __clz(0), bits[4] = __ffs(8), bits[5] = __float_as_uint(1);
    bits[6] = min(t, 5), bits[7] = warpSize;
    """
    y = np.zeros(16, np.float32)
    functions = kernel("float *y", body, "#define NAN_ __uint_as_float(0x7fc00000)")
    simulator.run(functions, ONE, ONE, 0, [y])
    assert y[:8].tolist() == [0.5, 0.25, 10, 1, 2, 1, 0, 2]
    assert y[8:].view(np.uint32).tolist() == [3, 8, 31, 32, 4, 0x3F800000, 0, 32]


def test_arguments_that_overlap_are_the_same_memory() -> None:
    body = "float kept = x[t]; __syncthreads(); y[t] = 10 * kept; __syncthreads(); z[t] += 1;"
    parameters = "const float *x, float *y, float *z"
    memory = np.arange(40, dtype=np.float32)
    arguments: list[NDArray[Any] | int] = [memory[:32], memory[8:], memory[8:]]
    simulator.run(kernel(parameters, body), ONE, (32, 1, 1), 0, arguments)
    np.testing.assert_array_equal(memory, [*range(8), *(10 * i + 1 for i in range(32))])


@pytest.mark.parametrize("seed", range(2))
def test_addresses_lead_to_the_arrays_that_they_are_of(seed: int) -> None:
    body = """
    const float *from = (const float *)table[2 * blockIdx.x];
    float *to = (float *)table[2 * blockIdx.x + 1];
    if (to) to[t] = 10 * from[t] + (scale == from);
    """
    spread = kernel("const long long *table, const float *scale", body)
    memory, other = np.arange(100, dtype=np.float32), np.ones(32, np.float32)
    table = Addresses((memory[:32], memory[40:72], other, None, other, other))
    simulator.run(spread, (3, 1, 1), (32, 1, 1), 0, [table, other], seed)
    np.testing.assert_array_equal(memory[40:72], 10 * np.arange(32))
    np.testing.assert_array_equal(memory[72:], np.arange(72, 100))
    assert (other == 11).all()


def test_a_view_is_the_memory_between_its_first_and_last_element() -> None:
    memory = np.zeros((4, 10), np.float32)
    double = kernel("float *y, long long step", "y[t * step] = t + 1;")
    simulator.run(double, ONE, (4, 1, 1), 0, [memory[:, 3], 10])
    np.testing.assert_array_equal(memory[:, 3], [1, 2, 3, 4])
    assert memory.sum() == 10
    assert "byte 124 of argument 0" in fault(double, [memory[:, 3], 31], threads=2)
    with pytest.raises(ValueError, match="first element"):
        simulator.run(double, ONE, (4, 1, 1), 0, [memory[::-1, 3], 1])


def test_an_array_may_be_empty_and_all_arguments_may_be_used() -> None:
    parameters = ", ".join(f"long long a{i}" for i in range(22))
    total = " + ".join(f"a{i} * {i + 1}" for i in range(22))
    add = kernel(f"const float *empty, long long *y, {parameters}", f"y[t] = {total};")
    y = np.zeros(32, np.int64)
    numbers = [(-1) ** i * 10**i % 2**62 for i in range(22)]
    simulator.run(add, ONE, (32, 1, 1), 0, [np.zeros(0, np.float32), y, *numbers])
    expected = sum(number * (i + 1) for i, number in enumerate(numbers))
    assert (y == (expected + 2**63) % 2**64 - 2**63).all()
