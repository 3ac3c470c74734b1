"""Images from the pixels of a data set: chosen, normalised and moved about, in one operation.

What is random is drawn by the host and comes as numbers, a row an image: so a batch is what it is
whoever prepares it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from cnndsl.graph.op import Mismatch, Op, op
from cnndsl.graph.types import Type

#: What is taken for pixels outside of an image: 0, the nearest pixel, or the mirrored one.
FILLS = ("zero", "edge", "reflect")


@dataclass(frozen=True)
class Window:
    """The part of `extent` (height, width) of images with `pad` more pixels on each side.

    Drawn are the row and the column where it begins.
    """

    extent: tuple[int, int]
    pad: int = 0
    fill: str = "zero"
    draws: ClassVar[int] = 2

    def after(self, extent: tuple[int, int]) -> tuple[int, int]:
        """The extent of what comes of images of an extent."""
        return self.extent


@dataclass(frozen=True)
class Mirror:
    """Left and right exchanged where a 1 is drawn, not where it is a 0."""

    draws: ClassVar[int] = 1

    def after(self, extent: tuple[int, int]) -> tuple[int, int]:
        return extent


@dataclass(frozen=True)
class Hole:
    """A square of `size` pixels a side is 0; drawn are its first row and column, maybe outside."""

    size: int
    draws: ClassVar[int] = 2

    def after(self, extent: tuple[int, int]) -> tuple[int, int]:
        return extent


Move = Window | Mirror | Hole


@op("prepare", registry=None)
class Prepare(Op):
    """Images (N, H, W, channels) from `pixels` (D, height · width · stored channels).

    The other input, `chosen` (N, 1 + draws of all moves), has for each image its row of `pixels`,
    and what is drawn for the moves in order. Values are `pixel · scale + shift`, a number a channel
    each; then come the moves, for which what is outside is 0. A single stored channel is that of
    all channels. With `pitch` there are so many channels, those behind the images' own 0.
    """

    stored: tuple[int, int, int]
    scale: tuple[float, ...]
    shift: tuple[float, ...]
    moves: tuple[Move, ...] = ()
    dtype: str = "float32"
    pitch: int | None = None
    differentiable = False

    @property
    def extents(self) -> tuple[tuple[int, int], ...]:
        """Height and width before the first move, and behind each."""
        result = [self.stored[:2]]
        for move in self.moves:
            result.append(move.after(result[-1]))
        return tuple(result)

    @property
    def columns(self) -> int:
        """How many numbers `chosen` has for an image."""
        return 1 + sum(move.draws for move in self.moves)

    def infer(self, pixels: Type, chosen: Type) -> Type:
        if pixels.shape[1:] != (math.prod(self.stored),):
            raise Mismatch(f"{pixels} holds no pixels of {self.stored}")
        if chosen.shape[1:] != (self.columns,):
            raise Mismatch(f"{chosen} does not choose images and {self.columns - 1} draws")
        return replace(
            chosen,
            shape=(chosen.shape[0], *self.extents[-1], self.pitch or len(self.scale)),
            dtype=self.dtype,
        )

    def flops(self, outputs: Sequence[Type], *inputs: Type) -> int:
        return 2 * outputs[0].elements

    def spell(self, *inputs: Type) -> str:
        words = [type(move).__name__.lower() for move in self.moves]
        return " + ".join(["normalise", *words])


@op("wide_images", registry=None)
class WideImages(Op):
    """Images with so many channels, those behind their own 0, in another element type."""

    channels: int
    dtype: str
    differentiable = False

    def infer(self, x: Type) -> Type:
        return replace(x, shape=(*x.shape[:-1], self.channels), dtype=self.dtype)

    def flops(self, outputs: Sequence[Type], *inputs: Type) -> int:
        return 0
