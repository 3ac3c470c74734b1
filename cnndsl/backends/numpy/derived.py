"""Kernels of derived weights."""

from __future__ import annotations

import numpy as np

from cnndsl.graph.types import Type
from cnndsl.ops.derived import (
    NormalScale,
    NormalShift,
    ScaleFilters,
)
from cnndsl.runtime.kernel import Array, Builders, Kernel


def scale_filters(op: ScaleFilters, inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Kernel:
    def run(weight: Array, scale: Array, y: Array) -> None:
        np.multiply(weight, scale.reshape(-1, *[1] * (weight.ndim - 1)), out=y)

    return Kernel(run)


def normal_scale(op: NormalScale, inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Kernel:
    def run(gamma: Array, variance: Array, y: Array) -> None:
        np.divide(gamma, np.sqrt(variance + op.epsilon), out=y)

    return Kernel(run)


def normal_shift(op: NormalShift, inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Kernel:
    def run(beta: Array, mean: Array, scale: Array, *rest: Array) -> None:
        y = rest[-1]
        centred = rest[0] - mean if len(rest) == 2 else -mean
        np.add(beta, centred * scale, out=y)

    return Kernel(run)


KERNELS: Builders = {
    ScaleFilters: scale_filters,
    NormalScale: normal_scale,
    NormalShift: normal_shift,
}
