"""Bilinear resizing with antialiasing, as Pillow does it, of whole batches."""

from __future__ import annotations

from functools import lru_cache

import numpy as np


@lru_cache(maxsize=64)
def _taps(source: int, target: int) -> tuple[np.ndarray, np.ndarray]:
    """For each of `target` pixels the source pixels it mixes, int (target, taps), and their
    weights, float32 (target, taps), which sum to one.

    A triangle of half width max(1, source / target) source pixels about the pixel's centre.
    """
    scale = source / target
    reach = max(scale, 1.0)
    centres = (np.arange(target) + 0.5) * scale
    first = np.maximum(np.floor(centres - reach + 0.5), 0).astype(np.int64)
    last = np.minimum(np.floor(centres + reach + 0.5), source).astype(np.int64)
    places = first[:, np.newaxis] + np.arange(int((last - first).max()))
    distance = np.abs(places + 0.5 - centres[:, np.newaxis]) / reach
    weights = np.where(places < last[:, np.newaxis], np.maximum(1 - distance, 0), 0)
    weights /= weights.sum(axis=1, keepdims=True)
    return np.minimum(places, source - 1), weights.astype(np.float32)


def _resize_axis(images: np.ndarray, axis: int, target: int) -> np.ndarray:
    """Float32 `images` with `axis` brought to `target` pixels."""
    source = images.shape[axis]
    if source == target:
        return images
    places, weights = _taps(source, target)
    shape = [1] * images.ndim
    shape[axis] = target
    total: np.ndarray = np.take(images, places[:, 0], axis=axis) * weights[:, 0].reshape(shape)
    for tap in range(1, places.shape[1]):
        part = np.take(images, places[:, tap], axis=axis)
        part *= weights[:, tap].reshape(shape)
        total += part
    return total


def resize(images: np.ndarray, extent: tuple[int, int]) -> np.ndarray:
    """Images (N, H, W, C) brought to `extent` (height, width), float32, not rounded.

    Every image comes out the same whichever others are in the batch. The axis that leaves less to
    do goes first.
    """
    height, width = extent
    values = images.astype(np.float32)
    if height * images.shape[2] <= images.shape[1] * width:
        return _resize_axis(_resize_axis(values, 1, height), 2, width)
    return _resize_axis(_resize_axis(values, 2, width), 1, height)
