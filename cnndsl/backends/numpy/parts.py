"""Kernels of weights side by side."""

from __future__ import annotations

import numpy as np

from cnndsl.graph.types import Type
from cnndsl.ops.parts import Join, Take, Widen
from cnndsl.runtime.kernel import Array, Builders, Kernel


def join(op: Join, inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Kernel:
    def run(*arrays: Array) -> None:
        *parts, whole = arrays
        np.concatenate(parts, axis=op.axis, out=whole)

    return Kernel(run)


def take(op: Take, inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Kernel:
    index = op.view(inputs[0])
    return Kernel(lambda x, y: np.copyto(y, x[index]))


def widen(op: Widen, inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Kernel:
    own = inputs[0].features[1]

    def run(x: Array, y: Array) -> None:
        y[:, :own] = x
        y[:, own:] = 0

    return Kernel(run)


KERNELS: Builders = {Join: join, Take: take, Widen: widen}
