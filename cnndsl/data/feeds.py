"""Where images are prepared: on the host, or by the program that is given pixels."""

from __future__ import annotations

import math
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from cnndsl.data.augment import Augmentation, Crop
from cnndsl.data.dataset import Split
from cnndsl.data.preprocess import Preprocessing
from cnndsl.diagnostics import error
from cnndsl.ops.prepare import Prepare, Window
from cnndsl.passes.pixels import PixelSource
from cnndsl.runtime.kernel import Backend

#: Prepared images are kept in memory where they take fewer bytes than this.
CACHE_BYTES = 512 * 2**20
#: A data set stays on a device where it takes at most this part of what is free there.
RESIDENT_SHARE = 1 / 16


class Feed(ABC):
    """What a program is given for images of a split at `indices`; places count these.

    Attributes:
        names: the inputs of a program that it is given a batch for.
        training, evaluation: where programs have images from; None where they are given them.
    """

    names: tuple[str, ...] = ()
    training: PixelSource | None = None
    evaluation: PixelSource | None = None

    def __init__(
        self,
        split: Split,
        indices: np.ndarray,
        preprocessing: Preprocessing,
        augmentations: Sequence[Augmentation],
    ) -> None:
        self._split = split
        self._indices = indices
        self._preprocessing = preprocessing
        self._before = preprocessing
        if preprocessing.resize and any(isinstance(a, Crop) and a.size for a in augmentations):
            self._before = preprocessing.before_crop()
        self._augmentations = tuple(augmentations)
        self._set_up()

    @abstractmethod
    def _set_up(self) -> None:
        """Find out what images are made of."""

    @abstractmethod
    def augmented(
        self, places: np.ndarray, randomness: np.random.Generator
    ) -> tuple[np.ndarray, ...]:
        """Arrays for `names`: the images at places, augmented in order."""

    @abstractmethod
    def plain(self, places: np.ndarray) -> tuple[np.ndarray, ...]:
        """Arrays for `names`: the images at places as evaluation sees them."""

    def _fit(self, extent: tuple[int, int]) -> None:
        """Refuse augmented images that are not the network's input."""
        wanted = self._preprocessing.extent
        if extent != wanted:
            raise error(
                "D0413",
                "augmented images are {}x{}, the input is {}x{}".format(*extent, *wanted),
            )


class Images(Feed):
    """Images are prepared and augmented on the host: float32 (batch, height, width, channels)."""

    names = ("image",)

    def _set_up(self) -> None:
        split, indices, preprocessing = self._split, self._indices, self._preprocessing
        self._plain = self._training = _Prepared(split, indices, preprocessing)
        if self._before is not preprocessing:
            self._training = _Prepared(split, indices, self._before)

    def augmented(
        self, places: np.ndarray, randomness: np.random.Generator
    ) -> tuple[np.ndarray, ...]:
        images = self._training.take(places)
        for augmentation in self._augmentations:
            images = augmentation.apply(images, randomness)
        self._fit((images.shape[1], images.shape[2]))
        return (images,)

    def plain(self, places: np.ndarray) -> tuple[np.ndarray, ...]:
        return (self._plain.take(places),)


class Pixels(Feed):
    """The program prepares images: it is given pixels, and which of them, with what is drawn.

    Pixels are those of the data set, uint8, or where they have to be resized or lose channels,
    which the host does, prepared ones in float32. They are (images, height · width · channels);
    what is chosen is int32 (batch, 1 + draws). See `Prepare`.
    """

    names: tuple[str, ...] = ("pixels", "chosen")

    def _set_up(self) -> None:
        split, preprocessing = self._split, self._preprocessing
        if not self._augmentations:
            self._before = preprocessing.before_crop()
        extent, before = preprocessing.extent, self._before.extent
        self._centre = ((before[0] - extent[0]) // 2, (before[1] - extent[1]) // 2)
        stored = split.shape[1:]
        scale, shift = (tuple(each.tolist()) for each in preprocessing.affine())
        self._prepared = None
        if stored[:2] != before or stored[2] > preprocessing.channels:
            self._prepared = _Prepared(split, self._indices, self._before)
            stored = (*before, preprocessing.channels)
            scale, shift = (1.0,) * preprocessing.channels, (0.0,) * preprocessing.channels
        height, width, channels = stored
        prepare = Prepare((height, width, channels), scale, shift)
        self._plain = self._augmented = prepare
        if before != extent:
            self._plain = self._augmented = replace(prepare, moves=(Window(extent),))
        if self._augmentations:
            moves = []
            for augmentation in self._augmentations:
                moves.append(augmentation.move(before))
                before = moves[-1].after(before)
            self._fit(before)
            self._augmented = replace(prepare, moves=tuple(moves))
        self.training, self.evaluation = self._source(self._augmented), self._source(self._plain)

    def _source(self, prepare: Prepare) -> PixelSource:
        return PixelSource(prepare, "uint8" if self._prepared is None else "float32")

    @property
    def nbytes(self) -> int:
        """The bytes of the pixels of all images."""
        numbers = len(self._indices) * math.prod(self._plain.stored)
        return numbers * (1 if self._prepared is None else 4)

    def pixels(self, places: np.ndarray) -> np.ndarray:
        """The pixels at places, an image a row."""
        if self._prepared is not None:
            images = self._prepared.take(places)
        else:
            images = self._split.pixels(self._indices[places])
        return images.reshape(len(places), -1)

    def augmented(
        self, places: np.ndarray, randomness: np.random.Generator
    ) -> tuple[np.ndarray, ...]:
        if not self._augmentations:
            return self.plain(places)
        extents = self._augmented.extents
        draws = [
            augmentation.draw(len(places), extent, randomness)
            for augmentation, extent in zip(self._augmentations, extents, strict=False)
        ]
        return self._given(places, np.concatenate(draws, axis=1))

    def plain(self, places: np.ndarray) -> tuple[np.ndarray, ...]:
        centre = self._centre if self._plain.moves else ()
        return self._given(places, np.tile(centre, (len(places), 1)))

    def _given(self, places: np.ndarray, draws: np.ndarray) -> tuple[np.ndarray, ...]:
        """Arrays for `names`: the images at places, with what is drawn for each."""
        return self.pixels(places), _chosen(np.arange(len(places)), draws)


class Resident(Pixels):
    """As `Pixels`, for a program that has the pixels of all images from the start."""

    names = ("chosen",)

    def _source(self, prepare: Prepare) -> PixelSource:
        return replace(super()._source(prepare), resident=len(self._indices))

    def all_pixels(self) -> np.ndarray:
        """The pixels of all images, an image a row."""
        return self.pixels(np.arange(len(self._indices)))

    def _given(self, places: np.ndarray, draws: np.ndarray) -> tuple[np.ndarray, ...]:
        return (_chosen(places, draws),)


def training_feed(backend: Backend) -> Callable[..., Feed]:
    """How an engine is fed for training: what makes a feed as its class does."""
    if not backend.prepares:
        return Images

    def made(*given: Any) -> Feed:
        streamed, free = Pixels(*given), backend.free_bytes()
        stays = free is None or streamed.nbytes <= RESIDENT_SHARE * free
        return Resident(*given) if stays else streamed

    return made


def evaluation_feed(backend: Backend) -> Callable[..., Feed]:
    """How an engine is fed with images that it sees once."""
    return Pixels if backend.prepares else Images


def _chosen(rows: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """Which images, and what is drawn for each."""
    return np.concatenate([rows[:, np.newaxis], draws], axis=1).astype(np.int32)


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
