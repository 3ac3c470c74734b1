"""Types of values: shape, element type and layout, with the batch as a symbol."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Final


@dataclass(frozen=True, slots=True)
class Batch:
    """The number of images in a batch: a symbol until a program is lowered."""

    size: int | None = None

    def __str__(self) -> str:
        return "N" if self.size is None else str(self.size)


BATCH: Final = Batch()

Dimension = int | Batch

#: Bytes an element, for every element type that a value may have.
ITEM_BYTES: Final = {
    "bfloat16": 2,
    "float16": 2,
    "float32": 4,
    "float64": 8,
    "int64": 8,
    "int32": 4,
    "uint8": 1,
    "uint16": 2,
}


class Size(tuple[int, ...]):
    """Extents as written in the language: `3x3`, `227x227x3`."""

    __slots__ = ()

    def __new__(cls, *extents: int) -> Size:
        return super().__new__(cls, extents)

    def __getnewargs__(self) -> tuple[int, ...]:
        return tuple(self)

    def __str__(self) -> str:
        return "x".join(map(str, self))

    def __repr__(self) -> str:
        return f"Size({self})"


@dataclass(frozen=True, slots=True)
class Type:
    """What a value is: a map `(N, H, W, C)`, a vector `(N, C)`, a scalar `()`, a parameter.

    `layout` is an opaque token of a backend; None is the canonical layout.
    """

    shape: tuple[Dimension, ...]
    dtype: str = "float32"
    layout: Hashable | None = None

    @property
    def batched(self) -> bool:
        """Whether the first axis is the batch."""
        return bool(self.shape) and isinstance(self.shape[0], Batch)

    @property
    def features(self) -> tuple[int, ...]:
        """The shape of one image's part, without the batch."""
        return tuple(d for d in self.shape if isinstance(d, int))

    @property
    def is_map(self) -> bool:
        """Whether this is `(N, H, W, C)`."""
        return self.batched and len(self.shape) == 4

    @property
    def extent(self) -> Size:
        """Height and width of a map; a vector counts as 1x1."""
        return Size(*self.features[:2]) if self.is_map else Size(1, 1)

    @property
    def channels(self) -> int:
        """The length of the last axis."""
        return self.features[-1]

    @property
    def elements(self) -> int:
        """Elements an image (or of a parameter)."""
        return math.prod(self.features)

    @property
    def nbytes(self) -> int:
        """Bytes an image (or of a parameter)."""
        return self.elements * ITEM_BYTES[self.dtype]

    def like(self, shape: Sequence[Dimension]) -> Type:
        """The same element type with another shape, in the canonical layout."""
        return Type(tuple(shape), self.dtype)

    @property
    def narrow(self) -> bool:
        """Whether its numbers are too short to sum many: sums of them are kept in float32."""
        return self.dtype in ("bfloat16", "float16")

    @property
    def widened(self) -> Type:
        """The type that sums of such values have: the same, but never narrow."""
        return replace(self, dtype="float32") if self.narrow else self

    def at(self, batch: int) -> Type:
        """The type with the batch known."""
        if not self.batched:
            return self
        return replace(self, shape=(Batch(batch), *self.shape[1:]))

    def concrete(self) -> tuple[int, ...]:
        """The shape as whole numbers, the batch among them.

        Raises:
            ValueError: the batch is still a symbol.
        """
        sizes = tuple(d.size if isinstance(d, Batch) else d for d in self.shape)
        if None in sizes:
            raise ValueError(f"the batch of {self} is not known yet")
        return sizes  # type: ignore[return-value]

    @property
    def total_bytes(self) -> int:
        """Bytes of the whole value, batch included."""
        return math.prod(self.concrete()) * ITEM_BYTES[self.dtype]

    def __str__(self) -> str:
        return "x".join(map(str, self.features)) or "scalar"


def map_type(height: int, width: int, channels: int, dtype: str = "float32") -> Type:
    """The type of a map `(N, height, width, channels)`."""
    return Type((BATCH, height, width, channels), dtype)


def vector_type(features: int, dtype: str = "float32") -> Type:
    """The type of a vector `(N, features)`."""
    return Type((BATCH, features), dtype)
