"""Batches of a split in a reproducible order, prepared by worker threads."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np

from cnndsl.data.augment import Augmentation, Crop
from cnndsl.data.dataset import Split
from cnndsl.data.preprocess import Preprocessing
from cnndsl.data.streams import AUGMENTATION, ORDER, generator, permutation, stream
from cnndsl.diagnostics import error

#: Prepared images are kept in memory where they take fewer bytes than this.
CACHE_BYTES = 512 * 2**20
#: Batches that are ready or in work beyond the one a worker is at.
AHEAD = 2

Batch = TypeVar("Batch")


class Loader:
    """Batches of the images of `split` at `indices` (all by default).

    Images are float32 (batch, height, width, channels) as `preprocessing` makes them, changed by
    `augmentations` in order while training; labels are int64 (batch,). With `workers` threads
    batches are made ahead of time; with 0 when they are asked for. What is in a batch depends on
    (seed, epoch, its index) alone: neither on the workers nor on where the epoch was entered.
    """

    def __init__(
        self,
        split: Split,
        preprocessing: Preprocessing,
        *,
        batch: int,
        indices: np.ndarray | None = None,
        augmentations: Sequence[Augmentation] = (),
        seed: int = 0,
        workers: int = 1,
    ) -> None:
        if batch < 1 or workers < 0:
            raise ValueError(f"a batch of {batch} images, {workers} workers")
        self._split = split
        self._indices = np.arange(len(split)) if indices is None else np.asarray(indices)
        self._extent = preprocessing.extent
        self._test_view = _Prepared(split, self._indices, preprocessing)
        self._training_view = self._test_view
        if preprocessing.resize and any(isinstance(a, Crop) and a.size for a in augmentations):
            crop_later = preprocessing.before_crop()
            self._training_view = _Prepared(split, self._indices, crop_later)
        self._augmentations = tuple(augmentations)
        self.batch = batch
        self.seed = seed
        self.workers = workers

    def __len__(self) -> int:
        """How many images there are."""
        return len(self._indices)

    @property
    def batches(self) -> int:
        """How many batches an epoch of training has: a last partial one is left out."""
        return len(self) // self.batch

    def epoch(self, epoch: int, start: int = 0) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """The batches of an epoch from the one with index `start` on, as (images, labels).

        The images come in a new order each epoch; those that fill no batch are left out, others
        each time. Batches are the same bit for bit whatever `start` is. Workers begin at once.
        """
        if self.batches == 0:
            raise error(
                "D0414",
                f"a batch of {self.batch} is larger than the training split, {len(self)} images",
                help=f"use `--batch {max(len(self), 1)}` or less",
            )
        if start < 0:
            raise ValueError(f"no batch has index {start}")
        order = permutation(len(self), stream(ORDER, self.seed, epoch))

        def make(index: int) -> tuple[np.ndarray, np.ndarray]:
            places = order[index * self.batch : (index + 1) * self.batch]
            images = self._training_view.take(places)
            randomness = generator(AUGMENTATION, self.seed, epoch, index)
            for augmentation in self._augmentations:
                images = augmentation.apply(images, randomness)
            if images.shape[1:3] != self._extent:
                raise error(
                    "D0413",
                    "augmented images are {}x{}, the input is {}x{}".format(
                        *images.shape[1:3], *self._extent
                    ),
                )
            return images, self._split.labels[self._indices[places]]

        return _ahead(make, range(start, self.batches), self.workers)

    def evaluate(self) -> Iterator[tuple[np.ndarray, np.ndarray, int]]:
        """All images once, in the order of the split, as (images, labels, valid).

        Every batch is full; the last is filled up with zero images of label 0, and the first
        `valid` are those that count. Nothing is augmented.
        """

        def make(index: int) -> tuple[np.ndarray, np.ndarray, int]:
            places = np.arange(index * self.batch, min((index + 1) * self.batch, len(self)))
            images = self._test_view.take(places)
            labels = self._split.labels[self._indices[places]]
            missing = self.batch - len(places)
            if missing:
                images = np.pad(images, ((0, missing), (0, 0), (0, 0), (0, 0)))
                labels = np.pad(labels, (0, missing))
            return images, labels, len(places)

        return _ahead(make, range(-(-len(self) // self.batch)), self.workers)


class _Prepared:
    """Images of a split as a preprocessing makes them, kept if they are small, else made anew."""

    def __init__(self, split: Split, indices: np.ndarray, preprocessing: Preprocessing) -> None:
        self._split = split
        self._indices = indices
        self._preprocessing = preprocessing
        self._lock = threading.Lock()
        self._kept: np.ndarray | None = None
        numbers = len(indices) * int(np.prod(preprocessing.extent)) * preprocessing.channels
        self._small = 4 * numbers < CACHE_BYTES

    def take(self, places: np.ndarray) -> np.ndarray:
        """Float32 images, those of `indices[places]`; the caller may write to them."""
        if not self._small:
            return self._preprocessing.prepare(self._split.pixels(self._indices[places]))
        with self._lock:
            if self._kept is None:
                self._kept = self._all()
        images: np.ndarray = self._kept[places]
        return images

    def _all(self) -> np.ndarray:
        settings = self._preprocessing
        shape = (len(self._indices), *settings.extent, settings.channels)
        everything = np.empty(shape, dtype=np.float32)
        for first in range(0, len(self._indices), 512):
            part = self._indices[first : first + 512]
            everything[first : first + 512] = settings.prepare(self._split.pixels(part))
        return everything


def _ahead(make: Callable[[int], Batch], indices: range, workers: int) -> Iterator[Batch]:
    """`make` of each index, in order, made by threads up to `workers + AHEAD` indices early.

    What `make` raises is raised here. The threads begin at once, and end before this does, also
    when it is closed early.
    """
    if workers == 0:
        return map(make, indices)
    batches = _made(make, indices, workers)
    next(batches)
    return batches


def _made(make: Callable[[int], Batch], indices: range, workers: int) -> Iterator[Any]:
    """None when the threads have begun, and then what they make."""
    pool = ThreadPoolExecutor(workers, thread_name_prefix="cnndsl-data")
    try:
        early = workers + AHEAD
        waiting = deque(pool.submit(make, index) for index in indices[:early])
        yield None
        for index in indices[early:]:
            yield waiting.popleft().result()
            waiting.append(pool.submit(make, index))
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
