"""A person's own images, read from an .npz file of arrays."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

import numpy as np

from cnndsl.data.dataset import Dataset, Request, Split, channel_statistics, stratified_split
from cnndsl.data.registry import dataset
from cnndsl.diagnostics import CnndslError, error

#: The part of each class that becomes the test split where the file has none.
TEST_FRACTION = 0.2
SPLIT_NAMES = ("x_train", "y_train", "x_test", "y_test")
WHOLE_NAMES = ("images", "labels")
#: What zipfile, zlib and NumPy raise for a file that is damaged, encrypted or too large.
DAMAGE = (OSError, ValueError, EOFError, RuntimeError, MemoryError, zipfile.BadZipFile, zlib.error)
ARRAYS = f"a data set has the arrays {', '.join(SPLIT_NAMES)}, or {' and '.join(WHOLE_NAMES)}"


@dataset("npz", "PATH")
def load_npz(request: Request) -> Dataset:
    """Your own images, from an .npz file of NumPy arrays.

    It holds `x_train`, `y_train`, `x_test`, `y_test`, or `images` and `labels`, of which a fifth of
    each class becomes the test split. `class_names` is optional. Images are (N, H, W) or
    (N, H, W, C), bytes or floats in 0..1; labels are integers from zero.
    """
    path = Path(request.argument).expanduser()
    arrays, found = _read(path)
    if all(name in arrays for name in SPLIT_NAMES):
        train = _split(path, arrays, "x_train", "y_train")
        test = _split(path, arrays, "x_test", "y_test")
        if train.images.shape[1:] != test.images.shape[1:]:
            raise error(
                "D0406",
                f"{path}: training images are {_shape(train.images)}, "
                f"test images {_shape(test.images)}",
            )
    elif all(name in arrays for name in WHOLE_NAMES):
        whole = _split(path, arrays, *WHOLE_NAMES)
        kept, held = stratified_split(whole.labels, TEST_FRACTION, request.seed)
        train, test = whole.take(kept), whole.take(held)
        if not len(test):
            raise error("D0407", f"{path}: no class has the two images that a test split needs")
    else:
        held_names = ", ".join(f"`{name}`" for name in found) or "nothing"
        raise error("D0405", f"{path} holds {held_names}", help=ARRAYS)
    names = _class_names(path, arrays.get("class_names"), train.labels, test.labels)
    mean, std = channel_statistics(train.images)
    return Dataset(path.stem, train, test, names, mean, std)


def _shape(images: np.ndarray) -> str:
    return "x".join(map(str, images.shape[1:]))


def _read(path: Path) -> tuple[dict[str, np.ndarray], list[str]]:
    """The arrays of a file that count, by name, and the names of all."""
    try:
        with path.open("rb") as file:
            archive = np.load(file, allow_pickle=False)
            if isinstance(archive, np.ndarray):
                raise error("D0404", f"{path} is a single array, an .npy file", help=ARRAYS)
            wanted = (*SPLIT_NAMES, *WHOLE_NAMES, "class_names")
            names = [name for name in archive.files if name in wanted]
            return {name: _member(path, archive, name) for name in names}, archive.files
    except FileNotFoundError:
        raise error("D0403", f"there is no file {path}") from None
    except CnndslError:
        raise
    except DAMAGE as problem:
        reason = str(problem)
        if "allow_pickle" in reason or "pickled" in reason:
            reason = "it is not in NumPy's format"
        raise error(
            "D0404",
            f"{path} cannot be read as an .npz file: {reason}",
            help="write it with `numpy.savez_compressed`",
        ) from None


def _member(path: Path, archive: np.lib.npyio.NpzFile, name: str) -> np.ndarray:
    try:
        array: object = archive[name]
    except DAMAGE as problem:
        if "Object arrays" in str(problem):
            raise error(
                "D0404",
                f"{path}: `{name}` holds Python objects, which are not read: they could run code",
                help="save it as numbers, e.g. `.astype('uint8')`; images must be of one extent",
            ) from None
        raise error("D0404", f"{path}: `{name}` cannot be read: {problem}") from None
    if not isinstance(array, np.ndarray):
        raise error("D0404", f"{path}: `{name}` is not an array")
    return array


def _split(path: Path, arrays: dict[str, np.ndarray], images_name: str, labels_name: str) -> Split:
    images = _images(f"{path}: `{images_name}`", arrays[images_name])
    labels = _labels(f"{path}: `{labels_name}`", arrays[labels_name])
    if len(images) != len(labels):
        raise error(
            "D0407",
            f"{path}: `{images_name}` holds {len(images)} images, "
            f"`{labels_name}` {len(labels)} labels",
        )
    return Split(images, labels)


def _images(what: str, images: np.ndarray) -> np.ndarray:
    """The array as uint8 (N, H, W, C) with 1 to 4 channels."""
    if images.ndim == 3:
        images = images[..., np.newaxis]
    if images.ndim != 4 or 0 in images.shape:
        raise error(
            "D0406",
            f"{what} has the shape {images.shape}",
            help="images are (count, height, width) or (count, height, width, channels)",
        )
    if images.shape[3] > 4:
        first = images.shape[1] <= 4
        help = "channels come last: `x.transpose(0, 2, 3, 1)`" if first else None
        raise error("D0406", f"{what} has {images.shape[3]} channels, more than 4", help=help)
    if images.dtype == np.uint8:
        return np.ascontiguousarray(images)
    if not np.issubdtype(images.dtype, np.floating):
        raise error(
            "D0406",
            f"{what} has the type {images.dtype}",
            help="images are uint8 in 0..255 or floats in 0..1: `.astype('uint8')`",
        )
    if not np.isfinite(images).all():
        raise error("D0406", f"{what} holds values that are not finite (NaN or infinity)")
    low, high = float(images.min()), float(images.max())
    if low < 0 or high > 1:
        raise error(
            "D0406",
            f"{what} holds floats from {low:g} to {high:g}, not 0..1",
            help="divide by 255, or save bytes: `.astype('uint8')`",
        )
    return np.round(images * 255).astype(np.uint8)


def _labels(what: str, labels: np.ndarray) -> np.ndarray:
    """The array as int64 (N,)."""
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1:
        one_hot = labels.ndim == 2
        help = "for one-hot labels: `y.argmax(axis=1)`" if one_hot else "labels are (count,)"
        raise error("D0407", f"{what} has the shape {labels.shape}", help=help)
    if not np.issubdtype(labels.dtype, np.integer):
        raise error(
            "D0407", f"{what} has the type {labels.dtype}", help="labels are integers from zero"
        )
    if len(labels) and int(labels.min()) < 0:
        raise error("D0407", f"{what} holds {labels.min()}", help="labels are integers from zero")
    if len(labels) and int(labels.max()) >= 2**16:
        raise error(
            "D0407",
            f"{what} holds {labels.max()}",
            help="labels number the classes from 0, up to 65535",
        )
    return labels.astype(np.int64)


def _class_names(
    path: Path, names: np.ndarray | None, train: np.ndarray, test: np.ndarray
) -> tuple[str, ...]:
    """A name a class; without `names` the labels up to the highest of `train`, as text."""
    trained = int(train.max()) + 1
    highest = int(test.max())
    if names is None:
        if highest >= trained:
            raise error(
                "D0407",
                f"{path}: the test split has the label {highest}, "
                f"the training split none above {trained - 1}",
            )
        words = tuple(map(str, range(trained)))
    else:
        if names.ndim != 1 or names.dtype.kind not in "US":
            raise error(
                "D0407",
                f"{path}: `class_names` is {names.dtype} of the shape {names.shape}",
                help="it is a list of texts, one a class",
            )
        words = tuple(
            name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name)
            for name in names.tolist()
        )
        if max(highest + 1, trained) > len(words):
            raise error(
                "D0407",
                f"{path}: `class_names` has {len(words)} names, "
                f"the labels go up to {max(highest, trained - 1)}",
            )
    if len(words) < 2:
        raise error("D0407", f"{path} has one class only", help="there must be two or more")
    return words
