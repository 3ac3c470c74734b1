"""Kernels of the graph's own operations: accumulate and ones."""

from __future__ import annotations

from typing import Any

import numpy as np

from cnndsl.graph.leaves import Accumulate, Ones
from cnndsl.graph.types import Type
from cnndsl.runtime.kernel import Builders, Kernel


def accumulate(op: Accumulate, inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Kernel:
    def run(*arrays: Any) -> None:
        *parts, total = arrays
        np.add(parts[0], parts[1], out=total)
        for part in parts[2:]:
            np.add(total, part, out=total)

    return Kernel(run, may_alias=((0, 0),))


def ones(op: Ones, inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Kernel:
    return Kernel(lambda y: y.fill(1))


KERNELS: Builders = {Accumulate: accumulate, Ones: ones}
