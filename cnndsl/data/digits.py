"""UCI optical digits: 1,797 real handwritten digits that come with the package."""

from __future__ import annotations

from importlib.resources import files

import numpy as np

from cnndsl.data.dataset import Dataset, Request, Split, channel_statistics, stratified_split
from cnndsl.data.registry import dataset

#: The part of each class that is the test split, and the seed that chose it. Never change them:
#: published accuracies are on this split.
TEST_FRACTION, SPLIT_SEED = 0.2, 1998


@dataset("digits")
def load_digits(request: Request) -> Dataset:
    """UCI optical digits: 1,797 grey 8x8 images of handwritten digits, in the package.

    1,438 images to train with and 359 to test with, stratified, always the same.
    """
    with (files("cnndsl.data") / "digits.npz").open("rb") as file, np.load(file) as arrays:
        counts, labels = arrays["images"], arrays["labels"].astype(np.int64)
    images = np.round(counts * (255 / 16)).astype(np.uint8)[..., np.newaxis]
    everything = Split(images, labels)
    kept, held = stratified_split(labels, TEST_FRACTION, SPLIT_SEED)
    train = everything.take(kept)
    mean, std = channel_statistics(train.images)
    names = tuple(str(digit) for digit in range(10))
    return Dataset("digits", train, everything.take(held), names, mean, std)
