"""What a data set is, and how one is split by class."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cnndsl.data.streams import SPLIT, permutation, stream

#: Called while a file downloads: bytes so far, bytes in all if known, the mirror's URL.
Progress = Callable[[int, "int | None", str], None]


@dataclass(frozen=True, eq=False)
class Split:
    """Images, uint8 (count, height, width, channels), and labels, int64 (count,), from zero."""

    images: np.ndarray
    labels: np.ndarray

    def __post_init__(self) -> None:
        if self.images.dtype != np.uint8 or self.images.ndim != 4:
            raise ValueError(f"images {self.images.dtype}{self.images.shape}, not uint8 NHWC")
        if self.labels.dtype != np.int64 or self.labels.shape != self.images.shape[:1]:
            raise ValueError(f"labels {self.labels.dtype}{self.labels.shape}, not int64 (N,)")

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def shape(self) -> tuple[int, ...]:
        """Count, height, width and channels."""
        return self.images.shape

    def pixels(self, indices: np.ndarray) -> np.ndarray:
        """The images at `indices`, copied."""
        found: np.ndarray = self.images[indices]
        return found

    def take(self, indices: np.ndarray) -> Split:
        """The images and labels at `indices`, copied."""
        return Split(self.images[indices], self.labels[indices])


@dataclass(frozen=True, eq=False)
class Dataset:
    """A training and a test split of the same extent, channels and classes.

    `mean` and `std` hold a number a channel: of the training pixels on the scale 0..1.
    """

    name: str
    train: Split
    test: Split
    class_names: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @property
    def classes(self) -> int:
        """How many classes there are; labels are 0..classes-1."""
        return len(self.class_names)

    @property
    def channels(self) -> int:
        """1 for grey, 3 for red, green and blue."""
        return int(self.train.shape[3])

    @property
    def extent(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return (int(self.train.shape[1]), int(self.train.shape[2]))


@dataclass(frozen=True)
class Request:
    """What `load` was asked for.

    `argument` is what follows the colon of the name. `classes`, `extent` (height, width) and
    `channels` are what the model wants: a generated data set makes its images so, a stored one
    comes as it is.
    """

    argument: str
    data_dir: Path | None
    classes: int | None
    extent: tuple[int, int] | None
    channels: int | None
    seed: int
    download: bool
    progress: Progress | None


def channel_statistics(images: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation a channel of uint8 images (N, H, W, C), on the scale 0..1.

    Exact up to the last rounding: they come from the counts of the 256 values. A deviation below
    1/255 (a channel of one colour) counts as 1/255, so that dividing by it stays harmless.
    """
    values = np.arange(256) / 255.0
    means, deviations = [], []
    for channel in range(images.shape[3]):
        counts = np.zeros(256, dtype=np.int64)
        for start in range(0, len(images), 4096):
            part = images[start : start + 4096, :, :, channel]
            counts += np.bincount(part.ravel(), minlength=256)
        weights = counts / counts.sum()
        mean = float(weights @ values)
        means.append(mean)
        deviations.append(max(float(np.sqrt(weights @ (values - mean) ** 2)), 1 / 255))
    return tuple(means), tuple(deviations)


def stratified_split(
    labels: np.ndarray, fraction: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Indices to keep and indices to hold back, each ascending int64; together they are all.

    Of a class with n members `floor(fraction * n + 1/2)` are held back, but at least one and at
    most n-1, so that each class is on both sides; the only member of a class is kept. Which ones
    depends on (seed, class) alone. `fraction` lies strictly between 0 and 1.
    """
    if not 0 < fraction < 1:
        raise ValueError(f"fraction {fraction} is not between 0 and 1")
    held = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        count = min(max(int(fraction * len(members) + 0.5), 1), len(members) - 1)
        order = permutation(len(members), stream(SPLIT, seed, int(label)))
        held[members[order[:count]]] = True
    return np.flatnonzero(~held), np.flatnonzero(held)
