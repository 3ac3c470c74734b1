"""The way of an image from pixels to the numbers that a network sees."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from cnndsl.data.dataset import Dataset, channel_statistics
from cnndsl.data.resize import resize
from cnndsl.diagnostics import CnndslError, error

#: Grey from red, green and blue: ITU-R BT.601 luma.
LUMA = tuple(np.float32(weight) for weight in (0.299, 0.587, 0.114))


def convert_channels(images: np.ndarray, channels: int) -> np.ndarray:
    """Images (N, H, W, C) with `channels` channels; float32 when colour becomes grey.

    Grey becomes colour by repeating the channel, colour becomes grey as
    0.299 R + 0.587 G + 0.114 B.
    """
    present = images.shape[3]
    if present == channels:
        return images
    if present == 1:
        return np.repeat(images, channels, axis=3)
    if (present, channels) == (3, 1):
        red, green, blue = (images[..., c : c + 1] * LUMA[c] for c in range(3))
        return red + green + blue
    raise error(
        "D0413",
        f"images of {present} channels cannot feed an input of {channels}",
        help="one channel becomes any number, three become one",
    )


def _centre(images: np.ndarray, extent: tuple[int, int]) -> np.ndarray:
    """The middle `extent` (height, width) of images (N, H, W, C)."""
    top, left = (images.shape[1] - extent[0]) // 2, (images.shape[2] - extent[1]) // 2
    return images[:, top : top + extent[0], left : left + extent[1]]


@dataclass(frozen=True)
class Preprocessing:
    """How images become a network's input of `extent` (height, width) and `channels`.

    They are resized to `resize`, of which the middle `extent` is cut, or straight to `extent` where
    `resize` is None; the aspect is not kept. Then value/255 has `mean` subtracted and is divided by
    `std`, a number a channel.
    """

    extent: tuple[int, int]
    channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    resize: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        problem = self._problem()
        if problem:
            raise error("D0413", problem)

    def _problem(self) -> str | None:
        if min(*self.extent, self.channels) < 1:
            return f"no images are {self.extent[0]}x{self.extent[1]}x{self.channels}"
        if len(self.mean) != self.channels or len(self.std) != self.channels:
            return f"mean and std need {self.channels} numbers, one a channel"
        if not (np.isfinite(self.mean).all() and np.isfinite(self.std).all() and min(self.std) > 0):
            return "mean and std must be finite and std positive"
        if self.resize and (self.resize[0] < self.extent[0] or self.resize[1] < self.extent[1]):
            return "{}x{} cannot be cut out of {}x{}".format(*self.extent, *self.resize)
        return None

    def prepare(self, images: np.ndarray) -> np.ndarray:
        """Float32 (N, *extent, channels) from uint8 images (N, H, W, C) of any extent."""
        if images.dtype != np.uint8 or images.ndim != 4:
            raise ValueError(f"images {images.dtype}{images.shape}, not uint8 NHWC")
        fewer = images.shape[3] > self.channels
        values = convert_channels(images, self.channels) if fewer else images
        values = _centre(resize(values, self.resize or self.extent), self.extent)
        values = convert_channels(values, self.channels)
        # A row at a time: NumPy is six times as slow where the innermost axis is that of channels.
        scale, shift = (np.tile(numbers, self.extent[1]) for numbers in self.affine())
        rows = values.reshape(*values.shape[:2], -1)
        prepared: np.ndarray = rows * scale
        prepared += shift
        return prepared.reshape(values.shape)

    def affine(self) -> tuple[np.ndarray, np.ndarray]:
        """What pixels from 0 to 255 are multiplied by, and what is then added; float32, (C,)."""
        scale = 1 / (255 * np.array(self.std))
        shift = -np.array(self.mean) / np.array(self.std)
        return scale.astype(np.float32), shift.astype(np.float32)

    def before_crop(self) -> Preprocessing:
        """The same without cutting the middle: what training cuts at random places."""
        return replace(self, extent=self.resize or self.extent, resize=None)

    def to_json(self) -> dict[str, object]:
        """The values that `from_json` needs, as JSON has them: for a checkpoint."""
        return {
            "extent": list(self.extent),
            "channels": self.channels,
            "mean": list(self.mean),
            "std": list(self.std),
            "resize": list(self.resize) if self.resize else None,
        }

    @staticmethod
    def from_json(values: object) -> Preprocessing:
        """The preprocessing that `to_json` described; an error with code D0415 if there is none."""
        try:
            if not isinstance(values, Mapping):
                raise TypeError("it is no JSON object")
            resized = values["resize"]
            return Preprocessing(
                extent=_two(values["extent"]),
                channels=int(values["channels"]),
                mean=tuple(float(value) for value in values["mean"]),
                std=tuple(float(value) for value in values["std"]),
                resize=None if resized is None else _two(resized),
            )
        except (KeyError, TypeError, ValueError, CnndslError) as problem:
            reason = f"{problem} is missing" if isinstance(problem, KeyError) else str(problem)
            raise error("D0415", f"the preprocessing is not described properly: {reason}") from None


def _two(values: object) -> tuple[int, int]:
    if not isinstance(values, list | tuple) or len(values) != 2:
        raise ValueError(f"{values!r} is no height and width")
    return (int(values[0]), int(values[1]))


def preprocessing_for(
    dataset: Dataset,
    extent: tuple[int, int],
    channels: int,
    resize: tuple[int, int] | None = None,
) -> Preprocessing:
    """The preprocessing of `dataset` for an input of `extent` (height, width) and `channels`.

    Mean and deviation are the data set's; where colour becomes grey they are measured on the grey
    training images.
    """
    mean, std = dataset.mean, dataset.std
    if dataset.channels == 1:
        mean, std = mean * channels, std * channels
    elif dataset.channels != channels:
        images = dataset.train.images
        parts = (images[start : start + 4096] for start in range(0, len(images), 4096))
        grey = [np.round(convert_channels(part, channels)).astype(np.uint8) for part in parts]
        mean, std = channel_statistics(np.concatenate(grey))
    return Preprocessing(extent, channels, mean, std, resize)
