"""Kernels of pooling: one pass over the map for every element of the window."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

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
        self.padded = (n, height + top + bottom, width + left + right, channels)
        self.inside = (slice(None), slice(top, top + height), slice(left, left + width))
        self.has_pads = any(map(sum, self.pads))

    @property
    def workspace(self) -> int:
        return math.prod(self.padded) * ITEM_BYTES[self.dtype] if self.has_pads else 0

    def scratch(self, scratch: tuple[Array, ...]) -> Array:
        return scratch[0][: self.workspace].view(self.dtype).reshape(self.padded)

    def fill(self, x: Array, scratch: tuple[Array, ...], value: float) -> Array:
        """The map with `value` around it."""
        if not self.has_pads:
            return x
        target = self.scratch(scratch)
        target.fill(value)
        target[self.inside] = x
        return target

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
    windows = Windows(op, inputs[0], outputs[0])

    def run(x: Array, y: Array, winner: Array | None, *scratch: Array) -> None:
        padded = windows.fill(x, scratch, -np.inf)
        for index, (row, column) in enumerate(windows.taps()):
            candidate = windows.tap(padded, row, column)
            if index == 0:
                y[...] = candidate
                if winner is not None:
                    winner.fill(0)
                continue
            if winner is not None:
                winner[~(candidate <= y)] = index
            np.maximum(y, candidate, out=y)

    return Kernel(run, workspace=windows.workspace)


def max_pool_gradient(
    op: MaxPoolGradient, inputs: tuple[Type, ...], outputs: tuple[Type, ...]
) -> Kernel:
    windows = Windows(op.pool, outputs[0], inputs[1])

    def run(winner: Array, dy: Array, dx: Array, *scratch: Array) -> None:
        target = windows.scratch(scratch) if windows.has_pads else dx
        target.fill(0)
        for index, (row, column) in enumerate(windows.taps()):
            place = windows.tap(target, row, column)
            place += np.where(winner == index, dy, 0)
        if windows.has_pads:
            dx[...] = target[windows.inside]

    return Kernel(run, workspace=windows.workspace)


def average_pool(op: AveragePool, inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Kernel:
    if op.kernel == GLOBAL:
        return Kernel(lambda x, y: np.mean(x, axis=(1, 2), keepdims=True, out=y))
    windows = Windows(op, inputs[0], outputs[0])
    counts = windows.counts(op)

    def run(x: Array, y: Array, *scratch: Array) -> None:
        padded = windows.fill(x, scratch, 0)
        y.fill(0)
        for row, column in windows.taps():
            y += windows.tap(padded, row, column)
        y /= counts

    return Kernel(run, workspace=windows.workspace)


def average_pool_gradient(
    op: AveragePoolGradient, inputs: tuple[Type, ...], outputs: tuple[Type, ...]
) -> Kernel:
    windows = Windows(op.pool, outputs[0], inputs[0])
    counts = windows.counts(op.pool)

    if op.pool.kernel == GLOBAL:
        return Kernel(lambda dy, dx: np.divide(dy, counts, out=dx))

    def run(dy: Array, dx: Array, *scratch: Array) -> None:
        target = windows.scratch(scratch) if windows.has_pads else dx
        target.fill(0)
        share = dy / counts
        for row, column in windows.taps():
            place = windows.tap(target, row, column)
            place += share
        if windows.has_pads:
            dx[...] = target[windows.inside]

    return Kernel(run, workspace=windows.workspace)


KERNELS: Builders = {
    MaxPool: max_pool,
    MaxPoolGradient: max_pool_gradient,
    AveragePool: average_pool,
    AveragePoolGradient: average_pool_gradient,
}
