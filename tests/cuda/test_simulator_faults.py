"""The simulator says what a GPU would not forgive, and goes on."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path
from typing import Any

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


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("to[t + 1] = 1;", "writes byte 128 of array 1 of argument 0, which has 128 bytes"),
        ("if (t == 31) to[t + 40] = 1;", "writes byte 28. of array 1 of argument 0"),
        ("to[t] = to[t + 10];", r"reads byte 1\d\d of array 1 of argument 0"),
        ("to[t - 1] = 1;", "writes byte -. of array 1 of argument 0"),
    ],
)
def test_an_access_outside_of_an_array_in_a_table_is_found(body: str, words: str) -> None:
    wrong = kernel("const long long *table", f"float *to = (float *)table[1]; {body}")
    x = np.zeros(32, np.float32)
    table = Addresses((np.ones(3, np.float32), x))
    with pytest.raises(simulator.Fault, match=f"block 0,0,0.*: {words}"):
        simulator.run(wrong, ONE, (32, 1, 1), 0, [table])
    assert not x.any()


def test_a_read_only_array_in_a_table_is_never_written() -> None:
    constant = np.zeros(32, np.float32)
    constant.flags.writeable = False
    wrong = kernel("const long long *table", "((float *)table[0])[t] = t;")
    with pytest.raises(simulator.Fault, match="writes array 0 of argument 0, which is read-only"):
        simulator.run(wrong, ONE, (32, 1, 1), 0, [Addresses((constant,))])
    assert not constant.any()


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
