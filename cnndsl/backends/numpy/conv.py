"""Kernels of convolutions: unfolded windows and BLAS, a chunk of images at a time."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from cnndsl.backends.numpy import depthwise
from cnndsl.backends.numpy.channels import Channels
from cnndsl.backends.numpy.finish import Finish
from cnndsl.graph.types import ITEM_BYTES, Type
from cnndsl.ops.conv import BiasGradient, Conv, ConvInputGradient, ConvWeightGradient
from cnndsl.ops.geometry import Pads, dilated
from cnndsl.runtime.kernel import Array, Builders, Kernel

#: The bytes of unfolded windows in work at a time: about the size of a second-level cache.
CHUNK_BYTES = 2 << 20


@dataclass(frozen=True)
class Geometry:
    """A convolution with everything known; a `chunk` is how many images are unfolded at a time."""

    conv: Conv
    x: tuple[int, ...]
    y: tuple[int, ...]
    pads: Pads
    dtype: str

    @staticmethod
    def of(conv: Conv, x: Type, y: Type) -> Geometry:
        return Geometry(conv, x.concrete(), y.concrete(), conv.pads(x), x.dtype)

    @property
    def taps(self) -> int:
        return math.prod(self.conv.kernel)

    @property
    def padded(self) -> tuple[int, int]:
        """The padded map's height and width."""
        return self.x[1] + sum(self.pads[0]), self.x[2] + sum(self.pads[1])

    @property
    def chunk(self) -> int:
        image = self.y[1] * self.y[2] * self.taps * self.x[3] * ITEM_BYTES[self.dtype]
        return max(1, min(self.x[0], CHUNK_BYTES // max(1, image)))

    def chunks(self) -> Iterator[slice]:
        for start in range(0, self.x[0], self.chunk):
            yield slice(start, min(start + self.chunk, self.x[0]))

    @property
    def pointwise(self) -> bool:
        """Whether the windows are the map itself: a 1x1 kernel with stride 1 and no padding."""
        return self.taps == 1 and self.conv.stride == 1 and not any(map(sum, self.pads))

    @property
    def reversible(self) -> bool:
        """Whether `reverse` exists and unfolds about as much as this does, or less."""
        conv = self.conv
        alike = self.y[3] <= 2 * self.x[3] and not self.pointwise
        return conv.stride == 1 and conv.groups == 1 and alike

    def reverse(self) -> Geometry:
        """The convolution of the output's gradient that gives the input's."""
        wide = dilated(self.conv.kernel, self.conv.dilation)
        (top, bottom), (left, right) = self.pads
        rows = (wide[0] - 1 - top, wide[0] - 1 - bottom)
        columns = (wide[1] - 1 - left, wide[1] - 1 - right)
        return Geometry(self.conv, self.y, self.x, (rows, columns), self.dtype)

    def buffers(self) -> tuple[int, int]:
        """Elements of the padded and of the unfolded scratch of a chunk."""
        height, width = self.padded
        channels = self.x[3]
        padded = self.chunk * height * width * channels
        return padded, self.chunk * self.y[1] * self.y[2] * self.taps * channels

    @property
    def workspace(self) -> int:
        return sum(self.buffers()) * ITEM_BYTES[self.dtype]

    def split(self, scratch: Array) -> tuple[Array, Array]:
        """The padded chunk `(n, H, W, C)` and the unfolded one `(n, OH, OW, KH, KW, C)`."""
        height, width = self.padded
        first, second = self.buffers()
        elements = scratch[: self.workspace].view(self.dtype)
        padded = elements[:first].reshape(self.chunk, height, width, self.x[3])
        shape = (self.chunk, *self.y[1:3], *self.conv.kernel, self.x[3])
        return padded, elements[first : first + second].reshape(shape)

    def inside(self) -> tuple[slice, slice]:
        """Where the map stands in the padded map."""
        (top, _), (left, _) = self.pads
        return slice(top, top + self.x[1]), slice(left, left + self.x[2])

    def tap(self, padded: Array, row: int, column: int) -> Array:
        """What the window's element (row, column) reads, for every output position."""
        conv = self.conv
        height, width = self.y[1:3]
        top, left = row * conv.dilation, column * conv.dilation
        return padded[
            :,
            top : top + (height - 1) * conv.stride + 1 : conv.stride,
            left : left + (width - 1) * conv.stride + 1 : conv.stride,
        ]

    def tap_row(self, padded: Array, row: int) -> Array:
        """What a row of the window reads, (n, OH, OW, KW, C): overlapping, so only to be read."""
        first = self.tap(padded, row, 0)
        height, width = self.y[1:3]
        shape = (len(padded), height, width, self.conv.kernel[1], self.x[3])
        strides = (*first.strides[:3], *padded.strides[2:])
        return np.lib.stride_tricks.as_strided(first, shape, strides, writeable=False)

    def tap_pairs(self) -> Iterator[tuple[int, int]]:
        for row in range(self.conv.kernel[0]):
            for column in range(self.conv.kernel[1]):
                yield row, column

    def pad(self, x: Array, padded: Array) -> Array:
        """The chunk with its zeros around it; the chunk itself where there is no padding."""
        if not any(map(sum, self.pads)):
            return x
        target = padded[: len(x)]
        target.fill(0)
        rows, columns = self.inside()
        target[:, rows, columns] = x
        return target

    def unfold(self, x: Array, padded: Array, windows: Array) -> Array:
        """Every window of the chunk, as (positions, taps, channels)."""
        source = self.pad(x, padded)
        target = windows[: len(x)]
        if self.conv.dilation == 1:
            for row in range(self.conv.kernel[0]):
                target[:, :, :, row] = self.tap_row(source, row)
        else:
            for row, column in self.tap_pairs():
                target[:, :, :, row, column] = self.tap(source, row, column)
        return target.reshape(-1, self.taps, self.x[3])


def _matrix(weight: Array) -> Array:
    """The weight (O, I, KH, KW) as a matrix (KH·KW·I, O), the order of unfolded windows."""
    return weight.transpose(2, 3, 1, 0).reshape(-1, weight.shape[0])


def _per_group(windows: Array, groups: int) -> Array:
    """Windows (positions, taps, channels) as (groups, positions, taps·channels/groups)."""
    positions, taps, channels = windows.shape
    grouped = windows.reshape(positions, taps, groups, channels // groups)
    return grouped.transpose(2, 0, 1, 3).reshape(groups, positions, -1)


def _group_matrix(weight: Array, groups: int) -> Array:
    """The weight as (groups, taps·I, O/groups)."""
    filters, inner, height, width = weight.shape
    grouped = weight.reshape(groups, filters // groups, inner, height, width)
    return grouped.transpose(0, 3, 4, 2, 1).reshape(groups, -1, filters // groups)


def _product(geometry: Geometry, weight: Array, scratch: Array) -> Callable[[Array, Array], None]:
    """A function of some images and their results: every window times the weight."""
    groups = geometry.conv.groups
    padded, windows = geometry.split(scratch)
    matrix = _matrix(weight) if groups == 1 else _group_matrix(weight, groups)

    def multiply(x: Array, y: Array) -> None:
        if geometry.pointwise and groups == 1:
            np.matmul(x.reshape(-1, x.shape[-1]), matrix, out=y.reshape(-1, y.shape[-1]))
            return
        unfolded = geometry.unfold(x, padded, windows)
        if groups == 1:
            target = y.reshape(-1, y.shape[-1])
            np.matmul(unfolded.reshape(len(unfolded), -1), matrix, out=target)
        else:
            grouped = _per_group(unfolded, groups)
            y[...] = np.matmul(grouped, matrix).transpose(1, 0, 2).reshape(y.shape)

    return multiply


def conv(
    op: Conv, inputs: tuple[Type, ...], outputs: tuple[Type, ...], finish: Finish | None = None
) -> Kernel:
    finish = finish or Finish(outputs[0])
    if op.is_depthwise(inputs[0]):
        return depthwise.depthwise(op, inputs, outputs, finish)
    geometry = Geometry.of(op, inputs[0], outputs[0])

    def run(x: Array, weight: Array, *rest: Array) -> None:
        *more, y, scratch = rest
        bias = finish.along(more[0]) if len(inputs) == 3 else None
        addend = more[-1] if finish.adds else None
        multiply = _product(geometry, weight, scratch)
        for part in geometry.chunks():
            multiply(x[part], y[part])
            finish(y[part], bias, None if addend is None else addend[part], scratch)

    return Kernel(run, workspace=geometry.workspace + finish.workspace)


def conv_input_gradient(
    op: ConvInputGradient, inputs: tuple[Type, ...], outputs: tuple[Type, ...]
) -> Kernel:
    conv = op.conv
    if conv.is_depthwise(outputs[0]):
        return depthwise.input_gradient(op, inputs, outputs)
    geometry = Geometry.of(conv, outputs[0], inputs[1])
    if geometry.reversible:
        return _reverse(geometry.reverse())

    def run(weight: Array, dy: Array, dx: Array, scratch: Array) -> None:
        channels, filters = dx.shape[-1], dy.shape[-1]
        if geometry.pointwise and conv.groups == 1:
            matrix = weight.reshape(filters, channels)
            np.matmul(dy.reshape(-1, filters), matrix, out=dx.reshape(-1, channels))
            return
        padded, windows = geometry.split(scratch)
        rows, columns = geometry.inside()
        for part in geometry.chunks():
            target = padded[: part.stop - part.start]
            target.fill(0)
            spread = _spread(weight, dy[part], windows)
            for row, column in geometry.tap_pairs():
                place = geometry.tap(target, row, column)
                np.add(place, spread(row, column), out=place)
            dx[part] = target[:, rows, columns]

    def _spread(weight: Array, dy: Array, windows: Array) -> Any:
        """A function of a tap: what each output position gives back to what it read there."""
        target = windows[: len(dy)]
        if conv.groups == 1:
            matrix = _matrix(weight).T
            flat = target.reshape(-1, matrix.shape[1])
            np.matmul(dy.reshape(-1, dy.shape[-1]), matrix, out=flat)
        else:
            matrix = _group_matrix(weight, conv.groups).transpose(0, 2, 1)
            grouped = dy.reshape(-1, conv.groups, dy.shape[-1] // conv.groups).transpose(1, 0, 2)
            product = np.matmul(grouped, matrix)
            shape = (conv.groups, -1, geometry.taps, geometry.x[3] // conv.groups)
            ungrouped = product.reshape(shape).transpose(1, 2, 0, 3)
            target[...] = ungrouped.reshape(target.shape)
        return lambda row, column: target[:, :, :, row, column]

    return Kernel(run, workspace=geometry.workspace)


def _reverse(geometry: Geometry) -> Kernel:
    """The input's gradient as a correlation of the output's with the kernel turned around."""

    def run(weight: Array, dy: Array, dx: Array, scratch: Array) -> None:
        turned = weight[:, :, ::-1, ::-1].transpose(1, 0, 2, 3)
        multiply = _product(geometry, turned, scratch)
        for part in geometry.chunks():
            multiply(dy[part], dx[part])

    return Kernel(run, workspace=geometry.workspace)


def conv_weight_gradient(
    op: ConvWeightGradient, inputs: tuple[Type, ...], outputs: tuple[Type, ...]
) -> Kernel:
    conv = op.conv
    if conv.is_depthwise(inputs[0]):
        return depthwise.weight_gradient(op, inputs, outputs)
    geometry = Geometry.of(conv, inputs[0], inputs[1])

    def run(x: Array, dy: Array, dw: Array, scratch: Array) -> None:
        filters, inner, height, width = dw.shape
        padded, windows = geometry.split(scratch)
        if geometry.pointwise and conv.groups == 1:
            product = dy.reshape(-1, filters).T @ x.reshape(-1, inner)
            dw[...] = product.reshape(dw.shape)
            return
        dw.fill(0)
        for part in geometry.chunks():
            unfolded = geometry.unfold(x[part], padded, windows)
            flat = dy[part].reshape(-1, filters)
            if conv.groups == 1:
                product = unfolded.reshape(len(unfolded), -1).T @ flat
                dw += product.reshape(height, width, inner, filters).transpose(3, 2, 0, 1)
            else:
                grouped = _per_group(unfolded, conv.groups).transpose(0, 2, 1)
                grads = flat.reshape(len(flat), conv.groups, -1).transpose(1, 0, 2)
                product = np.matmul(grouped, grads)
                shape = (conv.groups, height, width, inner, filters // conv.groups)
                dw += product.reshape(shape).transpose(0, 4, 3, 1, 2).reshape(dw.shape)

    return Kernel(run, workspace=geometry.workspace)


def bias_gradient(op: BiasGradient, inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Kernel:
    channels = Channels.of(inputs[0])

    def run(dy: Array, db: Array) -> None:
        sums = channels.sums()
        for (rows,) in channels.parts((), dy):
            channels.add(sums, rows)
        db[...] = channels.total(sums)

    return Kernel(run)


def with_bias(builder: Callable[..., Kernel]) -> Callable[..., Kernel]:
    """A builder for the gradient of a weight alone as one for that of the bias too."""

    def build(op: Any, inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Kernel:
        if not op.bias:
            return builder(op, inputs, outputs)
        weight = builder(replace(op, bias=False), inputs, outputs[:1])
        bias = bias_gradient(BiasGradient(), inputs[1:], outputs[1:])

        def run(x: Array, dy: Array, dw: Array, db: Array, *scratch: Array) -> None:
            weight.run(x, dy, dw, *scratch)
            bias.run(dy, db)

        return replace(weight, run=run)

    return build


KERNELS: Builders = {
    Conv: conv,
    ConvInputGradient: conv_input_gradient,
    ConvWeightGradient: with_bias(conv_weight_gradient),
    BiasGradient: bias_gradient,
}
