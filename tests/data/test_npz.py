"""A person's own .npz: taken in every sensible form, else refused in one clear error."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from serving import code_of

from cnndsl.data import Dataset, load
from cnndsl.diagnostics import CnndslError

IMAGES = np.random.default_rng(0).integers(0, 256, (20, 9, 7, 3), dtype=np.uint8)
LABELS = np.arange(20) % 4


def saved(tmp_path: Path, **arrays: Any) -> Dataset:
    np.savez_compressed(tmp_path / "mine.npz", **arrays)
    return load(f"npz:{tmp_path / 'mine.npz'}")


def refusal(tmp_path: Path, **arrays: Any) -> tuple[str, str]:
    """Code, and message with help, of the error that loading these arrays raises."""
    with pytest.raises(CnndslError) as caught:
        saved(tmp_path, **arrays)
    (diagnostic,) = caught.value.diagnostics
    assert "mine.npz" in diagnostic.message
    return code_of(caught), f"{diagnostic.message} | {diagnostic.help}"


def whole(tmp_path: Path, **changes: Any) -> tuple[str, str]:
    return refusal(tmp_path, **{"images": IMAGES, "labels": LABELS, **changes})


def test_four_arrays_by_keras_names(tmp_path: Path) -> None:
    data = saved(
        tmp_path,
        x_train=IMAGES,
        y_train=LABELS[:, np.newaxis].astype(np.uint8),
        x_test=IMAGES[:5],
        y_test=LABELS[:5],
    )
    assert data.name == "mine"
    assert (data.train.images == IMAGES).all()
    assert (data.train.labels == LABELS).all()
    assert (len(data.test), data.extent, data.channels) == (5, (9, 7), 3)
    assert data.class_names == ("0", "1", "2", "3")
    assert data.mean == pytest.approx((IMAGES / 255).mean((0, 1, 2)))


def test_two_arrays_are_split_by_class(tmp_path: Path) -> None:
    data = saved(tmp_path, images=IMAGES, labels=LABELS, class_names=list("abcd"))
    assert np.bincount(data.train.labels).tolist() == [4] * 4
    assert np.bincount(data.test.labels).tolist() == [1] * 4
    assert data.class_names == ("a", "b", "c", "d")


def test_grey_images_need_no_channel_axis(tmp_path: Path) -> None:
    assert saved(tmp_path, images=IMAGES[..., 0], labels=LABELS).channels == 1


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_floats_become_bytes(tmp_path: Path, dtype: type) -> None:
    data = saved(tmp_path, images=(IMAGES / 255).astype(dtype), labels=LABELS)
    held = np.concatenate([data.train.images, data.test.images]).astype(int)
    order = np.concatenate([np.flatnonzero(LABELS >= 0)])
    assert held.shape == IMAGES[order].shape
    assert sorted(held.sum((1, 2, 3))) == pytest.approx(
        sorted(IMAGES.astype(int).sum((1, 2, 3))), abs=0 if dtype != np.float16 else 40
    )


def test_names_may_be_bytes(tmp_path: Path) -> None:
    names = np.array([b"w", b"x", "ü".encode(), b"z"])
    data = saved(tmp_path, images=IMAGES, labels=LABELS, class_names=names)
    assert data.class_names == ("w", "x", "ü", "z")


def test_a_class_may_have_no_image_where_it_has_a_name(tmp_path: Path) -> None:
    data = saved(tmp_path, images=IMAGES, labels=LABELS, class_names=list("abcde"))
    assert data.classes == 5


def test_files_that_are_no_npz_are_refused(tmp_path: Path) -> None:
    def code(content: bytes) -> str:
        path = tmp_path / "mine.npz"
        path.write_bytes(content)
        with pytest.raises(CnndslError) as caught:
            load(f"npz:{path}")
        return code_of(caught)

    assert code(b"") == "D0404"
    assert code(b"hello there, this is text") == "D0404"
    assert code(b"\x80\x04K\x01.") == "D0404"
    assert code(b"PK\x03\x04 not really a zip") == "D0404"
    np.save(tmp_path / "one.npy", IMAGES)
    assert code((tmp_path / "one.npy").read_bytes()) == "D0404"
    np.savez(tmp_path / "whole.npz", images=IMAGES, labels=LABELS)
    packed = (tmp_path / "whole.npz").read_bytes()
    assert code(packed[: len(packed) // 2]) == "D0404"
    assert code(packed.replace(b"\x93NUMPY", b"\x93NOMPY")) == "D0404"


def test_missing_files_and_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CnndslError) as caught:
        load(f"npz:{tmp_path / 'absent.npz'}")
    assert code_of(caught) == "D0403"
    with pytest.raises(CnndslError) as caught:
        load(f"npz:{tmp_path}")
    assert code_of(caught) == "D0404"


def test_other_arrays_are_named(tmp_path: Path) -> None:
    code, text = refusal(tmp_path, x=IMAGES, y=LABELS)
    assert code == "D0405"
    assert "holds `x`, `y`" in text
    assert "x_train, y_train, x_test, y_test" in text
    assert refusal(tmp_path, x_train=IMAGES, y_train=LABELS)[0] == "D0405"
    assert refusal(tmp_path)[0] == "D0405"


def test_python_objects_are_never_unpickled(tmp_path: Path) -> None:
    ragged = np.empty(20, dtype=object)
    code, text = whole(tmp_path, images=ragged)
    assert code == "D0404"
    assert "could run code" in text


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (IMAGES[0, 0], "shape (7, 3)"),
        (IMAGES[np.newaxis], "shape (1, 20, 9, 7, 3)"),
        (IMAGES[:0], "shape (0, 9, 7, 3)"),
        (IMAGES.transpose(0, 3, 1, 2), "transpose(0, 2, 3, 1)"),
        (IMAGES.astype(np.int64), "type int64"),
        (IMAGES > 9, "type bool"),
        (IMAGES.astype(complex), "type complex128"),
        (IMAGES.astype(np.float32), "floats from 0 to 255"),
        (IMAGES / 255 - 0.5, "floats from -0.5 to 0.5"),
        (np.where(IMAGES > 250, np.nan, 0.0), "not finite"),
        (np.where(IMAGES > 250, np.inf, 0.0), "not finite"),
    ],
)
def test_wrong_images_are_described(tmp_path: Path, images: np.ndarray, words: str) -> None:
    code, text = whole(tmp_path, images=images)
    assert code == "D0406"
    assert "`images`" in text
    assert words in text


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (LABELS[:-1], "20 images, `labels` 19 labels"),
        (LABELS.astype(float), "type float64"),
        (np.array(list("abcd") * 5), "type <U1"),
        (LABELS - 1, "holds -1"),
        (LABELS + 10**9, "up to 65535"),
        (np.eye(4, dtype=int)[LABELS], "argmax(axis=1)"),
        (LABELS.reshape(20, 1, 1), "shape (20, 1, 1)"),
        (LABELS * 0, "one class only"),
        (np.arange(20), "no class has the two images"),
    ],
)
def test_wrong_labels_are_described(tmp_path: Path, labels: np.ndarray, words: str) -> None:
    code, text = whole(tmp_path, labels=labels)
    assert code == "D0407"
    assert words in text


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["a", "b", "c"], "3 names, the labels go up to 3"),
        ([1, 2, 3, 4], "int64"),
        ([["a", "b", "c", "d"]], "shape (1, 4)"),
    ],
)
def test_wrong_class_names_are_described(tmp_path: Path, names: list[Any], words: str) -> None:
    code, text = whole(tmp_path, class_names=names)
    assert code == "D0407"
    assert words in text


def test_the_splits_must_agree(tmp_path: Path) -> None:
    four = {"x_train": IMAGES, "y_train": LABELS, "x_test": IMAGES[:4], "y_test": LABELS[:4]}
    code, text = refusal(tmp_path, **{**four, "x_test": IMAGES[:4, :8]})
    assert (code, "9x7x3, test images 8x7x3" in text) == ("D0406", True)
    code, text = refusal(tmp_path, **{**four, "y_test": LABELS[:4] + 1})
    assert (code, "label 4, the training split none above 3" in text) == ("D0407", True)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(places=st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), max_size=5))
def test_damaged_files_never_show_a_traceback(
    tmp_path: Path, places: list[tuple[int, int]]
) -> None:
    clean = tmp_path / "clean.npz"
    if not clean.exists():
        np.savez_compressed(clean, images=IMAGES[:, :4, :4], labels=LABELS)
    content = bytearray(clean.read_bytes())
    for place, value in places:
        content[place % len(content)] = value
    broken = tmp_path / "mine.npz"
    broken.write_bytes(content)
    try:
        load(f"npz:{broken}")
    except CnndslError:
        return
