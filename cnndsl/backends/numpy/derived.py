"""Kernels of derived weights."""

from __future__ import annotations

import numpy as np

from cnndsl.graph.types import Type
from cnndsl.ops.derived import (
    ComposeFilters,
    DiagonalFilters,
    EmbedFilters,
    NormalScale,
    NormalShift,
    PassShift,
    ScaleFilters,
    ScaleInputs,
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
    def run(beta: Array, mean: Array, scale: Array, y: Array) -> None:
        np.subtract(beta, mean * scale, out=y)

    return Kernel(run)


def _by_channel(weight: Array, channels: int, groups: int) -> Array:
    """Filters as (groups, filters a group, channels a group, positions)."""
    return weight.reshape(groups, len(weight) // groups, channels // groups, -1)


def scale_inputs(op: ScaleInputs, inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Kernel:
    def run(weight: Array, scale: Array, y: Array) -> None:
        scaled = _by_channel(weight, len(scale), op.groups) * scale.reshape(op.groups, 1, -1, 1)
        np.copyto(y, scaled.reshape(y.shape))

    return Kernel(run)


def pass_shift(op: PassShift, inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Kernel:
    def run(weight: Array, shift: Array, *rest: Array) -> None:
        *bias, y = rest
        sums = _by_channel(weight, len(shift), op.groups).sum(axis=3)
        np.einsum("gfc,gc->gf", sums, shift.reshape(op.groups, -1), out=y.reshape(op.groups, -1))
        if bias:
            np.add(y, bias[0], out=y)

    return Kernel(run)


def compose_filters(
    op: ComposeFilters, inputs: tuple[Type, ...], outputs: tuple[Type, ...]
) -> Kernel:
    def run(second: Array, first: Array, y: Array) -> None:
        np.einsum("om...,mi...->oi...", second, first, out=y, optimize=True)

    return Kernel(run)


def embed_filters(op: EmbedFilters, inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Kernel:
    height, width = inputs[0].features[2:]

    def run(weight: Array, y: Array) -> None:
        y.fill(0)
        y[:, :, op.top : op.top + height, op.left : op.left + width] = weight

    return Kernel(run)


def diagonal_filters(
    op: DiagonalFilters, inputs: tuple[Type, ...], outputs: tuple[Type, ...]
) -> Kernel:
    def run(scale: Array, y: Array) -> None:
        every = np.arange(len(scale))
        y.fill(0)
        y[every, every % y.shape[1], 0, 0] = scale

    return Kernel(run)


KERNELS: Builders = {
    ScaleFilters: scale_filters,
    NormalScale: normal_scale,
    NormalShift: normal_shift,
    ScaleInputs: scale_inputs,
    PassShift: pass_shift,
    ComposeFilters: compose_filters,
    EmbedFilters: embed_filters,
    DiagonalFilters: diagonal_filters,
}
