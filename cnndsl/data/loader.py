"""Batches of a split in a reproducible order, prepared by worker threads."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np

from cnndsl.data.augment import Augmentation
from cnndsl.data.dataset import Split
from cnndsl.data.feeds import Feed, Images
from cnndsl.data.preprocess import Preprocessing
from cnndsl.data.streams import AUGMENTATION, ORDER, generator, permutation, stream
from cnndsl.diagnostics import error

#: Batches that are ready or in work beyond the one a worker is at.
AHEAD = 2

Batch = TypeVar("Batch")


class Loader:
    """Batches of the images of `split` at `indices` (all by default).

    Images are prepared on the host, and changed by `augmentations` in order while training, unless
    another `feed` leaves that to the program. With `workers` threads batches are made ahead of
    time; with 0 when they are asked for. What is in a batch depends on (seed, epoch, its index)
    alone: neither on the workers nor on where the epoch was entered.

    Attributes:
        feed: what makes batches of images.
        names: the inputs of a program that batches are for, "labels" last: int64 (batch,).
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
        feed: Callable[..., Feed] = Images,
    ) -> None:
        if batch < 1 or workers < 0:
            raise ValueError(f"a batch of {batch} images, {workers} workers")
        self._indices = np.arange(len(split)) if indices is None else np.asarray(indices)
        self._labels = split.labels
        self.feed = feed(split, self._indices, preprocessing, augmentations)
        self.names = (*self.feed.names, "labels")
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

    def epoch(self, epoch: int, start: int = 0) -> Iterator[tuple[np.ndarray, ...]]:
        """The batches of an epoch from the one with index `start` on: arrays for `names`.

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

        def make(index: int) -> tuple[np.ndarray, ...]:
            places = order[index * self.batch : (index + 1) * self.batch]
            randomness = generator(AUGMENTATION, self.seed, epoch, index)
            return *self.feed.augmented(places, randomness), self._labels[self._indices[places]]

        return _ahead(make, range(start, self.batches), self.workers)

    def evaluate(self) -> Iterator[tuple[Any, ...]]:
        """All images once, in the order of the split: arrays for `names`, and how many are valid.

        Every batch is full; the last is filled up with its last image. Nothing is augmented.
        """

        def make(index: int) -> tuple[Any, ...]:
            places = np.arange(index * self.batch, min((index + 1) * self.batch, len(self)))
            valid = len(places)
            places = np.pad(places, (0, self.batch - valid), mode="edge")
            return *self.feed.plain(places), self._labels[self._indices[places]], valid

        return _ahead(make, range(-(-len(self) // self.batch)), self.workers)


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
