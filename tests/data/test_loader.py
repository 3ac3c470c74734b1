"""Batches: the same from any start and any number of workers, and no thread outlives them."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass

import numpy as np
import pytest
from serving import code_of

from cnndsl.data import Split, feeds
from cnndsl.data.augment import Augmentation, Crop, Cutout, Flip, Shift
from cnndsl.data.loader import AHEAD, Loader
from cnndsl.data.preprocess import Preprocessing
from cnndsl.diagnostics import CnndslError

COUNT = 103
SPLIT = Split(
    np.random.default_rng(0).integers(0, 256, (COUNT, 6, 8, 1), dtype=np.uint8),
    np.arange(COUNT, dtype=np.int64),
)
SETTINGS = Preprocessing((10, 10), 1, (0.4,), (0.3,))
AUGMENTATIONS: tuple[Augmentation, ...] = (Crop(pad=2), Flip(), Shift(1), Cutout(3))


def loader(**changes: object) -> Loader:
    options: dict[str, object] = {"batch": 10, "augmentations": AUGMENTATIONS, "seed": 3}
    return Loader(SPLIT, SETTINGS, **{**options, **changes})  # type: ignore[arg-type]


def data_threads() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name.startswith("cnndsl-data")]


Batches = list[tuple[np.ndarray, np.ndarray]]


def same(first: Batches, second: Batches) -> bool:
    return len(first) == len(second) and all(
        a.tobytes() == c.tobytes() and b.tobytes() == d.tobytes()
        for (a, b), (c, d) in zip(first, second, strict=True)
    )


def test_an_epoch_has_each_image_at_most_once() -> None:
    batches = list(loader().epoch(0))
    assert len(batches) == loader().batches == 10
    for images, labels in batches:
        assert images.shape == (10, 10, 10, 1)
        assert labels.shape == (10,)
        assert images.dtype == np.float32
        assert labels.dtype == np.int64
    seen = np.concatenate([labels for _, labels in batches])
    assert len(set(seen.tolist())) == 100


def test_labels_stay_with_their_images() -> None:
    base = SETTINGS.prepare(SPLIT.images)
    for images, labels in loader(augmentations=()).epoch(2):
        assert (images == base[labels]).all()


def test_the_order_is_new_each_epoch_and_seed() -> None:
    def order(seed: int, epoch: int) -> tuple[int, ...]:
        plain = loader(augmentations=(), seed=seed)
        return tuple(int(label) for _, labels in plain.epoch(epoch) for label in labels)

    orders = [order(seed, epoch) for seed in (0, 1) for epoch in (0, 1)]
    assert len(set(orders)) == 4
    assert orders[0] == order(0, 0)
    missing = {frozenset(range(COUNT)) - frozenset(one) for one in orders}
    assert len(missing) > 1


@pytest.mark.parametrize("start", [0, 1, 7, 9, 10, 50])
def test_batches_are_the_same_from_any_start(start: int) -> None:
    assert same(list(loader().epoch(4))[start:], list(loader().epoch(4, start)))


@pytest.mark.parametrize("workers", [0, 1, 2, 5])
def test_batches_are_the_same_with_any_number_of_workers(workers: int) -> None:
    assert same(list(loader(workers=0).epoch(1)), list(loader(workers=workers).epoch(1)))


def test_batches_are_the_same_whether_or_not_images_are_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kept = list(loader().epoch(0))
    monkeypatch.setattr(feeds, "CACHE_BYTES", 0)
    assert same(kept, list(loader(workers=2).epoch(0)))


def test_batches_may_be_written_to() -> None:
    one = loader(augmentations=())
    before = [(x.copy(), y.copy()) for x, y in one.epoch(0)]
    for images, labels in one.epoch(0):
        images[...] = 0
        labels[...] = 0
    assert same(before, list(one.epoch(0)))


def test_only_the_images_at_the_indices_are_used() -> None:
    indices = np.arange(5, 50, 2)
    part = loader(indices=indices, augmentations=())
    seen = np.concatenate([labels for _, labels in part.epoch(0)])
    assert set(seen.tolist()) <= set(indices.tolist())
    valid = np.concatenate([labels[:count] for _, labels, count in part.evaluate()])
    assert (valid == indices).all()


def test_evaluating_visits_every_image_once_in_full_batches() -> None:
    base = SETTINGS.prepare(SPLIT.images)
    at = 0
    for images, labels, valid in loader(workers=2).evaluate():
        assert images.shape == (10, 10, 10, 1)
        assert (images[:valid] == base[at : at + valid]).all()
        assert (labels[:valid] == np.arange(at, at + valid)).all()
        assert (images[valid:] == images[valid - 1]).all()
        assert (labels[valid:] == labels[valid - 1]).all()
        at += valid
    assert (at, valid) == (COUNT, 3)


def test_a_crop_to_size_takes_the_place_of_the_middle() -> None:
    settings = Preprocessing((10, 10), 1, (0.0,), (1.0,), resize=(14, 12))
    training = Loader(SPLIT, settings, batch=10, augmentations=[Crop(size=(10, 10))])
    whole = settings.before_crop().prepare(SPLIT.images)
    places = set()
    for images, labels in training.epoch(0):
        for image, label in zip(images, labels, strict=True):
            places |= {
                (top, left)
                for top in range(5)
                for left in range(3)
                if (image == whole[label, top : top + 10, left : left + 10]).all()
            }
    assert len(places) == 15
    images, _, _ = next(iter(training.evaluate()))
    assert (images == settings.prepare(SPLIT.images[:10])).all()


def test_augmented_images_must_fit_the_input() -> None:
    for workers in (0, 2):
        with pytest.raises(CnndslError) as caught:
            list(loader(augmentations=[Crop(size=(6, 6))], workers=workers).epoch(0))
        assert code_of(caught) == "D0413"
        assert "6x6, the input is 10x10" in str(caught.value)


def test_a_batch_larger_than_the_split_is_refused_at_once() -> None:
    with pytest.raises(CnndslError) as caught:
        loader(batch=104).epoch(0)
    assert code_of(caught) == "D0414"
    assert "--batch 103" in str(caught.value.diagnostics[0].help)
    assert len(list(loader(batch=104).evaluate())) == 1


def test_impossible_numbers_are_refused() -> None:
    for changes in ({"batch": 0}, {"workers": -1}):
        with pytest.raises(ValueError, match="batch"):
            loader(**changes)
    with pytest.raises(ValueError, match="index"):
        loader().epoch(0, -1)


@dataclass(frozen=True)
class Probe:
    """Counts its calls, and fails at one of them."""

    calls: list[int]
    fails_at: int = -1

    def apply(self, images: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        self.calls.append(len(images))
        if len(self.calls) == self.fails_at:
            raise RuntimeError("the fourth")
        return images


def test_what_a_worker_raises_is_raised_to_the_consumer_in_its_place() -> None:
    batches = loader(augmentations=[Probe([], fails_at=4)], workers=1).epoch(0)
    for _ in range(3):
        next(batches)
    with pytest.raises(RuntimeError, match="the fourth"):
        next(batches)
    assert not data_threads()


def test_workers_stay_a_bounded_number_of_batches_ahead() -> None:
    calls: list[int] = []
    batches = loader(augmentations=[Probe(calls)], batch=2, workers=2).epoch(0)
    next(batches)
    time.sleep(0.2)
    assert 2 <= len(calls) <= 1 + 2 + AHEAD
    del batches


@pytest.mark.parametrize("workers", [1, 4])
def test_no_thread_outlives_an_epoch_however_it_ends(workers: int) -> None:
    list(loader(workers=workers).epoch(0))
    assert not data_threads()
    for _ in loader(workers=workers).epoch(0):
        assert data_threads()
        break
    assert not data_threads()
    batches = loader(workers=workers).evaluate()
    next(batches)
    with pytest.raises(KeyboardInterrupt):
        batches.throw(KeyboardInterrupt)  # type: ignore[attr-defined]
    assert not data_threads()
    loader(workers=workers).epoch(0)
    assert not data_threads()
