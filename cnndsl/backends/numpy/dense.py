"""Kernels of fully connected layers. A map is read in the order channel, row, column."""

from __future__ import annotations

import numpy as np

from cnndsl.backends.numpy.conv import with_bias
from cnndsl.backends.numpy.finish import Finish
from cnndsl.graph.types import Type
from cnndsl.ops.dense import (
    FullyConnected,
    FullyConnectedInputGradient,
    FullyConnectedWeightGradient,
)
from cnndsl.runtime.kernel import Array, Builders, Kernel


def flattened(x: Array) -> Array:
    """A map (N, H, W, C) as (N, C·H·W); a vector as it is. A copy unless the map is 1x1."""
    if x.ndim == 4:
        return x.transpose(0, 3, 1, 2).reshape(len(x), -1)
    return x


def matrix(weight: Array) -> Array:
    """Weights as (features, inputs); filters in the order of `flattened`."""
    return weight.reshape(len(weight), -1)


def unflatten(flat: Array, x: Array) -> None:
    """The inverse of `flattened`, into `x`."""
    if x.ndim == 4:
        n, height, width, channels = x.shape
        x[...] = flat.reshape(n, channels, height, width).transpose(0, 2, 3, 1)
    else:
        x[...] = flat


def fully_connected(
    op: FullyConnected,
    inputs: tuple[Type, ...],
    outputs: tuple[Type, ...],
    finish: Finish | None = None,
) -> Kernel:
    finish = finish or Finish(outputs[0])

    def run(x: Array, weight: Array, *rest: Array) -> None:
        more = rest[: len(inputs) - 2 + finish.adds]
        y, scratch = rest[len(more)], rest[-1]
        np.matmul(flattened(x), matrix(weight).T, out=y)
        bias = finish.along(more[0]) if len(inputs) == 3 else None
        finish(y, bias, more[-1] if finish.adds else None, scratch)

    return Kernel(run, workspace=finish.workspace)


def input_gradient(
    op: FullyConnectedInputGradient, inputs: tuple[Type, ...], outputs: tuple[Type, ...]
) -> Kernel:
    def run(weight: Array, dy: Array, dx: Array) -> None:
        if dx.ndim == 2:
            np.matmul(dy, matrix(weight), out=dx)
        else:
            unflatten(dy @ matrix(weight), dx)

    return Kernel(run)


def weight_gradient(
    op: FullyConnectedWeightGradient, inputs: tuple[Type, ...], outputs: tuple[Type, ...]
) -> Kernel:
    def run(x: Array, dy: Array, dw: Array) -> None:
        np.matmul(dy.T, flattened(x), out=matrix(dw))

    return Kernel(run)


KERNELS: Builders = {
    FullyConnected: fully_connected,
    FullyConnectedInputGradient: input_gradient,
    FullyConnectedWeightGradient: with_bias(weight_gradient),
}
