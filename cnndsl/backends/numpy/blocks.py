"""Arrays taken a block at a time, so that intermediate results stay in the cache."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from cnndsl.graph.types import ITEM_BYTES, Type
from cnndsl.runtime.kernel import Array

#: The bytes of one block of one array: a few of them fit a second-level cache.
BLOCK_BYTES = 256 << 10


@dataclass(frozen=True)
class Blocks:
    """A value as blocks of at most `size` elements, each with some temporaries of that size.

    Blocks hold whole rows of `row` elements.
    """

    count: int
    dtype: str
    temporaries: int = 0
    row: int = 1

    @staticmethod
    def of(type: Type, temporaries: int = 0, row: int = 1) -> Blocks:
        return Blocks(math.prod(type.concrete()), type.dtype, temporaries, row)

    @property
    def size(self) -> int:
        rows = BLOCK_BYTES // (ITEM_BYTES[self.dtype] * self.row)
        return max(1, min(self.count, max(1, rows) * self.row))

    @property
    def workspace(self) -> int:
        """The bytes of all temporaries."""
        return self.temporaries * self.size * ITEM_BYTES[self.dtype]

    def parts(self, scratch: tuple[Array, ...], *arrays: Array) -> Iterator[tuple[Array, ...]]:
        """The flat part of each array in every block, and the temporaries if there is scratch.

        The arrays may be a part of the value: some whole rows of it. Where an array is strided,
        parts and temporaries are matrices of rows of channels.
        """
        size = self.size
        spare: list[Array] = []
        if self.temporaries and scratch:
            elements = scratch[0][: self.workspace].view(self.dtype)
            spare = [elements[i * size : (i + 1) * size] for i in range(self.temporaries)]
        if not all(array.flags.c_contiguous for array in arrays):
            yield from self._rows(spare, *arrays)
            return
        flat = [array.reshape(-1) for array in arrays]
        count = flat[0].size
        for start in range(0, count, size):
            length = min(size, count - start)
            yield (*(a[start : start + length] for a in flat), *(t[:length] for t in spare))

    def _rows(self, spare: list[Array], *arrays: Array) -> Iterator[tuple[Array, ...]]:
        matrices = [array.reshape(-1, array.shape[-1]) for array in arrays]
        rows, channels = matrices[0].shape
        wide = min(channels, self.size)
        high = self.size // wide
        for top in range(0, rows, high):
            for left in range(0, channels, wide):
                part = slice(top, top + high), slice(left, left + wide)
                parts = [matrix[part] for matrix in matrices]
                shape, size = parts[0].shape, parts[0].size
                yield (*parts, *(t[:size].reshape(shape) for t in spare))
