"""Kernels that move elements."""

from __future__ import annotations

import numpy as np

from cnndsl.backends.numpy.dense import unflatten
from cnndsl.graph.op import Op
from cnndsl.graph.types import Type
from cnndsl.ops.shape import (
    Crop,
    Flatten,
    Identity,
    Margins,
    Pad,
    Shuffle,
    Slice,
    SliceGradient,
    Unflatten,
    Upsample,
    UpsampleGradient,
)
from cnndsl.runtime.kernel import Array, Builders, Kernel


def copy(x: Array, y: Array) -> None:
    """The same elements in the same order; nothing to do in place."""
    if x.ctypes.data != y.ctypes.data:
        np.copyto(y, x.reshape(y.shape))


def identity(op: Op, inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Kernel:
    return Kernel(copy, may_alias=((0, 0),))


def _keeps_order(x: Type) -> bool:
    """Whether channel, row, column is the order in memory."""
    return x.extent == (1, 1) or x.channels == 1


def flatten(op: Flatten, inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Kernel:
    if _keeps_order(inputs[0]):
        return identity(op, inputs, outputs)
    _, height, width, channels = inputs[0].concrete()

    def run(x: Array, y: Array) -> None:
        np.copyto(y.reshape(-1, channels, height, width), x.transpose(0, 3, 1, 2))

    return Kernel(run)


def unflatten_vector(op: Unflatten, inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Kernel:
    if _keeps_order(outputs[0]):
        return identity(op, inputs, outputs)
    return Kernel(unflatten)


def _inside(op: Margins, x: Type) -> tuple[slice, ...]:
    """Where the map x, without margins, stands in the one with margins."""
    top, _, left, _ = op.sides()
    _, height, width, channels = x.concrete()
    rows, columns = slice(top, top + height), slice(left, left + width)
    return slice(None), rows, columns, slice(channels)


def pad(op: Pad, inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Kernel:
    inside = _inside(op, inputs[0])

    def run(x: Array, y: Array) -> None:
        y.fill(0)
        y[inside] = x

    return Kernel(run)


def crop(op: Crop, inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Kernel:
    inside = _inside(op, outputs[0])
    return Kernel(lambda x, y: np.copyto(y, x[inside]))


def slice_channels(op: Slice, inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Kernel:
    part = slice(op.channels.start, op.channels.stop)
    return Kernel(lambda x, y: np.copyto(y, x[..., part]))


def slice_gradient(
    op: SliceGradient, inputs: tuple[Type, ...], outputs: tuple[Type, ...]
) -> Kernel:
    first, last = op.channels.start, op.channels.stop

    def run(dy: Array, dx: Array) -> None:
        dx[..., :first] = 0
        dx[..., first:last] = dy
        dx[..., last:] = 0

    return Kernel(run)


def _copies(factor: int, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The upsampled map of a map of this shape, with the copies as axes of their own."""
    n, height, width, channels = shape
    return n, height, factor, width, factor, channels


def upsample(op: Upsample, inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Kernel:
    shape = _copies(op.factor, inputs[0].concrete())
    return Kernel(lambda x, y: np.copyto(y.reshape(shape), x[:, :, None, :, None, :]))


def upsample_gradient(
    op: UpsampleGradient, inputs: tuple[Type, ...], outputs: tuple[Type, ...]
) -> Kernel:
    shape = _copies(op.factor, outputs[0].concrete())
    return Kernel(lambda dy, dx: np.sum(dy.reshape(shape), axis=(2, 4), out=dx))


def shuffle(op: Shuffle, inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Kernel:
    groups, each = op.groups, inputs[0].channels // op.groups

    def run(x: Array, y: Array) -> None:
        np.copyto(y.reshape(-1, each, groups), x.reshape(-1, groups, each).transpose(0, 2, 1))

    return Kernel(run)


KERNELS: Builders = {
    Identity: identity,
    Flatten: flatten,
    Unflatten: unflatten_vector,
    Pad: pad,
    Crop: crop,
    Slice: slice_channels,
    SliceGradient: slice_gradient,
    Upsample: upsample,
    UpsampleGradient: upsample_gradient,
    Shuffle: shuffle,
}
