"""Values as rows of channels: sums over rows, and factors along channels, a block at a time."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from cnndsl.backends.numpy.blocks import Blocks
from cnndsl.graph.types import Type
from cnndsl.runtime.kernel import STRIDED, Array

#: Several short rows are taken as one, up to so many elements: NumPy is slow on short rows.
LONG_ROW = 2048


@dataclass(frozen=True)
class Channels:
    """A value `(…, channels)` as blocks of rows; each row holds all channels `repeat` times.

    That is once where a value that is worked on is strided.
    """

    count: int
    channels: int
    dtype: str
    temporaries: int
    strided: bool

    @staticmethod
    def of(*types: Type, temporaries: int = 0) -> Channels:
        """For values of one shape."""
        first = types[0]
        strided = any(type.layout == STRIDED for type in types)
        count = math.prod(first.concrete())
        return Channels(count, first.channels, first.dtype, temporaries, strided)

    @property
    def positions(self) -> int:
        """How many elements a channel has."""
        return self.count // self.channels

    @cached_property
    def repeat(self) -> int:
        if self.strided:
            return 1
        most = min(self.positions, max(1, LONG_ROW // self.channels))
        return next(n for n in range(most, 0, -1) if self.positions % n == 0)

    @cached_property
    def blocks(self) -> Blocks:
        return Blocks(self.count, self.dtype, self.temporaries, self.repeat * self.channels)

    @property
    def workspace(self) -> int:
        return self.blocks.workspace

    @cached_property
    def _ones(self) -> Array:
        return np.ones(self.blocks.size // self.blocks.row, self.dtype)

    def parts(self, scratch: tuple[Array, ...], *arrays: Array) -> Iterator[tuple[Array, ...]]:
        """The parts of every block, as matrices of rows; the temporaries if there is scratch."""
        for part in self.blocks.parts(scratch, *arrays):
            yield tuple(array.reshape(-1, self.blocks.row) for array in part)

    def along(self, factors: Array) -> Array:
        """One number a channel, for a whole row."""
        return np.tile(factors.astype(self.dtype, copy=False), self.repeat)

    def sums(self) -> Array:
        """A row of zeros, for `add`."""
        return np.zeros(self.blocks.row, np.float64)

    def add(self, sums: Array, rows: Array) -> None:
        """Add to `sums` those of a block's rows."""
        sums += self._ones[: len(rows)] @ rows

    def total(self, sums: Array) -> Array:
        """The sum of each channel, in float64."""
        return sums.reshape(self.repeat, self.channels).sum(axis=0)
