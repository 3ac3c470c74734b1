"""Kernels of pooling: one pass for every element of the window, a chunk of images at a time."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from cnndsl.backends.numpy.blocks import BLOCK_BYTES
from cnndsl.graph.types import ITEM_BYTES, Type
from cnndsl.ops.pool import GLOBAL, AveragePool, AveragePoolGradient, MaxPool, MaxPoolGradient, Pool
from cnndsl.runtime.kernel import Array, Builders, Kernel


class Windows:
    """The padded map of a pooling, and what each element of the window reads."""

    def __init__(self, op: Pool, x: Type, y: Type) -> None:
        self.x, self.shape, self.out = x, x.concrete(), y.concrete()
        self.kernel = op.size(x)
        self.stride = op.step()
        self.pads = op.pads(x)
        self.dtype = x.dtype
        (top, bottom), (left, right) = self.pads
        n, height, width, channels = self.shape
        padded = (height + top + bottom, width + left + right, channels)
        item = ITEM_BYTES[self.dtype]
        images = max(1, min(n, BLOCK_BYTES // (math.prod(padded) * item)))
        self.padded = (images, *padded)
        self.inside = (slice(None), slice(top, top + height), slice(left, left + width))
        self.has_pads = any(map(sum, self.pads))
        self._spare = (images, *self.out[1:])
        self._bytes = (
            math.prod(self.padded) * item if self.has_pads else 0,
            math.prod(self._spare) * item,
            math.prod(self._spare),
        )

    @property
    def workspace(self) -> int:
        return sum(self._bytes)

    def chunks(self) -> Iterator[slice]:
        """The images that are taken at a time."""
        images = self.padded[0]
        for start in range(0, self.shape[0], images):
            yield slice(start, min(start + images, self.shape[0]))

    def target(self, x: Array, scratch: Array) -> Array:
        """Room for the padded map of a chunk; the chunk itself where there is no padding."""
        if not self.has_pads:
            return x
        return scratch[: self._bytes[0]].view(self.dtype).reshape(self.padded)[: len(x)]

    def fill(self, x: Array, scratch: Array, value: float) -> Array:
        """The chunk with `value` around it."""
        target = self.target(x, scratch)
        if self.has_pads:
            target.fill(value)
            target[self.inside] = x
        return target

    def spare(self, scratch: Array, images: int, dtype: str) -> Array:
        """Room for as many elements as the output of a chunk has, of at most the map's width."""
        first = self._bytes[0]
        elements = scratch[first : first + self._bytes[1]].view(dtype)
        return elements[: math.prod(self._spare)].reshape(self._spare)[:images]

    def mask(self, scratch: Array, images: int) -> Array:
        """Room for a truth value for every element of a chunk's output."""
        return scratch[-self._bytes[2] :].view(bool).reshape(self._spare)[:images]

    def tap(self, padded: Array, row: int, column: int) -> Array:
        height, width = self.out[1:3]
        return padded[
            :,
            row : row + (height - 1) * self.stride + 1 : self.stride,
            column : column + (width - 1) * self.stride + 1 : self.stride,
        ]

    def taps(self) -> Iterator[tuple[int, int]]:
        for row in range(self.kernel[0]):
            for column in range(self.kernel[1]):
                yield row, column

    def counts(self, op: AveragePool) -> Array:
        """The elements that each window averages, as (OH, OW, 1).

        With `count_pad` the stated padding counts, but not what `ceil` adds behind it.
        """
        axes = []
        stated = op.stated_pads(self.x)
        for n, out, kernel, (before, after) in zip(
            self.shape[1:3], self.out[1:3], self.kernel, stated, strict=True
        ):
            starts = np.arange(out) * self.stride - before
            low, high = (-before, n + after) if op.count_pad else (0, n)
            axes.append(np.minimum(starts + kernel, high) - np.maximum(starts, low))
        return (axes[0][:, None] * axes[1])[..., None].astype(self.dtype)


def max_pool(op: MaxPool, inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Kernel:
    if op.kernel == GLOBAL:
        return Kernel(_global_max_pool)
    windows = Windows(op, inputs[0], outputs[0])

    def run(x: Array, y: Array, winner: Array | None, scratch: Array) -> None:
        scratch = scratch[: windows.workspace]
        for part in windows.chunks():
            best, first = y[part], None if winner is None else winner[part]
            padded = windows.fill(x[part], scratch, -np.inf)
            for index, (row, column) in enumerate(windows.taps()):
                candidate = windows.tap(padded, row, column)
                if index == 0:
                    np.copyto(best, candidate)
                    if first is not None:
                        first.fill(0)
                    continue
                if first is not None:
                    # The numbers of taps grow, so the largest one that won is the last that did.
                    larger = windows.mask(scratch, len(best))
                    number = windows.spare(scratch, len(best), outputs[1].dtype)
                    np.greater(candidate, best, out=larger)
                    np.multiply(larger.view(np.uint8), first.dtype.type(index), out=number)
                    np.maximum(first, number, out=first)
                np.maximum(best, candidate, out=best)

    return Kernel(run, workspace=windows.workspace)


def _global_max_pool(x: Array, y: Array, winner: Array | None) -> None:
    flat = x.reshape(len(x), -1, x.shape[-1])
    best = flat.argmax(axis=1)[:, None]
    np.copyto(y[:, 0], np.take_along_axis(flat, best, axis=1))
    if winner is not None:
        winner[:, 0] = best


def max_pool_gradient(
    op: MaxPoolGradient, inputs: tuple[Type, ...], outputs: tuple[Type, ...]
) -> Kernel:
    if op.pool.kernel == GLOBAL:
        return Kernel(_global_max_pool_gradient)
    windows = Windows(op.pool, outputs[0], inputs[1])

    def run(winner: Array, dy: Array, dx: Array, scratch: Array) -> None:
        scratch = scratch[: windows.workspace]
        for part in windows.chunks():
            target = windows.target(dx[part], scratch)
            target.fill(0)
            won = windows.mask(scratch, len(target))
            share = windows.spare(scratch, len(target), windows.dtype)
            for index, (row, column) in enumerate(windows.taps()):
                place = windows.tap(target, row, column)
                np.equal(winner[part], index, out=won)
                np.multiply(dy[part], won, out=share)
                np.add(place, share, out=place)
            if windows.has_pads:
                dx[part] = target[windows.inside]

    return Kernel(run, workspace=windows.workspace)


def _global_max_pool_gradient(winner: Array, dy: Array, dx: Array) -> None:
    dx.fill(0)
    flat = dx.reshape(len(dx), -1, dx.shape[-1])
    np.put_along_axis(flat, winner[:, 0].astype(np.intp), dy[:, 0], axis=1)


def average_pool(op: AveragePool, inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Kernel:
    if op.kernel == GLOBAL:
        return Kernel(lambda x, y: np.mean(x, axis=(1, 2), keepdims=True, out=y))
    windows = Windows(op, inputs[0], outputs[0])
    counts = windows.counts(op)

    def run(x: Array, y: Array, scratch: Array) -> None:
        for part in windows.chunks():
            total = y[part]
            total.fill(0)
            padded = windows.fill(x[part], scratch, 0)
            for row, column in windows.taps():
                np.add(total, windows.tap(padded, row, column), out=total)
            np.divide(total, counts, out=total)

    return Kernel(run, workspace=windows.workspace)


def average_pool_gradient(
    op: AveragePoolGradient, inputs: tuple[Type, ...], outputs: tuple[Type, ...]
) -> Kernel:
    windows = Windows(op.pool, outputs[0], inputs[0])
    counts = windows.counts(op.pool)

    if op.pool.kernel == GLOBAL:
        return Kernel(lambda dy, dx: np.divide(dy, counts, out=dx))

    def run(dy: Array, dx: Array, scratch: Array) -> None:
        for part in windows.chunks():
            target = windows.target(dx[part], scratch)
            target.fill(0)
            share = windows.spare(scratch, len(target), windows.dtype)
            np.divide(dy[part], counts, out=share)
            for row, column in windows.taps():
                place = windows.tap(target, row, column)
                np.add(place, share, out=place)
            if windows.has_pads:
                dx[part] = target[windows.inside]

    return Kernel(run, workspace=windows.workspace)


KERNELS: Builders = {
    MaxPool: max_pool,
    MaxPoolGradient: max_pool_gradient,
    AveragePool: average_pool,
    AveragePoolGradient: average_pool_gradient,
}
