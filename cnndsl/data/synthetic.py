"""Synthetic images: shapes with textures and tints before noisy grounds, as many as wanted."""

from __future__ import annotations

import threading
from dataclasses import dataclass

import numpy as np

from cnndsl.data.dataset import Dataset, Request, Split, channel_statistics
from cnndsl.data.registry import dataset
from cnndsl.data.shapes import SHAPES, TEXTURES
from cnndsl.data.streams import PICTURES, generator
from cnndsl.diagnostics import error

#: Images of each class in the training and the test split, where memory allows.
TRAIN_EACH, TEST_EACH = 200, 50
#: Bytes of all images together; a class has one image in each split even if that takes more.
MEMORY = 200 * 2**20
#: Mean and deviation are those of the training images of so many classes.
STATISTICS_CLASSES = 10
#: Pixels drawn at a time: bounds the memory for floating-point numbers.
CHUNK = 2**20

#: Red, green and blue of the tints of colour images; grey ones are light or dark.
COLOURS = {
    "red": (0.9, 0.2, 0.15),
    "green": (0.2, 0.75, 0.2),
    "blue": (0.2, 0.35, 0.95),
    "yellow": (0.95, 0.9, 0.2),
    "violet": (0.6, 0.2, 0.85),
    "cyan": (0.2, 0.85, 0.9),
    "orange": (0.95, 0.55, 0.1),
    "pink": (0.95, 0.5, 0.75),
}
GREYS = {"light": (0.85,), "dark": (0.15,)}


@dataclass(frozen=True)
class Motif:
    """What the images of a class have in common; each field names an entry of its table."""

    shape: str
    texture: str
    tint: str
    ground: str

    def __str__(self) -> str:
        words = f"{self.tint} {self.texture} {self.shape}"
        return words if self.ground == "solid" else f"{words} on {self.ground} ground"


def motif(label: int, channels: int) -> Motif:
    """The motif of a class; different labels below `capacity(channels)` have different ones.

    The label's digits choose shape, texture, tint and ground; a lower digit is added to a higher
    one, so that neighbours differ in more than one respect and the first classes are well apart.
    """
    shapes, textures, tints = list(SHAPES), list(TEXTURES), list(_tints(channels))
    rest, shape = divmod(label, len(shapes))
    rest, texture = divmod(rest, len(textures))
    ground, tint = divmod(rest, len(tints))
    tint = (tint + shape + texture) % len(tints)
    texture = (texture + shape) % len(textures)
    return Motif(shapes[shape], textures[texture], tints[tint], textures[ground])


def capacity(channels: int) -> int:
    """How many different motifs there are."""
    return len(SHAPES) * len(TEXTURES) * len(_tints(channels)) * len(TEXTURES)


def _tints(channels: int) -> dict[str, tuple[float, ...]]:
    tables: dict[int, dict[str, tuple[float, ...]]] = {1: {**GREYS}, 3: {**COLOURS}}
    return tables[channels]


@dataset("synthetic")
def load_synthetic(request: Request) -> Dataset:
    """Shapes, textures and tints, drawn as wanted: any size from 8x8, any number of classes.

    10 classes of 3x32x32 by default; 200 training and 50 test images a class, fewer where all would
    take more than 200 MB. The same seed gives the same images. They are drawn as they are needed.
    """
    classes = 10 if request.classes is None else request.classes
    channels = 3 if request.channels is None else request.channels
    extent = request.extent or (32, 32)
    _check(classes, extent, channels)
    affordable = MEMORY // (classes * extent[0] * extent[1] * channels)
    each = max(min(affordable, TRAIN_EACH + TEST_EACH), 2)
    test_each = max(each * TEST_EACH // (TRAIN_EACH + TEST_EACH), 1)
    motifs = [motif(label, channels) for label in range(classes)]
    train, test = (
        Drawn(motifs, count, extent, channels, request.seed, part)
        for part, count in enumerate((each - test_each, test_each))
    )
    few = np.flatnonzero(train.labels < STATISTICS_CLASSES)
    mean, std = channel_statistics(train.pixels(few))
    return Dataset("synthetic", train, test, tuple(map(str, motifs)), mean, std)


def _check(classes: int, extent: tuple[int, int], channels: int) -> None:
    if channels not in (1, 3):
        raise error("D0402", f"synthetic images have 1 or 3 channels, not {channels}")
    if min(extent) < 8:
        raise error("D0402", f"synthetic images are 8x8 or larger, not {extent[0]}x{extent[1]}")
    if not 2 <= classes <= capacity(channels):
        raise error(
            "D0402",
            f"synthetic images of {channels} channels have 2 to {capacity(channels)} classes, "
            f"not {classes}",
        )


class Drawn(Split):
    """A split whose images are drawn when they are first asked for, all of a class at once."""

    def __init__(
        self,
        motifs: list[Motif],
        each: int,
        extent: tuple[int, int],
        channels: int,
        seed: int,
        part: int,
    ) -> None:
        """`each` images of every motif; the labels run 0, 1, 2, … over and over."""
        count = len(motifs)
        values = {
            "labels": np.tile(np.arange(count), each),
            "_motifs": motifs,
            "_key": (seed, part),
            "_pixels": np.empty((each * count, *extent, channels), dtype=np.uint8),
            "_missing": set(range(count)),
            "_lock": threading.Lock(),
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)

    _motifs: list[Motif]
    _key: tuple[int, int]
    _pixels: np.ndarray
    _missing: set[int]
    _lock: threading.Lock

    @property
    def images(self) -> np.ndarray:
        self._need(self.labels)
        return self._pixels

    @property
    def shape(self) -> tuple[int, ...]:
        return self._pixels.shape

    def pixels(self, indices: np.ndarray) -> np.ndarray:
        self._need(self.labels[indices])
        found: np.ndarray = self._pixels[indices]
        return found

    def _need(self, labels: np.ndarray) -> None:
        with self._lock:
            for label in sorted(self._missing.intersection(labels.tolist())):
                self._draw_class(label)
                self._missing.discard(label)

    def _draw_class(self, label: int) -> None:
        total, height, width, channels = self.shape
        count = len(self._motifs)
        each = total // count
        at_once = max(CHUNK // (height * width), 1)
        randomness = generator(PICTURES, *self._key, label)
        for first in range(0, each, at_once):
            number = min(at_once, each - first)
            rows = slice(label + first * count, label + (first + number - 1) * count + 1, count)
            drawn = _draw(self._motifs[label], number, (height, width), channels, randomness)
            self._pixels[rows] = drawn


def _draw(
    subject: Motif,
    count: int,
    extent: tuple[int, int],
    channels: int,
    randomness: np.random.Generator,
) -> np.ndarray:
    """`count` images of a motif, uint8 (count, *extent, channels).

    Position, size, angle, the phases of patterns, brightness, tint and ground vary; noise is added.
    """

    def between(low: float, high: float, width: int = 1) -> np.ndarray:
        """Even random numbers, float32 (count, 1, 1, width)."""
        drawn = randomness.random((count, 1, 1, width), dtype=np.float32)
        return drawn * np.float32(high - low) + np.float32(low)

    height, width = extent
    side = min(extent)
    rows = np.arange(height, dtype=np.float32).reshape(1, height, 1, 1)
    columns = np.arange(width, dtype=np.float32).reshape(1, 1, width, 1)
    radius = side * between(0.28, 0.44)
    # The shape's own coordinates: -1..1 within it.
    x = (columns - (width / 2 - 0.5 + side * between(-0.14, 0.14))) / radius
    y = (rows - (height / 2 - 0.5 + side * between(-0.14, 0.14))) / radius
    angle = between(-0.3, 0.3)
    cosine, sine = np.cos(angle), np.sin(angle)
    distance = SHAPES[subject.shape](cosine * x + sine * y, cosine * y - sine * x)
    inside = np.clip(0.5 - distance * radius, 0, 1)

    def pattern(name: str) -> np.ndarray:
        fineness, texture = TEXTURES[name]
        period = max(side / 5, 5.0) / fineness * between(0.9, 1.1)
        return texture(columns / period + between(0, 1), rows / period + between(0, 1))

    tint = np.array(_tints(channels)[subject.tint], dtype=np.float32)
    paint = tint + between(-0.2, 0.2, channels)
    # Grey stripes alternate with the middle: against the opposite, light and dark would be one.
    other = paint * 0.3 + 0.15 if channels == 3 else np.full_like(paint, 0.5)
    texture = pattern(subject.texture)
    front = paint * texture + other * (1 - texture)
    back = between(0.15, 0.85, channels) + between(-0.2, 0.2) * (columns / width - 0.5)
    if subject.ground != "solid":
        back = back + 0.3 * (pattern(subject.ground) - 0.5)
    image = back + inside * (front - back)
    image *= between(0.8, 1.15)
    noise = randomness.integers(0, 256, size=image.shape, dtype=np.uint8)
    image += (noise.astype(np.float32) - 127.5) * np.float32(0.2 / 255)
    pixels: np.ndarray = np.clip(image * 255 + 0.5, 0, 255).astype(np.uint8)
    return pixels
