"""Random changes of training images that leave their class as it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.lib.stride_tricks import as_strided

from cnndsl.diagnostics import error

#: How pixels outside an image are filled, and NumPy's word for it.
FILLS = {"zero": "constant", "edge": "edge", "reflect": "reflect"}


class Augmentation(Protocol):
    """Changes prepared images, float32 (N, H, W, C), each at random and for itself.

    `apply` leaves its argument as it is. All randomness comes from `generator`: equal states give
    equal images. Zero is the mean colour, since images are normalised before.
    """

    def apply(self, images: np.ndarray, generator: np.random.Generator) -> np.ndarray: ...


def _pad(images: np.ndarray, pad: int, fill: str) -> np.ndarray:
    """Images with `pad` pixels more on each side."""
    if fill == "reflect" and pad >= min(images.shape[1:3]):
        height, width = images.shape[1:3]
        raise error("D0413", f"{pad} pixels cannot be mirrored on images of {height}x{width}")
    if fill != "zero":
        return np.pad(images, ((0, 0), (pad, pad), (pad, pad), (0, 0)), mode=FILLS[fill])  # type: ignore[call-overload, no-any-return]
    count, height, width, channels = images.shape
    padded = np.zeros((count, height + 2 * pad, width + 2 * pad, channels), dtype=images.dtype)
    padded[:, pad : pad + height, pad : pad + width] = images
    return padded


def _windows(
    images: np.ndarray, extent: tuple[int, int], generator: np.random.Generator
) -> np.ndarray:
    """A window of `extent` (height, width) of each image, at a place drawn evenly."""
    count, height, width, channels = images.shape
    images = np.ascontiguousarray(images)
    tops = generator.integers(height - extent[0] + 1, size=count)
    lefts = generator.integers(width - extent[1] + 1, size=count)
    image, row, pixel, _ = images.strides
    # Every window as rows of width * channels adjacent numbers, which copy fastest.
    windows = as_strided(
        images,
        (count, height - extent[0] + 1, width - extent[1] + 1, extent[0], extent[1] * channels),
        (image, row, pixel, row, images.itemsize),
        writeable=False,
    )
    chosen: np.ndarray = windows[np.arange(count), tops, lefts]
    return chosen.reshape(count, *extent, channels)


@dataclass(frozen=True)
class Crop:
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

    def apply(self, images: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        height, width = images.shape[1:3]
        size = self.size or (height, width)
        if size[0] > height + 2 * self.pad or size[1] > width + 2 * self.pad:
            raise error(
                "D0413",
                f"a crop of {size[0]}x{size[1]} is larger than the images, {height}x{width}",
                help="resize them to more, or pad",
            )
        return _windows(_pad(images, self.pad, self.fill), size, generator)


@dataclass(frozen=True)
class Flip:
    """Mirror left and right with probability one half."""

    def apply(self, images: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        turned = np.flatnonzero(generator.integers(2, size=len(images)))
        flipped = images.copy()
        flipped[turned] = images[turned, :, ::-1]
        return flipped


@dataclass(frozen=True)
class Shift:
    """Move by up to `pixels` along each axis, evenly; what comes in has `fill`'s colour."""

    pixels: int
    fill: str = "edge"

    def __post_init__(self) -> None:
        if self.pixels < 0 or self.fill not in FILLS:
            raise error("D0413", f"no shift has {self.pixels} pixels and fill `{self.fill}`")

    def apply(self, images: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        return _windows(_pad(images, self.pixels, self.fill), images.shape[1:3], generator)


@dataclass(frozen=True)
class Cutout:
    """Zero a square of `size` pixels a side; its centre is any pixel, so the edge may cut it."""

    size: int

    def __post_init__(self) -> None:
        if self.size < 1:
            raise error("D0413", f"a cutout of {self.size} pixels cuts nothing out")

    def apply(self, images: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        rows = self._outside(images.shape[1], len(images), generator)
        columns = self._outside(images.shape[2], len(images), generator)
        kept = rows[:, :, np.newaxis] | columns[:, np.newaxis, :]
        return np.where(kept[..., np.newaxis], images, np.zeros((), dtype=images.dtype))

    def _outside(self, length: int, count: int, generator: np.random.Generator) -> np.ndarray:
        """Which pixels of an axis lie outside the square, bool (count, length)."""
        first = generator.integers(length, size=(count, 1)) - self.size // 2
        places = np.arange(length)
        return (places < first) | (places >= first + self.size)
