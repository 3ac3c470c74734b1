"""Augmentations change what they say, for each image by itself, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from serving import code_of

from cnndsl.data.augment import Augmentation, Crop, Cutout, Flip, Shift
from cnndsl.data.streams import AUGMENTATION, generator
from cnndsl.diagnostics import CnndslError

IMAGES = np.random.default_rng(0).standard_normal((64, 9, 7, 3)).astype(np.float32)
ALL: list[Augmentation] = [
    Crop(pad=2),
    Crop(pad=3, fill="reflect"),
    Crop(size=(5, 6)),
    Crop(pad=1, size=(11, 3), fill="edge"),
    Flip(),
    Shift(3),
    Shift(2, fill="zero"),
    Cutout(4),
]


def changed(augmentation: Augmentation, images: np.ndarray = IMAGES, seed: int = 0) -> np.ndarray:
    return augmentation.apply(images, generator(AUGMENTATION, seed))


@pytest.mark.parametrize("augmentation", ALL, ids=str)
def test_equal_generators_give_equal_images(augmentation: Augmentation) -> None:
    before = IMAGES.copy()
    first = changed(augmentation)
    assert (first == changed(augmentation)).all()
    assert (first != changed(augmentation, seed=1)).any()
    assert (before == IMAGES).all()
    assert first.dtype == np.float32
    assert not np.shares_memory(first, IMAGES)


@pytest.mark.parametrize("augmentation", ALL, ids=str)
def test_views_of_images_are_taken_too(augmentation: Augmentation) -> None:
    view = IMAGES[::-1, :, ::-1]
    assert (changed(augmentation, view) == changed(augmentation, view.copy())).all()


@pytest.mark.parametrize(
    ("fill", "mode"), [("zero", "constant"), ("edge", "edge"), ("reflect",) * 2]
)
def test_a_crop_is_a_window_of_the_padded_image(fill: str, mode: str) -> None:
    padded = np.pad(IMAGES, ((0, 0), (2, 2), (2, 2), (0, 0)), mode=mode)  # type: ignore[call-overload]
    places = []
    for image, window in zip(padded, changed(Crop(pad=2, fill=fill)), strict=True):
        found = [
            (top, left)
            for top in range(5)
            for left in range(5)
            if (image[top : top + 9, left : left + 7] == window).all()
        ]
        places.append(found[0])
    assert len(set(places)) > 15  # of 25


def test_a_crop_to_a_size_cuts_out() -> None:
    assert changed(Crop(size=(5, 6))).shape == (64, 5, 6, 3)
    assert (changed(Crop(size=(9, 7))) == IMAGES).all()


def test_a_flip_mirrors_about_half() -> None:
    mirrored = [
        bool((new == old[:, ::-1]).all()) for new, old in zip(changed(Flip()), IMAGES, strict=True)
    ]
    kept = [bool((new == old).all()) for new, old in zip(changed(Flip()), IMAGES, strict=True)]
    assert [not k for k in kept] == mirrored
    assert 16 < sum(mirrored) < 48


def test_a_shift_moves_and_fills_with_the_edge() -> None:
    ramp = np.broadcast_to(np.arange(9, dtype=np.float32)[None, :, None, None], (64, 9, 7, 1))
    moved = changed(Shift(2), ramp)
    offsets = {float(image[4, 0, 0]) - 4 for image in moved}
    assert offsets == {-2, -1, 0, 1, 2}
    assert moved.min() == 0
    assert moved.max() == 8


def test_a_cutout_zeroes_one_square() -> None:
    sizes = set()
    for image in changed(Cutout(4), np.ones((64, 9, 7, 3), np.float32)):
        gone = np.argwhere(image[..., 0] == 0)
        low, high = gone.min(0), gone.max(0)
        assert len(gone) == np.prod(high - low + 1)
        assert (high - low < 4).all()
        sizes.add(len(gone))
    assert max(sizes) == 16


def test_nothing_is_left_of_small_images_to_mirror_or_cut() -> None:
    for augmentation in (Crop(pad=7, fill="reflect"), Crop(size=(10, 7)), Shift(9, "reflect")):
        with pytest.raises(CnndslError) as caught:
            changed(augmentation)
        assert code_of(caught) == "D0413"
    for make in (
        lambda: Crop(-1),
        lambda: Crop(1, fill="red"),
        lambda: Shift(-1),
        lambda: Cutout(0),
    ):
        with pytest.raises(CnndslError) as caught:
            make()
        assert code_of(caught) == "D0413"
