"""CIFAR-10 and CIFAR-100, read from their canonical binary archives."""

from __future__ import annotations

import tarfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cnndsl.data.dataset import Dataset, Request, Split
from cnndsl.data.download import Patience, fetch, mirrors_from_environment
from cnndsl.data.registry import dataset
from cnndsl.diagnostics import CnndslError, error
from cnndsl.files import cache_folder

#: Base URLs that serve both archives byte for byte; the first is their author's.
MIRRORS = (
    "https://www.cs.toronto.edu/~kriz",
    "https://mindspore-website.obs.cn-north-4.myhuaweicloud.com/notebook/datasets",
)
PIXELS = 3 * 32 * 32


@dataclass(frozen=True)
class Archive:
    """A canonical archive: its file, the folder in it, and the files of records in that.

    A record is `label_bytes` labels, of which the last counts, then the red, green and blue planes
    of 32x32, row by row. Each training file has `train_records`, the test file `test_records`.
    """

    name: str
    file: str
    digest: str
    size: int | None
    folder: str
    train_files: tuple[str, ...]
    test_file: str
    names_file: str
    label_bytes: int
    classes: int
    train_records: int
    test_records: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


CIFAR10 = Archive(
    name="cifar10",
    file="cifar-10-binary.tar.gz",
    digest="sha256:c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
    size=170_052_171,
    folder="cifar-10-batches-bin",
    train_files=tuple(f"data_batch_{number}.bin" for number in range(1, 6)),
    test_file="test_batch.bin",
    names_file="batches.meta.txt",
    label_bytes=1,
    classes=10,
    train_records=10_000,
    test_records=10_000,
    mean=(0.4914, 0.4822, 0.4465),
    std=(0.2470, 0.2435, 0.2616),
)

CIFAR100 = Archive(
    name="cifar100",
    file="cifar-100-binary.tar.gz",
    digest="sha256:58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec",
    size=168_513_733,
    folder="cifar-100-binary",
    train_files=("train.bin",),
    test_file="test.bin",
    names_file="fine_label_names.txt",
    label_bytes=2,
    classes=100,
    train_records=50_000,
    test_records=10_000,
    mean=(0.5071, 0.4865, 0.4409),
    std=(0.2673, 0.2564, 0.2762),
)


@dataset("cifar10")
def load_cifar10(request: Request) -> Dataset:
    """CIFAR-10: 60,000 colour images of 32x32 in 10 classes; downloads 170 MB once.

    50,000 images to train with and 10,000 to test with, as published.
    """
    return load_archive(CIFAR10, request)


@dataset("cifar100")
def load_cifar100(request: Request) -> Dataset:
    """CIFAR-100: 60,000 colour images of 32x32 in 100 classes; downloads 169 MB once.

    The labels are the fine ones. 50,000 images to train with and 10,000 to test with, as published.
    """
    return load_archive(CIFAR100, request)


def load_archive(
    archive: Archive,
    request: Request,
    *,
    mirrors: Sequence[str] | None = None,
    patience: Patience | None = None,
) -> Dataset:
    """The data set in an archive: that in `request.data_dir`, else the cached or downloaded one.

    `mirrors` are base URLs; by default those of `$CNNDSL_MIRRORS`, else `MIRRORS`.
    """
    if request.data_dir is not None:
        return _assemble(archive, *_on_disk(archive, request.data_dir))
    cached = cache_folder() / archive.file
    if not cached.exists() and not request.download:
        raise error(
            "D0410",
            f"{archive.name} is not in {cached.parent}, and downloading is switched off",
            help=f"pass a folder with {archive.file} as `--data-dir FOLDER`",
        )
    path = fetch(
        archive.file,
        mirrors_from_environment(MIRRORS) if mirrors is None else mirrors,
        archive.digest,
        cached.parent,
        size=archive.size,
        progress=request.progress,
        patience=patience,
    )
    return _assemble(archive, path, _from_tar(archive, path))


def _on_disk(archive: Archive, place: Path) -> tuple[Path, dict[str, bytes]]:
    """Where a person's copy is, and its files by name.

    `place` is the archive, the folder in it, or a folder that holds either.
    """
    for folder in (place / archive.folder, place):
        if (folder / archive.train_files[0]).is_file():
            return folder, _from_folder(archive, folder)
    for path in (place / archive.file, place):
        if path.is_file():
            return path, _from_tar(archive, path)
    raise error(
        "D0403",
        f"{place} holds no copy of {archive.name}" if place.exists() else f"there is no {place}",
        help=f"it may hold {archive.file}, or the folder {archive.folder} unpacked from it",
    )


def _expected_sizes(archive: Archive) -> dict[str, int | None]:
    """The size in bytes of each file that is read; None for the one of class names."""
    record = archive.label_bytes + PIXELS
    sizes: dict[str, int | None] = dict.fromkeys(
        archive.train_files, record * archive.train_records
    )
    return {**sizes, archive.test_file: record * archive.test_records, archive.names_file: None}


def _checked(
    archive: Archive, where: Path, name: str, size: int, read: Callable[[], bytes]
) -> bytes:
    """What `read` gives, if `size` is the one that the file `name` should have."""
    expected = _expected_sizes(archive)[name]
    if size > 2**16 if expected is None else size != expected:
        wanted = "a list of names" if expected is None else f"{expected:,} bytes"
        raise _damaged(where, f"{name} has {size:,} bytes, not {wanted}")
    return read()


def _damaged(where: Path, reason: str) -> CnndslError:
    return error("D0408", f"{where}: {reason}", help="delete it and let it be downloaded again")


def _from_folder(archive: Archive, folder: Path) -> dict[str, bytes]:
    contents = {}
    for name in _expected_sizes(archive):
        path = folder / name
        try:
            size = path.stat().st_size
            contents[name] = _checked(archive, folder, name, size, path.read_bytes)
        except OSError as problem:
            raise _damaged(folder, f"{name} cannot be read: {problem.strerror}") from None
    return contents


def _from_tar(archive: Archive, path: Path) -> dict[str, bytes]:
    """The files of a .tar.gz by name, read without unpacking anything to disk."""
    contents: dict[str, bytes] = {}
    try:
        with tarfile.open(path, "r:gz") as tar:
            for member in tar:
                folder, _, name = member.name.removeprefix("./").rpartition("/")
                if folder != archive.folder or name not in _expected_sizes(archive):
                    continue
                file = tar.extractfile(member) if member.isreg() else None
                if file is None:
                    raise _damaged(path, f"{name} is not a regular file")
                contents[name] = _checked(archive, path, name, member.size, file.read)
    except (tarfile.TarError, zlib.error, EOFError, OSError) as problem:
        raise _damaged(path, f"it is damaged or no .tar.gz: {problem}") from None
    missing = [name for name in _expected_sizes(archive) if name not in contents]
    if missing:
        raise _damaged(path, f"it lacks {archive.folder}/{missing[0]}")
    return contents


def _assemble(archive: Archive, where: Path, contents: dict[str, bytes]) -> Dataset:
    train = [_records(archive, where, name, contents.pop(name)) for name in archive.train_files]
    test = _records(archive, where, archive.test_file, contents.pop(archive.test_file))
    text = contents[archive.names_file].decode("utf-8", "replace")
    names = tuple(line.strip() for line in text.splitlines() if line.strip())
    if len(names) != archive.classes:
        raise _damaged(where, f"{archive.names_file} has {len(names)} names")
    joined = Split(
        np.concatenate([split.images for split in train]),
        np.concatenate([split.labels for split in train]),
    )
    return Dataset(archive.name, joined, test, names, archive.mean, archive.std)


def _records(archive: Archive, where: Path, name: str, content: bytes) -> Split:
    """Images and labels of a file of records."""
    table = np.frombuffer(content, dtype=np.uint8).reshape(-1, archive.label_bytes + PIXELS)
    labels = table[:, archive.label_bytes - 1].astype(np.int64)
    if len(labels) and labels.max() >= archive.classes:
        raise _damaged(where, f"{name} has the label {labels.max()}")
    planes = table[:, archive.label_bytes :].reshape(-1, 3, 32, 32)
    return Split(np.ascontiguousarray(planes.transpose(0, 2, 3, 1)), labels)
