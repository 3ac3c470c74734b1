"""What the machine can do at best: `python benchmarks/cpu_peaks.py` prints it as JSON."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from threadpoolctl import threadpool_limits

#: Rows of the matrices, and bytes of the array that is copied: far more than caches hold.
ROWS, COPIED = 3072, 512 * 2**20


def shortest(call: Callable[[], object], repeats: int) -> float:
    """The shortest time of a call in seconds, after one that does not count."""
    call()
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        call()
        times.append(time.perf_counter() - began)
    return min(times)


def multiply_adds(threads: int, repeats: int = 7) -> float:
    """Multiply-adds a second of a large product of float32 matrices, by the BLAS of NumPy.

    The cores' own peak is a few percent above it.
    """
    numbers = np.random.default_rng(0)
    first, second = (numbers.standard_normal((ROWS, ROWS), np.float32) for _ in range(2))
    result = np.empty_like(first)
    with threadpool_limits(threads, user_api="blas"):
        return ROWS**3 / shortest(lambda: np.matmul(first, second, out=result), repeats)


def bandwidth(threads: int, repeats: int = 7) -> float:
    """Bytes a second, read and written together, of copying a large array with all threads."""
    source, target = np.ones(COPIED // 4, np.float32), np.zeros(COPIED // 4, np.float32)
    parts = list(zip(np.array_split(target, threads), np.array_split(source, threads), strict=True))
    with ThreadPoolExecutor(threads) as pool:
        return (
            2
            * COPIED
            / shortest(lambda: list(pool.map(lambda part: np.copyto(*part), parts)), repeats)
        )


def main() -> None:
    threads = os.cpu_count() or 1
    print(
        json.dumps(
            {
                "threads": threads,
                "multiply_adds_per_second": multiply_adds(threads),
                "bytes_per_second": bandwidth(threads),
            }
        )
    )


if __name__ == "__main__":
    main()
