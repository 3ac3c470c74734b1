"""What tests of the simulator share: kernels from a few lines, and what is said of wrong ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from cnndsl.backends.cuda import simulator

WHY_NOT = simulator.unavailable()
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
