"""Kernels of depthwise convolutions: one pass a tap, a band of rows at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from cnndsl.backends.numpy.blocks import BLOCK_BYTES
from cnndsl.backends.numpy.finish import Finish
from cnndsl.graph.types import ITEM_BYTES, Type
from cnndsl.ops.conv import Conv, ConvInputGradient, ConvWeightGradient
from cnndsl.ops.geometry import Pads
from cnndsl.runtime.kernel import STRIDED, Array, Kernel


@dataclass(frozen=True)
class Bands:
    """A depthwise convolution in parts: some images whole, or some rows of one image's output.

    Input channels are repeated for a multiplier, so that inside all has as many channels as the
    output. With stride 1 and an output in one piece a row is `flat`, one axis of width · channels
    elements, for speed.
    """

    conv: Conv
    x: tuple[int, ...]
    y: tuple[int, ...]
    pads: Pads
    dtype: str
    flat: bool

    @staticmethod
    def of(conv: Conv, x: Type, y: Type) -> Bands:
        flat = conv.stride == 1 and y.layout != STRIDED
        return Bands(conv, x.concrete(), y.concrete(), conv.pads(x), x.dtype, flat)

    @property
    def filters(self) -> int:
        return self.y[3]

    @property
    def padded(self) -> tuple[int, int]:
        """The padded map's height and width."""
        return self.x[1] + sum(self.pads[0]), self.x[2] + sum(self.pads[1])

    @property
    def row(self) -> int:
        """Elements of a row of the output."""
        return self.y[2] * self.filters

    @property
    def images(self) -> int:
        """How many images are taken at a time."""
        image = self.y[1] * self.row * ITEM_BYTES[self.dtype]
        return max(1, min(self.x[0], BLOCK_BYTES // image))

    @property
    def rows(self) -> int:
        """How many rows of the output are taken at a time."""
        row = self.row * ITEM_BYTES[self.dtype]
        return max(1, min(self.y[1], BLOCK_BYTES // row))

    @property
    def sizes(self) -> tuple[int, int]:
        """Elements of the padded scratch and of the products' one."""
        height, width = self.padded
        padded = self.images * height * width * self.filters
        return padded, self.images * self.rows * self.row

    @property
    def workspace(self) -> int:
        return sum(self.sizes) * ITEM_BYTES[self.dtype]

    def split(self, scratch: Array) -> tuple[Array, Array]:
        """The padded images (n, H, W, C), and the products (n, rows, W · C)."""
        first, second = self.sizes
        elements = scratch[: self.workspace].view(self.dtype)
        padded = elements[:first].reshape(self.images, *self.padded, self.filters)
        products = elements[first : first + second]
        return padded, products.reshape(self.images, self.rows, self.row)

    def parts(self) -> Iterator[slice]:
        for start in range(0, self.x[0], self.images):
            yield slice(start, min(start + self.images, self.x[0]))

    def bands(self) -> Iterator[slice]:
        for start in range(0, self.y[1], self.rows):
            yield slice(start, min(start + self.rows, self.y[1]))

    def taps(self) -> Iterator[tuple[int, int, int]]:
        """The number, row and column of every element of the kernel."""
        height, width = self.conv.kernel
        for tap in range(height * width):
            yield tap, tap // width, tap % width

    def inside(self, padded: Array) -> Array:
        """The map in the padded map, as (n, H, W, input channels, multiplier)."""
        (top, _), (left, _) = self.pads
        height, width, channels = self.x[1:]
        part = padded[:, top : top + height, left : left + width]
        return part.reshape(*part.shape[:3], channels, -1)

    def pad(self, x: Array, padded: Array) -> Array:
        """The images with zeros around them and channels repeated."""
        target = padded[: len(x)]
        if any(map(sum, self.pads)):
            target.fill(0)
        self.inside(target)[...] = x[..., None]
        return target

    def read(self, padded: Array, band: slice, row: int, column: int) -> Array:
        """What a tap reads for a band of output rows: (n, rows, W · C), or (n, rows, W, C)."""
        conv, width = self.conv, self.y[2]
        top, left = row * conv.dilation + band.start * conv.stride, column * conv.dilation
        rows = slice(top, top + (band.stop - band.start - 1) * conv.stride + 1, conv.stride)
        if self.flat:
            flat = padded.reshape(*padded.shape[:2], -1)
            return flat[:, rows, left * self.filters : (left + width) * self.filters]
        return padded[:, rows, left : left + (width - 1) * conv.stride + 1 : conv.stride]

    def like_read(self, values: Array) -> Array:
        """Values of output elements in the shape of what `read` gives."""
        if self.flat:
            return values.reshape(*values.shape[:2], self.row)
        return values.reshape(*values.shape[:2], self.y[2], self.filters)

    def factors(self, weight: Array) -> Array:
        """The weight as (taps, …), each to be multiplied with what `read` gives."""
        by_tap = weight.reshape(self.filters, -1).T
        return np.tile(by_tap, self.y[2]) if self.flat else by_tap.copy()


def depthwise(
    op: Conv, inputs: tuple[Type, ...], outputs: tuple[Type, ...], finish: Finish
) -> Kernel:
    bands = Bands.of(op, inputs[0], outputs[0])

    def run(x: Array, weight: Array, *rest: Array) -> None:
        *more, y, scratch = rest
        bias = finish.along(more[0]) if len(inputs) == 3 else None
        addend = more[-1] if finish.adds else None
        padded, spare = bands.split(scratch)
        factors = bands.factors(weight)
        for part in bands.parts():
            source = bands.pad(x[part], padded)
            for band in bands.bands():
                target = bands.like_read(y[part, band])
                product = bands.like_read(spare[: len(source), : band.stop - band.start])
                for tap, row, column in bands.taps():
                    into = product if tap else target
                    np.multiply(bands.read(source, band, row, column), factors[tap], out=into)
                    if tap:
                        np.add(target, product, out=target)
                more_there = None if addend is None else addend[part, band]
                finish(y[part, band], bias, more_there, scratch)

    return Kernel(run, workspace=bands.workspace + finish.workspace)


def input_gradient(
    op: ConvInputGradient, inputs: tuple[Type, ...], outputs: tuple[Type, ...]
) -> Kernel:
    bands = Bands.of(op.conv, outputs[0], inputs[1])

    def run(weight: Array, dy: Array, dx: Array, scratch: Array) -> None:
        padded, spare = bands.split(scratch)
        factors = bands.factors(weight)
        for part in bands.parts():
            target = padded[: part.stop - part.start]
            target.fill(0)
            for band in bands.bands():
                grads = bands.like_read(dy[part, band])
                product = bands.like_read(spare[: len(target), : band.stop - band.start])
                for tap, row, column in bands.taps():
                    place = bands.read(target, band, row, column)
                    np.multiply(grads, factors[tap], out=product)
                    np.add(place, product, out=place)
            copies = bands.inside(target)
            if copies.shape[-1] == 1:
                np.copyto(dx[part], copies[..., 0])
            else:
                np.sum(copies, axis=-1, out=dx[part])

    return Kernel(run, workspace=bands.workspace)


def weight_gradient(
    op: ConvWeightGradient, inputs: tuple[Type, ...], outputs: tuple[Type, ...]
) -> Kernel:
    bands = Bands.of(op.conv, inputs[0], inputs[1])
    letters = "nhr,nhr->r" if bands.flat else "nhwc,nhwc->c"

    def run(x: Array, dy: Array, dw: Array, scratch: Array) -> None:
        padded, _ = bands.split(scratch)
        total = np.zeros((op.conv.kernel[0] * op.conv.kernel[1], bands.filters))
        for part in bands.parts():
            source = bands.pad(x[part], padded)
            for band in bands.bands():
                grads = bands.like_read(dy[part, band])
                for tap, row, column in bands.taps():
                    sums = np.einsum(letters, bands.read(source, band, row, column), grads)
                    total[tap] += sums.reshape(-1, bands.filters).sum(axis=0)
        dw[...] = total.T.reshape(dw.shape)

    return Kernel(run, workspace=bands.workspace)
