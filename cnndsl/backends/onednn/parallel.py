"""What NumPy does here, on as many threads as the library has."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial

from cnndsl.backends.numpy.cast import rounding
from cnndsl.backends.onednn.library import threads
from cnndsl.runtime.kernel import Array

#: A part is worth a thread from this many elements on.
WORTH_A_THREAD = 1 << 16


def parts_of(count: int) -> int:
    """In how many parts so many elements are worked on."""
    return max(1, min(threads(), count // WORTH_A_THREAD))


def together(calls: Sequence[Callable[[], None]]) -> Callable[[], None]:
    """What executes calls at the same time, each on a thread, and returns when all have."""
    first, *others = calls
    if not others:
        return first
    pool = _pool(len(others))

    def run() -> None:
        waiting = [pool.submit(call) for call in others]
        first()
        for each in waiting:
            each.result()

    return run


def copying(target: Array, source: Array) -> Callable[[], None]:
    """What copies an array to another, which may be of another element type."""
    many = parts_of(target.size) if target.flags.c_contiguous and source.flags.c_contiguous else 1
    if many == 1:
        return partial(rounding, target, source)
    there, here = target.reshape(-1), source.reshape(-1)
    length = math.ceil(target.size / many)
    pieces = [slice(first, first + length) for first in range(0, target.size, length)]
    return together([partial(rounding, there[piece], here[piece]) for piece in pieces])


@cache
def _pool(count: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(count, "cnndsl-numpy")
