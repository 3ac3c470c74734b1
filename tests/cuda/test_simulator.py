"""The simulator gives what a GPU would, and says what a GPU would not forgive."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from numpy.typing import NDArray

from cnndsl.backends.cuda import simulator

WHY_NOT = simulator.unavailable()
pytestmark = [
    pytest.mark.gate,
    pytest.mark.skipif(WHY_NOT is not None, reason=str(WHY_NOT)),
]

FLOATS = np.random.default_rng(0).standard_normal(1000).astype(np.float32)
ONE = (1, 1, 1)


def kernel(parameters: str, body: str, before: str = "") -> simulator.Kernel:
    """A kernel `f` with these parameters; `t` is the thread's number in a row of threads."""
    head = f'extern "C" __global__ void f({parameters})'
    start = "const int t = threadIdx.x; (void)t;"
    return simulator.compiled(
        f'#include "simulator.h"\n{before}\n{head} {{ {start}\n{body}\n}}', "f"
    )


def fault(
    wrong: simulator.Kernel,
    arguments: list[NDArray[Any] | int],
    *,
    threads: int = 32,
    shared: int = 0,
    seed: int = 0,
) -> str:
    """What the simulator says of a kernel; its arguments are as before, and the process goes on."""
    before = [np.copy(argument) for argument in arguments]
    with pytest.raises(simulator.Fault) as caught:
        simulator.run(wrong, ONE, (threads, 1, 1), shared, arguments, seed)
    for old, new in zip(before, arguments, strict=True):
        np.testing.assert_array_equal(old, new)
    right, ones = kernel("float *y", "y[t] = 1; __syncthreads();"), np.zeros(32, np.float32)
    simulator.run(right, ONE, (32, 1, 1), 0, [ones])
    assert (ones == 1).all()
    return str(caught.value)


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


# What is wrong


def test_a_missing_barrier_changes_the_result_with_the_order_of_threads() -> None:
    body = "__shared__ int kept[64]; kept[t] = t; {} y[t] = kept[63 - t];"
    outcomes: dict[str, set[tuple[int, ...]]] = {}
    for barrier in ("__syncthreads();", ""):
        reverse = kernel("int *y", body.format(barrier))
        outcomes[barrier] = set()
        for seed in range(8):
            y = np.zeros(64, np.int32)
            simulator.run(reverse, ONE, (64, 1, 1), 0, [y], seed)
            outcomes[barrier].add(tuple(y))
    assert outcomes["__syncthreads();"] == {tuple(range(63, -1, -1))}
    assert len(outcomes[""]) == 8


def test_blocks_run_in_an_order_that_the_seed_shuffles() -> None:
    count = kernel("int *next, int *y", "y[blockIdx.x] = atomicAdd(next, 1);")
    orders = set()
    for seed in [0, 1, 2, 3, 3]:
        start, y = np.zeros(1, np.int32), np.zeros(20, np.int32)
        simulator.run(count, (20, 1, 1), ONE, 0, [start, y], seed)
        assert sorted(y) == list(range(20))
        orders.add(tuple(y))
    assert len(orders) == 4


def test_a_barrier_that_threads_miss_is_an_error() -> None:
    body = "if (t < 16) __syncthreads();\nelse __syncthreads_or(0);\ny[t] = 1;"
    said = fault(kernel("float *y", body), [np.zeros(32, np.float32)])
    assert re.search(r"kernel f, block 0,0,0, thread \d+,0,0: waits at the barrier in line", said)
    assert "others at the one in line" in said


def test_threads_that_wait_for_each_other_are_a_deadlock() -> None:
    body = "if (t < 16) __syncthreads();\nelse __syncwarp();\ny[t] = 1;"
    said = fault(kernel("float *y", body), [np.zeros(32, np.float32)])
    assert said == (
        "kernel f, block 0,0,0, thread 0,0,0: waits for ever: thread 0,0,0 waits at the barrier "
        "in line 4, thread 16,0,0 waits in the warp operation in line 5 with the mask 0xffffffff"
    )


@pytest.mark.parametrize("seed", range(4))
def test_a_barrier_after_threads_have_ended_is_an_error(seed: int) -> None:
    body = "if (t == 7) return;\n__syncthreads();\ny[t] = 1;"
    said = fault(kernel("float *y", body), [np.zeros(32, np.float32)], seed=seed)
    waits, ends = "waits at the barrier in line 5", "thread 7,0,0"
    assert waits in said
    assert ends in said


@pytest.mark.parametrize(
    ("operation", "words"),
    [
        ("__syncwarp(2)", "lane [02-9]+ is not in its own mask 0x00000002"),
        ("if (t) __syncwarp()", "mask 0xffffffff, .*thread 0,0,0 has ended"),
        ("__syncwarp(t < 9 ? 0x1ff : ~0u)", "mask 0xffffffff, but thread [0-8],0,0 has ended"),
        ("if (t < 9) __shfl_sync(~0u, t, 0); else __any_sync(~0u, 1)", "waits for ever"),
        ("y[t] = __shfl_sync(~0u, y[t], 0, 12)", "width 12"),
    ],
)
def test_a_wrong_mask_is_an_error(operation: str, words: str) -> None:
    said = fault(kernel("float *y", f"{operation};"), [np.zeros(32, np.float32)])
    assert re.search(words, said), said


def test_a_shuffle_from_outside_of_its_mask_gives_nan() -> None:
    y = np.zeros(16, np.float32)
    shift = kernel("float *y", "y[t] = __shfl_down_sync(0xffff, 1.0f, 8);")
    simulator.run(shift, ONE, (16, 1, 1), 0, [y])
    np.testing.assert_array_equal(y, [1] * 8 + [np.nan] * 8)


@pytest.mark.parametrize("size", [32, 31])
def test_an_access_behind_an_argument_is_found(size: int) -> None:
    arguments: list[NDArray[Any] | int] = [np.ones(3, np.float32), np.ones(size, np.float32)]
    copy = kernel("float *x, float *y", "y[t + 1] = 2;")
    said = fault(copy, arguments, threads=size)
    words = (
        f"writes byte {4 * size} of argument 1, which has {4 * size} bytes: 1 byte behind its end"
    )
    assert said.endswith(words)
    assert f"thread {size - 1},0,0" in said
    assert fault(copy, arguments, threads=size, seed=1).endswith(words)


def test_an_access_before_an_argument_is_found() -> None:
    arguments: list[NDArray[Any] | int] = [np.ones(31, np.float32)]
    words = "byte -4 of argument 0, which has 124 bytes: 4 bytes before its start"
    shift = kernel("int *y", "y[t - 1] = 2;")
    for seed in range(4):
        said = fault(shift, arguments, seed=seed, threads=31)
        assert "thread 0,0,0: writes byte -" in said
    assert words in said
    read = kernel("float *y", "y[t] = y[t - 1];")
    assert f"thread 0,0,0: reads {words}" in fault(read, arguments, seed=1, threads=31)


def test_a_read_around_an_argument_gives_nan_where_it_is_not_found() -> None:
    y = np.zeros(2, np.float32)
    simulator.run(kernel("const float *x, float *y", "y[0] = x[-1];"), ONE, ONE, 0, [FLOATS, y], 0)
    simulator.run(
        kernel("const float *x, float *y", "y[1] = x[n];".replace("n", "999")),
        ONE,
        ONE,
        0,
        [FLOATS[:999], y],
        1,
    )
    assert np.isnan(y).all()


def test_an_address_far_from_every_argument_is_found() -> None:
    said = fault(kernel("float *y", "*(volatile float *)(4ll * t) = y[t];"), [FLOATS[:32].copy()])
    assert said.endswith("no argument is near")


def test_a_write_far_before_an_argument_names_its_block() -> None:
    said = fault(kernel("float *y", "y[-500] = 1;"), [np.zeros(32, np.float32)])
    assert "block 0,0,0: writes byte -1997 of argument 0" in said


def test_the_argument_with_the_nearest_end_is_named_where_arguments_overlap() -> None:
    memory = np.zeros(64, np.float32)
    wrong = kernel("float *x, float *y", "y[t] = x[t + 64];")
    assert "byte 128 of argument 1" in fault(wrong, [memory[:40], memory[32:]], threads=1)


def test_a_write_behind_dynamic_shared_memory_is_found() -> None:
    wrong = kernel("float *y", "DYNAMIC_SHARED(float, kept);\nkept[t] = y[t];\ny[t] = kept[t];")
    said = fault(wrong, [np.zeros(32, np.float32)], threads=26, shared=100)
    assert "byte 100 of the dynamic shared memory, which has 100 bytes: 1 byte behind" in said


@pytest.mark.parametrize(
    ("parameters", "body"),
    [
        ("uint4 *y", "y[0] = *(const uint4 *)((const int *)y + 1);"),
        ("uint4 *y", "y[1] = __ldg((const uint4 *)((const int *)y + 1));"),
        ("float *y", "reinterpret_cast<float2 *>(y + 1)->x = 1;"),
        ("float *y", "__shared__ float kept[31]; kept[t] = y[t]; __syncthreads(); y[t] = kept[0];"),
        ("float *y", "__shared__ float kept[8][33]; kept[2][t + 2] = y[t]; __syncthreads();"),
    ],
)
def test_misaligned_accesses_and_wrong_indices_are_found(parameters: str, body: str) -> None:
    said = fault(kernel(parameters, body), [np.zeros(32, np.float32)])
    assert said.endswith("misaligned access or an index outside an array")


def test_shared_memory_that_nobody_has_written_is_nan_in_every_block() -> None:
    body = """
    __shared__ float fixed[32];
    DYNAMIC_SHARED(float, dynamic);
    float *here = y + 64 * blockIdx.x;
    here[t] = fixed[t], here[32 + t] = dynamic[t];
    __syncthreads();
    if (n) fixed[t] = dynamic[t] = 1;
    """
    y = np.zeros(3 * 64, np.float32)
    simulator.run(kernel("float *y, long long n", body), (3, 1, 1), (32, 1, 1), 128, [y, 1])
    assert np.isnan(y).all()
    body = "__shared__ float never[32]; y[t] = never[t]; y[t + 1] = also<32>(t);"
    template = "template <int N> float also(int t) { __shared__ float never[N]; return never[t]; }"
    y = np.zeros(2, np.float32)
    simulator.run(kernel("float *y", body, template), ONE, ONE, 0, [y])
    assert np.isnan(y).all()


def test_a_division_by_zero_and_too_large_a_stack_are_found() -> None:
    y = np.zeros(32, np.int32)
    assert "thread 0,0,0: divides" in fault(kernel("int *y", "y[t] = 100 / t;"), [y])
    body = "volatile int much[20000]; much[y[t]] = t; y[t] = much[t] + much[19999 - t];"
    assert "65536 bytes for its local variables" in fault(kernel("int *y", body), [y])


def test_signals_are_as_before_after_a_fault() -> None:
    heard: list[int] = []
    former = signal.signal(signal.SIGFPE, lambda number, _: heard.append(number))
    try:
        fault(kernel("int *y", "y[t] = 100 / t;"), [np.zeros(32, np.int32)])
        assert not heard
        os.kill(os.getpid(), signal.SIGFPE)
        assert heard == [signal.SIGFPE]
    finally:
        signal.signal(signal.SIGFPE, former)


def test_a_launch_that_no_device_allows_is_an_error() -> None:
    nothing = kernel("", "")
    for grid, block, shared in [
        (ONE, (1025, 1, 1), 0),
        (ONE, (1, 1, 65), 0),
        (ONE, (0, 1, 1), 0),
        ((1, 65536, 1), ONE, 0),
        (ONE, ONE, 227 * 1024 + 1),
    ]:
        with pytest.raises(simulator.Fault, match=r"cannot be launched|more than"):
            simulator.run(nothing, grid, block, shared, [])
    with pytest.raises(simulator.Fault, match="25 arguments"):
        simulator.run(nothing, ONE, ONE, 0, [0] * 25)


def test_a_read_only_array_is_never_written() -> None:
    constant = np.zeros(32, np.float32)
    constant.flags.writeable = False
    said = fault(kernel("float *y", "y[t] = t;"), [constant])
    assert said == "kernel f: writes argument 0, which is read-only"


# Texts


def test_a_text_that_does_not_compile_is_refused_with_its_line() -> None:
    with pytest.raises(ValueError, match=r"^line 4:\d+: error: .*nowhere"):
        kernel("float *y", "y[t] = nowhere;")
    with pytest.raises(ValueError, match="no kernel missing"):
        simulator.compiled('#include "simulator.h"\n__device__ void missing() {}', "missing")


def test_a_text_is_compiled_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CNNDSL_CACHE", str(tmp_path))
    text = '#include "simulator.h"\nextern "C" __global__ void one(int *y) { *y = 1; }'
    simulator.compiled(text, "one")
    (made,) = (tmp_path / "simulator").iterdir()
    before = made.stat().st_mtime_ns
    simulator.compiled.cache_clear()
    simulator.compiled(text, "one")
    assert [made] == list((tmp_path / "simulator").iterdir())
    assert made.stat().st_mtime_ns == before
    assert os.access(made, os.R_OK)
