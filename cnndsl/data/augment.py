"""Random changes of training images that leave their class as it is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from cnndsl.backends.numpy.prepare import moved
from cnndsl.diagnostics import error
from cnndsl.ops.prepare import FILLS, Hole, Mirror, Move, Window


class Augmentation(ABC):
    """Changes prepared images, each at random and for itself.

    Zero is the mean colour, since images are normalised before.
    """

    @abstractmethod
    def move(self, extent: tuple[int, int]) -> Move:
        """What is done to images of an extent (height, width).

        Raises:
            CnndslError: they are too small for it.
        """

    @abstractmethod
    def draw(
        self, count: int, extent: tuple[int, int], generator: np.random.Generator
    ) -> np.ndarray:
        """What is drawn for the move of so many images, int64 (count, draws).

        All randomness comes from `generator`: equal states give equal images.
        """

    def apply(self, images: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        """Images (N, H, W, C) after the move; the argument stays as it is."""
        extent = (images.shape[1], images.shape[2])
        move = self.move(extent)
        changed: np.ndarray = moved(move, images, self.draw(len(images), extent, generator))
        return changed


def _begins(
    count: int, extent: tuple[int, int], move: Window, generator: np.random.Generator
) -> np.ndarray:
    """Where windows begin, drawn evenly: a row and a column each."""
    (high, wide), (height, width) = move.extent, extent
    tops = generator.integers(height + 2 * move.pad - high + 1, size=count)
    lefts = generator.integers(width + 2 * move.pad - wide + 1, size=count)
    return np.stack([tops, lefts], axis=1)


def _checked(move: Window, extent: tuple[int, int]) -> Window:
    """The window, if there are pixels to mirror."""
    if move.fill == "reflect" and move.pad >= min(extent):
        raise error(
            "D0413",
            f"{move.pad} pixels cannot be mirrored on images of {extent[0]}x{extent[1]}",
        )
    return move


@dataclass(frozen=True)
class Crop(Augmentation):
    """Pad each side by `pad` pixels, then cut a window at a random place.

    The window is `size` (height, width), or as large as the image came in where `size` is None.
    `fill` is `zero`, `edge` or `reflect`.
    """

    pad: int = 0
    size: tuple[int, int] | None = None
    fill: str = "zero"

    def __post_init__(self) -> None:
        if self.pad < 0 or self.fill not in FILLS:
            raise error("D0413", f"no crop has pad {self.pad} and fill `{self.fill}`")

    def move(self, extent: tuple[int, int]) -> Window:
        height, width = extent
        size = self.size or extent
        if size[0] > height + 2 * self.pad or size[1] > width + 2 * self.pad:
            raise error(
                "D0413",
                f"a crop of {size[0]}x{size[1]} is larger than the images, {height}x{width}",
                help="resize them to more, or pad",
            )
        return _checked(Window(size, self.pad, self.fill), extent)

    def draw(
        self, count: int, extent: tuple[int, int], generator: np.random.Generator
    ) -> np.ndarray:
        return _begins(count, extent, self.move(extent), generator)


@dataclass(frozen=True)
class Flip(Augmentation):
    """Mirror left and right with probability one half."""

    def move(self, extent: tuple[int, int]) -> Mirror:
        return Mirror()

    def draw(
        self, count: int, extent: tuple[int, int], generator: np.random.Generator
    ) -> np.ndarray:
        return generator.integers(2, size=(count, 1))


@dataclass(frozen=True)
class Shift(Augmentation):
    """Move by up to `pixels` along each axis, evenly; what comes in has `fill`'s colour."""

    pixels: int
    fill: str = "edge"

    def __post_init__(self) -> None:
        if self.pixels < 0 or self.fill not in FILLS:
            raise error("D0413", f"no shift has {self.pixels} pixels and fill `{self.fill}`")

    def move(self, extent: tuple[int, int]) -> Window:
        return _checked(Window(extent, self.pixels, self.fill), extent)

    def draw(
        self, count: int, extent: tuple[int, int], generator: np.random.Generator
    ) -> np.ndarray:
        return _begins(count, extent, self.move(extent), generator)


@dataclass(frozen=True)
class Cutout(Augmentation):
    """Zero a square of `size` pixels a side; its centre is any pixel, so the edge may cut it."""

    size: int

    def __post_init__(self) -> None:
        if self.size < 1:
            raise error("D0413", f"a cutout of {self.size} pixels cuts nothing out")

    def move(self, extent: tuple[int, int]) -> Hole:
        return Hole(self.size)

    def draw(
        self, count: int, extent: tuple[int, int], generator: np.random.Generator
    ) -> np.ndarray:
        firsts = [generator.integers(n, size=count) - self.size // 2 for n in extent]
        return np.stack(firsts, axis=1)


#: Augmentations by the words of recipes, made of a number of pixels.
WORDS: dict[str, Callable[[int], Augmentation]] = {
    "crop": lambda pixels: Crop(size=(pixels, pixels)),
    "pad": lambda pixels: Crop(pad=pixels),
    "flip": lambda pixels: Flip(),
    "shift": Shift,
    "cutout": Cutout,
}
