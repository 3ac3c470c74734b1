"""Data sets by name, their splits, and the two that need no file of the user's."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from serving import code_of

import cnndsl.data
from cnndsl.data import Dataset, Split, entries, load, stratified_split, synthetic
from cnndsl.data.dataset import channel_statistics
from cnndsl.data.synthetic import capacity, motif
from cnndsl.diagnostics import CnndslError


def refusal(name: str, **options: int | tuple[int, int]) -> tuple[str, str]:
    """Code and help of the error that loading raises."""
    with pytest.raises(CnndslError) as caught:
        load(name, **options)  # type: ignore[arg-type]
    return code_of(caught), caught.value.diagnostics[0].help or ""


def test_every_data_set_has_a_name_and_a_summary() -> None:
    assert list(entries()) == ["cifar10", "cifar100", "digits", "npz", "synthetic"]
    assert all(entry.summary.endswith(".") for entry in entries().values())
    assert entries()["npz"].usage == "npz:PATH"


def test_an_unknown_name_gets_a_suggestion_and_the_list() -> None:
    code, help = refusal("cifar-10")
    assert code == "D0401"
    assert "did you mean `cifar10`?" in help
    assert "npz:PATH" in help
    assert refusal("MNIST") == ("D0401", refusal("zzz")[1])
    assert refusal("my/photos.npz") == ("D0401", "for a file: `npz:my/photos.npz`")


def test_what_follows_the_colon_is_checked() -> None:
    assert refusal("npz") == ("D0402", "write `npz:PATH`")
    assert refusal("npz:") == ("D0402", "write `npz:PATH`")
    assert refusal("digits:7") == ("D0402", "write `digits`")


def test_a_new_data_set_is_one_file() -> None:
    package = Path(cnndsl.data.__file__).parent
    names = {path.stem for path in package.glob("*.py")}
    for entry in entries().values():
        module = entry.load.__module__.rpartition(".")[2]
        others = [p for p in package.glob("*.py") if p.stem != module]
        assert module in names
        assert not [p for p in others if f'"{entry.name}"' in p.read_text()]


def test_a_split_holds_back_the_rounded_part_of_each_class() -> None:
    labels = np.repeat([0, 1, 2, 3, 5], [10, 7, 3, 2, 1])
    kept, held = stratified_split(labels, 0.2, 0)
    assert sorted([*kept, *held]) == list(range(len(labels)))
    assert np.bincount(labels[held]).tolist() == [2, 1, 1, 1]  # of 2.0, 1.4, 0.6, 0.4 and 0.2
    assert np.bincount(labels[kept]).tolist() == [8, 6, 2, 1, 0, 1]
    assert (np.diff(kept) > 0).all()
    assert (np.diff(held) > 0).all()


def test_a_split_leaves_each_class_on_both_sides_whatever_the_part() -> None:
    labels = np.repeat([0, 1], [50, 2])
    for fraction in (0.001, 0.999):
        kept, held = stratified_split(labels, fraction, 3)
        assert set(labels[kept]) == set(labels[held]) == {0, 1}
    with pytest.raises(ValueError, match="between"):
        stratified_split(labels, 1.0, 0)


def test_a_split_depends_on_the_seed_and_class_alone() -> None:
    labels = np.repeat([0, 1], 100)
    first = stratified_split(labels, 0.3, 1)[1]
    assert (first == stratified_split(labels, 0.3, 1)[1]).all()
    assert (first != stratified_split(labels, 0.3, 2)[1]).any()
    alone = stratified_split(labels[:100], 0.3, 1)[1]
    assert (first[labels[first] == 0] == alone).all()


def test_the_split_is_the_same_for_ever() -> None:
    held = stratified_split(np.arange(40) % 2, 0.25, 7)[1]
    assert held.tolist() == [3, 7, 9, 14, 22, 24, 28, 29, 33, 36]


def test_splits_refuse_other_types() -> None:
    images = np.zeros((2, 8, 8, 1), np.uint8)
    with pytest.raises(ValueError, match="uint8"):
        Split(images.astype(float), np.zeros(2, np.int64))
    with pytest.raises(ValueError, match="labels"):
        Split(images, np.zeros(3, np.int64))


def test_statistics_are_those_of_the_pixels() -> None:
    images = np.random.default_rng(0).integers(0, 256, (20, 9, 7, 3), dtype=np.uint8)
    mean, std = channel_statistics(images)
    np.testing.assert_allclose(mean, (images / 255).mean((0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(std, (images / 255).std((0, 1, 2)), rtol=1e-12)
    assert channel_statistics(images * 0)[1] == (1 / 255,) * 3


def test_digits_are_the_published_ones() -> None:
    data = load("digits")
    assert (len(data.train), len(data.test)) == (1438, 359)
    assert (data.extent, data.channels, data.classes) == ((8, 8), 1, 10)
    labels = np.concatenate([data.train.labels, data.test.labels])
    assert np.bincount(labels).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert np.bincount(data.test.labels).tolist() == [36, 36, 35, 37, 36, 36, 36, 36, 35, 36]
    assert set(np.unique(data.train.images)) <= {round(v * 255 / 16) for v in range(17)}
    assert data.mean[0] == pytest.approx((data.train.images / 255).mean())
    # The set's first image is in the training split; its second row is 0 0 13 15 10 15 5 0.
    assert data.train.images[0, 1, :, 0].tolist() == [0, 0, 207, 239, 159, 239, 80, 0]


def test_digits_split_is_the_same_for_ever() -> None:
    data = load("digits", seed=5)
    digest = hashlib.sha256(data.test.images.tobytes() + data.test.labels.tobytes()).hexdigest()
    assert digest == "6fdf98925d3818c64ebaee4d4ae5d42e4c4f21faea484ce271ae079d277b25a4"


def test_digits_come_with_their_licence() -> None:
    folder = Path(cnndsl.data.__file__).parent
    licence = (folder / "digits.LICENSE").read_text()
    for words in ("CC BY 4.0", "Alpaydin", "10.24432/C50P49", "What was changed"):
        assert words in licence
    assert (folder / "digits.npz").stat().st_size < 50_000
    assert set(zipfile.ZipFile(folder / "digits.npz").namelist()) == {"images.npy", "labels.npy"}


def test_synthetic_images_are_as_ordered() -> None:
    data = load("synthetic")
    assert (len(data.train), len(data.test), data.classes) == (2000, 500, 10)
    assert data.train.images.shape[1:] == (32, 32, 3)
    assert set(np.bincount(data.train.labels)) == {200}
    assert set(np.bincount(data.test.labels)) == {50}
    other = load("synthetic", classes=3, extent=(8, 21), channels=1)
    assert other.train.images.shape == (600, 8, 21, 1)
    assert len(other.mean) == len(other.std) == 1


def test_synthetic_images_depend_on_the_seed_alone() -> None:
    def pixels(**options: int) -> np.ndarray:
        return load("synthetic", extent=(16, 16), **options).train.images  # type: ignore[arg-type]

    assert (pixels(seed=1) == pixels(seed=1)).all()
    assert (pixels(seed=1) != pixels(seed=2)).any()
    # A class looks the same among more classes.
    assert (pixels(classes=4)[1::4] == pixels(classes=7)[1::7]).all()


def test_test_images_are_not_training_images() -> None:
    data = load("synthetic")
    train = {image.tobytes() for image in data.train.images}
    assert not any(image.tobytes() in train for image in data.test.images)


def test_large_synthetic_images_keep_within_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(synthetic, "MEMORY", 20 * 2**20)
    data = load("synthetic", extent=(224, 224), classes=12)
    size = data.train.images.nbytes + data.test.images.nbytes
    assert 16 * 2**20 < size <= 20 * 2**20
    assert set(np.bincount(data.test.labels, minlength=12)) == {2}
    least = load("synthetic", extent=(224, 224), classes=100)
    assert (len(least.train), len(least.test)) == (100, 100)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_thousand_classes_have_a_thousand_motifs(channels: int) -> None:
    assert capacity(channels) >= 1000
    names = [str(motif(label, channels)) for label in range(capacity(channels))]
    assert len(set(names)) == len(names)
    assert names[0].endswith("solid circle")
    assert names[1].endswith("striped square")


def test_synthetic_requests_out_of_range_are_refused() -> None:
    assert refusal("synthetic", classes=1)[0] == "D0402"
    assert refusal("synthetic", classes=capacity(1) + 1, channels=1)[0] == "D0402"
    assert refusal("synthetic", channels=2)[0] == "D0402"
    assert refusal("synthetic", extent=(7, 32))[0] == "D0402"


def nearest_centroid(data: Dataset) -> float:
    """Accuracy of calling an image what the closest mean image of a class is."""
    train = data.train.images.reshape(len(data.train), -1) / 255.0
    test = data.test.images.reshape(len(data.test), -1) / 255.0
    classes = range(data.classes)
    centres = np.stack([train[data.train.labels == label].mean(0) for label in classes])
    scores = 2 * test @ centres.T - (centres**2).sum(1)
    return float((scores.argmax(1) == data.test.labels).mean())


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("side", [8, 32])
def test_synthetic_classes_can_be_told_apart_but_not_at_a_glance(channels: int, side: int) -> None:
    accuracy = nearest_centroid(load("synthetic", extent=(side, side), channels=channels))
    assert 0.17 < accuracy < 0.8


def test_synthetic_images_are_the_same_however_few_are_asked_for() -> None:
    options: dict[str, Any] = {"extent": (16, 16), "classes": 30}
    whole, few = (load("synthetic", **options).train for _ in range(2))
    places = np.array([17, 3, 47])
    assert (few.pixels(places) == whole.images[places]).all()
    assert few.shape == whole.images.shape
