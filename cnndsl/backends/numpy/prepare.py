"""Images from pixels: what augmentations do to batches, which loading on the host uses too."""

from __future__ import annotations

from functools import singledispatch
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from cnndsl.graph.types import Type
from cnndsl.ops.prepare import Hole, Mirror, Move, Prepare, WideImages, Window
from cnndsl.runtime.kernel import Array, Builders, Kernel

#: NumPy's word for how pixels outside an image are filled.
MODES = {"zero": "constant", "edge": "edge", "reflect": "reflect"}


@singledispatch
def moved(move: Move, images: Array, drawn: Array) -> Array:
    """Images (N, H, W, C) after a move with what is drawn for each (N, draws), as new ones."""
    raise TypeError(f"no move is a {type(move).__name__}")


@moved.register
def window(move: Window, images: Array, drawn: Array) -> Array:
    images = np.ascontiguousarray(_pad(images, move.pad, move.fill))
    count, height, width, channels = images.shape
    high, wide = move.extent
    image, row, pixel, _ = images.strides
    # Every window as rows of width * channels adjacent numbers, which copy fastest.
    windows = as_strided(
        images,
        (count, height - high + 1, width - wide + 1, high, wide * channels),
        (image, row, pixel, row, images.itemsize),
        writeable=False,
    )
    chosen = windows[np.arange(count), drawn[:, 0], drawn[:, 1]]
    return chosen.reshape(count, high, wide, channels)


@moved.register
def mirror(move: Mirror, images: Array, drawn: Array) -> Array:
    turned = np.flatnonzero(drawn[:, 0])
    flipped = images.copy()
    flipped[turned] = images[turned, :, ::-1]
    return flipped


@moved.register
def hole(move: Hole, images: Array, drawn: Array) -> Array:
    outside = []
    for axis in (0, 1):
        first, places = drawn[:, axis, np.newaxis], np.arange(images.shape[1 + axis])
        outside.append((places < first) | (places >= first + move.size))
    kept = outside[0][:, :, np.newaxis] | outside[1][:, np.newaxis, :]
    return np.where(kept[..., np.newaxis], images, np.zeros((), dtype=images.dtype))


def _pad(images: Array, pad: int, fill: str) -> Array:
    """Images with `pad` pixels more on each side."""
    if not pad:
        return images
    if fill != "zero":
        mode: Any = MODES[fill]
        return np.pad(images, ((0, 0), (pad, pad), (pad, pad), (0, 0)), mode=mode)
    count, height, width, channels = images.shape
    padded = np.zeros((count, height + 2 * pad, width + 2 * pad, channels), dtype=images.dtype)
    padded[:, pad : pad + height, pad : pad + width] = images
    return padded


def prepare(op: Prepare, inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Kernel:
    scale, shift = (np.array(each, np.float32) for each in (op.scale, op.shift))

    def run(pixels: Array, chosen: Array, y: Array) -> None:
        images = pixels[chosen[:, 0]].reshape(-1, *op.stored) * scale + shift
        first = 1
        for move in op.moves:
            images = moved(move, images, chosen[:, first : first + move.draws])
            first += move.draws
        y[..., : len(op.scale)] = images
        y[..., len(op.scale) :] = 0

    return Kernel(run)


def wide_images(op: WideImages, inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Kernel:
    own = inputs[0].channels

    def run(x: Array, y: Array) -> None:
        y[..., :own] = x
        y[..., own:] = 0

    return Kernel(run)


KERNELS: Builders = {Prepare: prepare, WideImages: wide_images}
