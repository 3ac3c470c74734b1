"""Every code about data is reached by a mistake that a person can make."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from serving import HASTE, code_of

from cnndsl.data import Request, Split, cifar, load
from cnndsl.data.augment import Cutout
from cnndsl.data.loader import Loader
from cnndsl.data.picture import load_image
from cnndsl.data.preprocess import Preprocessing
from cnndsl.diagnostics import CODES, CnndslError, render


def _npz(folder: Path, **arrays: object) -> None:
    np.savez(folder / "mine.npz", **arrays)  # type: ignore[arg-type]
    load(f"npz:{folder / 'mine.npz'}")


def _text(folder: Path, name: str) -> Path:
    (folder / name).write_text("text")
    return folder / name


def _small_loader() -> None:
    split = Split(np.zeros((2, 8, 8, 1), np.uint8), np.zeros(2, np.int64))
    Loader(split, Preprocessing((8, 8), 1, (0.0,), (1.0,)), batch=3).epoch(0)


IMAGES = np.zeros((4, 8, 8), np.uint8)
REQUEST = Request("", None, None, None, None, 0, True, None)

MISTAKES: dict[str, Callable[[Path], object]] = {
    "D0401": lambda folder: load("cifer10"),
    "D0402": lambda folder: load("synthetic", classes=1),
    "D0403": lambda folder: load("cifar10", data_dir=folder),
    "D0404": lambda folder: load(f"npz:{_text(folder, 'mine.npz')}"),
    "D0405": lambda folder: _npz(folder, pictures=IMAGES),
    "D0406": lambda folder: _npz(folder, images=IMAGES[0], labels=np.arange(4)),
    "D0407": lambda folder: _npz(folder, images=IMAGES, labels=np.arange(3)),
    "D0408": lambda folder: load("cifar10", data_dir=_text(folder, "cifar-10-binary.tar.gz")),
    "D0409": lambda folder: cifar.load_archive(
        cifar.CIFAR10, REQUEST, mirrors=["http://127.0.0.1:9"], patience=replace(HASTE, rounds=1)
    ),
    "D0410": lambda folder: load("cifar10", download=False),
    "D0411": lambda folder: cifar.load_archive(cifar.CIFAR10, REQUEST, mirrors=[]),
    "D0412": lambda folder: load_image(_text(folder, "picture.png")),
    "D0413": lambda folder: Cutout(0),
    "D0414": lambda folder: _small_loader(),
    "D0415": lambda folder: Preprocessing.from_json({"extent": [8, 8]}),
}


@pytest.mark.parametrize("code", MISTAKES)
def test_a_mistake_is_reported_under_its_code(
    code: str, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if code == "D0411":
        monkeypatch.setenv("CNNDSL_CACHE", str(_text(tmp_path, "file") / "cache"))
    with pytest.raises(CnndslError) as caught:
        MISTAKES[code](tmp_path)
    assert code_of(caught) == code
    assert caught.value.status == 1
    assert render(caught.value.diagnostics[0]).startswith(f"error[{code}]: ")


def test_every_code_about_data_has_a_mistake() -> None:
    assert sorted(MISTAKES) == sorted(code for code in CODES if code.startswith("D04"))
