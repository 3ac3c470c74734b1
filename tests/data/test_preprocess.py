"""Resizing, channels, normalising, and picture files."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from serving import code_of

from cnndsl.data import Dataset, Split, load
from cnndsl.data.picture import load_image
from cnndsl.data.preprocess import Preprocessing, convert_channels, preprocessing_for
from cnndsl.data.resize import resize
from cnndsl.diagnostics import CnndslError

PLAIN = Preprocessing((8, 8), 3, (0.0,) * 3, (1.0,) * 3)


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ((8, 8), (32, 32)),
        ((32, 32), (8, 8)),
        ((37, 53), (20, 91)),
        ((90, 120), (64, 64)),
        ((5, 5), (7, 3)),
        ((1, 1), (4, 4)),
        ((16, 16), (16, 16)),
    ],
)
def test_resizing_is_pillows_bilinear(source: tuple[int, int], target: tuple[int, int]) -> None:
    images = noise(3, *source, 3)
    size = (target[1], target[0])
    pictures = [Image.fromarray(image) for image in images]
    expected = [np.asarray(p.resize(size, Image.Resampling.BILINEAR)) for p in pictures]
    # Pillow rounds to whole numbers after each axis.
    assert np.abs(resize(images, target) - np.stack(expected)).max() <= 1.01


def test_an_image_resizes_alike_in_any_batch() -> None:
    images = noise(9, 13, 17, 3)
    alone = np.concatenate([resize(image[np.newaxis], (29, 8)) for image in images])
    assert (alone == resize(images, (29, 8))).all()


def test_shrinking_averages_and_never_skips() -> None:
    board = np.indices((64, 64)).sum(0) % 2 * np.uint8(255)
    small = resize(board[np.newaxis, ..., np.newaxis].astype(np.uint8), (8, 8))
    assert np.abs(small - 127.5).max() < 6


def test_pixels_are_scaled_centred_and_divided() -> None:
    images = noise(4, 8, 8, 3)
    settings = Preprocessing((8, 8), 3, (0.1, 0.2, 0.3), (0.5, 0.6, 0.7))
    prepared = settings.prepare(images)
    assert prepared.dtype == np.float32
    expected = (images / 255 - [0.1, 0.2, 0.3]) / [0.5, 0.6, 0.7]
    np.testing.assert_allclose(prepared, expected, atol=1e-6)


def test_grey_becomes_colour_by_repeating() -> None:
    images = noise(2, 5, 6, 1)
    prepared = PLAIN.prepare(images)
    assert prepared.shape == (2, 8, 8, 3)
    assert (prepared[..., :1] == prepared).all()


def test_colour_becomes_grey_by_luma() -> None:
    images = noise(2, 8, 8, 3)
    prepared = Preprocessing((8, 8), 1, (0.0,), (1.0,)).prepare(images)
    expected = images @ np.array([0.299, 0.587, 0.114]) / 255
    np.testing.assert_allclose(prepared[..., 0], expected, atol=1e-6)


def test_other_channels_do_not_mix() -> None:
    with pytest.raises(CnndslError) as caught:
        convert_channels(noise(1, 4, 4, 4), 3)
    assert code_of(caught) == "D0413"


def test_the_middle_is_cut_after_resizing() -> None:
    images = noise(2, 40, 60, 3)
    settings = replace(PLAIN, resize=(12, 10))
    whole = replace(PLAIN, extent=(12, 10)).prepare(images)
    assert (settings.prepare(images) == whole[:, 2:10, 1:9]).all()
    assert (settings.before_crop().prepare(images) == whole).all()
    assert PLAIN.before_crop() == PLAIN


@pytest.mark.parametrize(
    "changes",
    [
        {"extent": (0, 8)},
        {"mean": (0.0,)},
        {"std": (1.0, 0.0, 1.0)},
        {"mean": (float("nan"), 0.0, 0.0)},
        {"resize": (7, 9)},
        {"channels": 0, "mean": (), "std": ()},
    ],
)
def test_settings_that_make_no_images_are_refused(changes: dict[str, object]) -> None:
    with pytest.raises(CnndslError) as caught:
        replace(PLAIN, **changes)  # type: ignore[arg-type]
    assert code_of(caught) == "D0413"


def test_floats_are_not_pixels() -> None:
    with pytest.raises(ValueError, match="uint8"):
        PLAIN.prepare(np.zeros((1, 8, 8, 3)))


def test_settings_survive_json() -> None:
    settings = Preprocessing((8, 9), 3, (0.1, 1 / 3, 0.3), (0.5, 2 / 3, 0.7), (10, 11))
    for one in (settings, replace(settings, resize=None)):
        assert Preprocessing.from_json(json.loads(json.dumps(one.to_json()))) == one


@pytest.mark.parametrize(
    "values",
    [
        None,
        [],
        "text",
        {},
        {**PLAIN.to_json(), "extent": 8},
        {**PLAIN.to_json(), "extent": [8, "x"]},
        {**PLAIN.to_json(), "channels": None},
        {**PLAIN.to_json(), "std": [1, 1]},
        {**PLAIN.to_json(), "mean": "abc"},
        {**PLAIN.to_json(), "resize": [1, 2, 3]},
    ],
)
def test_other_json_is_refused(values: object) -> None:
    with pytest.raises(CnndslError) as caught:
        Preprocessing.from_json(values)
    assert code_of(caught) == "D0415"


def test_a_data_sets_statistics_normalise_it() -> None:
    data = load("synthetic", extent=(16, 16))
    for channels in (3, 1):
        settings = preprocessing_for(data, (16, 16), channels)
        prepared = settings.prepare(data.train.images)
        assert prepared.shape == (2000, 16, 16, channels)
        np.testing.assert_allclose(prepared.mean((0, 1, 2)), 0, atol=0.01)
        np.testing.assert_allclose(prepared.std((0, 1, 2)), 1, atol=0.01)
    grey = Split(data.train.images[..., :1].copy(), data.train.labels)
    one = Dataset("grey", grey, grey, data.class_names, (0.25,), (0.5,))
    assert preprocessing_for(one, (8, 8), 3).mean == (0.25,) * 3


def written(tmp_path: Path, picture: Image.Image, name: str = "p.png", **options: object) -> Path:
    path = tmp_path / name
    picture.save(path, **options)  # type: ignore[arg-type]
    return path


def test_grey_and_colour_pictures_keep_their_pixels(tmp_path: Path) -> None:
    grey, colour = noise(5, 7), noise(5, 7, 3)
    assert (load_image(written(tmp_path, Image.fromarray(grey)))[..., 0] == grey).all()
    loaded = load_image(written(tmp_path, Image.fromarray(colour)))
    assert (loaded == colour).all()
    assert loaded.dtype == np.uint8


def test_a_picture_is_turned_as_exif_says(tmp_path: Path) -> None:
    colour = noise(4, 6, 3)
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rotate by 90 degrees clockwise
    path = written(tmp_path, Image.fromarray(colour), exif=exif)
    assert (load_image(path) == np.rot90(colour, -1)).all()


def test_a_palette_is_looked_up(tmp_path: Path) -> None:
    picture = Image.new("P", (2, 1))
    picture.putpalette([10, 20, 30, 200, 100, 50])
    picture.putpixel((1, 0), 1)
    assert load_image(written(tmp_path, picture)).tolist() == [[[10, 20, 30], [200, 100, 50]]]


def test_transparency_lies_over_white(tmp_path: Path) -> None:
    clear = Image.new("RGBA", (1, 1), (0, 0, 0, 0))
    half = Image.new("RGBA", (1, 1), (0, 0, 0, 128))
    grey = Image.new("LA", (1, 1), (0, 0))
    assert load_image(written(tmp_path, clear)).tolist() == [[[255, 255, 255]]]
    assert load_image(written(tmp_path, half))[0, 0, 0] in (127, 128)
    assert load_image(written(tmp_path, grey)).tolist() == [[[255]]]
    picture = Image.new("P", (2, 1))
    picture.putpalette([10, 20, 30, 200, 100, 50])
    path = written(tmp_path, picture, transparency=0)
    assert load_image(path)[0, 0].tolist() == [255, 255, 255]


def test_sixteen_bits_become_eight(tmp_path: Path) -> None:
    values = np.array([[0, 257, 32896, 65535]], dtype=np.uint16)
    for name in ("p.png", "p.tiff"):
        path = written(tmp_path, Image.fromarray(values), name)
        assert load_image(path)[..., 0].tolist() == [[0, 1, 128, 255]]


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "CMYK", "YCbCr"])
def test_other_modes_become_grey_or_colour(tmp_path: Path, mode: str) -> None:
    name = "p.jpg" if mode in ("CMYK", "YCbCr") else "p.png"
    picture = Image.fromarray(noise(8, 8, 3)).convert(mode)
    assert load_image(written(tmp_path, picture, name)).shape[2] == (1 if mode in "1L" else 3)


def test_pictures_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    def code(path: Path) -> str:
        with pytest.raises(CnndslError) as caught:
            load_image(path)
        assert path.name in str(caught.value)
        return code_of(caught)

    text = tmp_path / "text.png"
    text.write_text("no picture")
    assert code(text) == "D0412"
    assert code(tmp_path) == "D0412"
    assert code(tmp_path / "absent.png") == "D0403"
    whole = written(tmp_path, Image.fromarray(noise(50, 50, 3))).read_bytes()
    cut = tmp_path / "cut.png"
    for end in range(1, len(whole), 997):
        cut.write_bytes(whole[:end])
        assert code(cut) == "D0412"
    floats = written(tmp_path, Image.fromarray(np.ones((3, 3), np.float32)), "f.tiff")
    assert code(floats) == "D0412"


def test_a_picture_that_would_fill_memory_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path, Image.fromarray(noise(50, 50, 3)))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(CnndslError) as caught:
        load_image(path)
    assert code_of(caught) == "D0412"
