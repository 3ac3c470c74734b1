"""CIFAR archives: served, cut, damaged, unpacked, and read as published."""

from __future__ import annotations

import gzip
import hashlib
import tarfile
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from serving import HASTE, Server, code_of, records, small, tar_gz

from cnndsl.data import Dataset, Request, cifar, load
from cnndsl.diagnostics import CnndslError

SMALL, FILES, PACKED = small(cifar.CIFAR10)
REQUEST = Request("", None, None, None, None, 0, True, None)


def from_disk(place: Path, archive: cifar.Archive = SMALL) -> Dataset:
    return cifar.load_archive(archive, replace(REQUEST, data_dir=place))


def is_right(data: Dataset) -> bool:
    """Whether the data set holds FILES, decoded here pixel by pixel."""
    train = b"".join(FILES[name] for name in SMALL.train_files)
    for split, content in ((data.train, train), (data.test, FILES[SMALL.test_file])):
        rows = [content[i : i + 3073] for i in range(0, len(content), 3073)]
        if split.labels.tolist() != [row[0] for row in rows]:
            return False
        for image, row in zip(split.images, rows, strict=True):
            for y, x, channel in ((0, 0, 0), (0, 31, 1), (31, 0, 2), (17, 5, 0), (5, 17, 2)):
                if image[y, x, channel] != row[1 + channel * 1024 + y * 32 + x]:
                    return False
    return data.class_names == tuple(f"class {number}" for number in range(10))


@pytest.fixture
def canonical(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `cifar10` mean the small archive."""
    monkeypatch.setattr(cifar, "CIFAR10", SMALL)


@pytest.mark.usefixtures("canonical")
def test_cifar10_by_name_downloads_once_and_works_offline_after(
    server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = server.mirror(PACKED, statuses=[404])
    cut = server.mirror(PACKED, cuts=[40_000])
    monkeypatch.setenv("CNNDSL_MIRRORS", f"{gone.base}, {cut.base}/")
    seen: list[int] = []
    assert is_right(load("cifar10", progress=lambda done, total, mirror: seen.append(done)))
    assert seen[-1] == len(PACKED)
    assert [request.get("Range") for request in cut.requests] == [None, "bytes=40000-"]
    assert (cache / "cifar-10-binary.tar.gz").read_bytes() == PACKED
    assert is_right(load("cifar10", download=False))
    assert len(cut.requests) == 2


def test_a_liar_a_cutter_and_a_dead_mirror_end_in_the_data(server: Server, cache: Path) -> None:
    mirrors = [
        server.mirror(PACKED[:-1] + b"?"),
        server.mirror(PACKED[:5000]),
        server.mirror(PACKED, statuses=[500] * 9),
        server.mirror(PACKED, ranges=False, cuts=[30_000, 60_000]),
    ]
    bases = [mirror.base for mirror in mirrors]
    assert is_right(cifar.load_archive(SMALL, REQUEST, mirrors=bases, patience=HASTE))


def test_only_bad_mirrors_end_in_one_error_and_no_file(server: Server, cache: Path) -> None:
    mirrors = [
        server.mirror(PACKED[:-1] + b"?"),
        server.mirror(PACKED[:5000]),
        server.mirror(PACKED, statuses=[500] * 9),
    ]
    bases = [mirror.base for mirror in mirrors]
    with pytest.raises(CnndslError) as caught:
        cifar.load_archive(SMALL, REQUEST, mirrors=bases, patience=HASTE)
    assert code_of(caught) == "D0409"
    for words in ("wrong SHA256", f"5,000 bytes, not {len(PACKED):,}", "500 Internal"):
        assert words in str(caught.value)
    assert not (cache / SMALL.file).exists()


def test_without_download_the_error_says_what_to_pass(cache: Path) -> None:
    with pytest.raises(CnndslError) as caught:
        load("cifar10", download=False)
    assert code_of(caught) == "D0410"
    assert "--data-dir" in str(caught.value.diagnostics[0].help)


def test_a_data_folder_may_hold_the_archive_or_the_folder_or_be_either(tmp_path: Path) -> None:
    archive = tmp_path / SMALL.file
    archive.write_bytes(PACKED)
    assert is_right(from_disk(tmp_path))
    assert is_right(from_disk(archive))
    with tarfile.open(archive) as tar:
        tar.extractall(tmp_path / "unpacked", filter="data")
    assert is_right(from_disk(tmp_path / "unpacked"))
    assert is_right(from_disk(tmp_path / "unpacked" / SMALL.folder))


def test_a_data_folder_without_a_copy_is_an_error_and_nothing_is_downloaded(
    tmp_path: Path,
) -> None:
    for place in (tmp_path, tmp_path / "absent"):
        with pytest.raises(CnndslError) as caught:
            load("cifar10", data_dir=place)
        assert code_of(caught) == "D0403"
        assert "cifar-10-binary.tar.gz" in str(caught.value.diagnostics[0].help)


def damage(tmp_path: Path, packed: bytes) -> str:
    """The message of the one error that reading these bytes as an archive raises."""
    (tmp_path / SMALL.file).write_bytes(packed)
    with pytest.raises(CnndslError) as caught:
        from_disk(tmp_path)
    assert code_of(caught) == "D0408"
    return str(caught.value)


def test_damaged_archives_are_named(tmp_path: Path) -> None:
    assert SMALL.file in damage(tmp_path, b"")
    damage(tmp_path, b"not an archive")
    damage(tmp_path, gzip.compress(b"no tar in here"))
    damage(tmp_path, PACKED[: len(PACKED) // 2])
    half = len(PACKED) // 2
    damage(tmp_path, PACKED[:half] + bytes(1000) + PACKED[half + 1000 :])


def test_files_missing_short_or_long_are_named(tmp_path: Path) -> None:
    without = {name: content for name, content in FILES.items() if name != "data_batch_4.bin"}
    assert "data_batch_4.bin" in damage(tmp_path, tar_gz(without, SMALL.folder))
    short = {**FILES, "test_batch.bin": FILES["test_batch.bin"][:-1]}
    assert "test_batch.bin has 15,364 bytes" in damage(tmp_path, tar_gz(short, SMALL.folder))
    more = {**FILES, "data_batch_1.bin": FILES["data_batch_1.bin"] * 2}
    assert "data_batch_1.bin" in damage(tmp_path, tar_gz(more, SMALL.folder))
    assert "lacks" in damage(tmp_path, tar_gz(FILES, "another-folder"))


def test_labels_and_names_are_checked(tmp_path: Path) -> None:
    wrong = {**FILES, "data_batch_2.bin": b"\x0a" + FILES["data_batch_2.bin"][1:]}
    assert "label 10" in damage(tmp_path, tar_gz(wrong, SMALL.folder))
    nameless = {**FILES, "batches.meta.txt": b"one\ntwo\n"}
    assert "2 names" in damage(tmp_path, tar_gz(nameless, SMALL.folder))
    huge = {**FILES, "batches.meta.txt": b"x" * 100_000}
    assert "batches.meta.txt" in damage(tmp_path, tar_gz(huge, SMALL.folder))


def test_links_and_paths_out_of_the_archive_are_not_followed(tmp_path: Path) -> None:
    packed = BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        escape = tarfile.TarInfo("../../evil")
        escape.size = 4
        tar.addfile(escape, BytesIO(b"evil"))
        link = tarfile.TarInfo(f"{SMALL.folder}/data_batch_1.bin")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    assert "not a regular file" in damage(tmp_path, packed.getvalue())
    assert [path.name for path in tmp_path.iterdir()] == [SMALL.file]


def test_a_damaged_folder_is_named(tmp_path: Path) -> None:
    folder = tmp_path / SMALL.folder
    folder.mkdir()
    (folder / "data_batch_1.bin").write_bytes(FILES["data_batch_1.bin"])
    with pytest.raises(CnndslError) as caught:
        from_disk(tmp_path)
    assert code_of(caught) == "D0408"
    assert "data_batch_2.bin" in str(caught.value)


def test_ten_thousand_records_a_file_are_wanted_and_read(
    server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = cifar.CIFAR10
    assert (archive.train_records, archive.test_records) == (10_000, 10_000)
    one = records(archive, 5, 5) * 2000
    files = dict.fromkeys((*archive.train_files, archive.test_file), one)
    packed = tar_gz({**files, archive.names_file: FILES[archive.names_file]}, archive.folder)
    digest = "sha256:" + hashlib.sha256(packed).hexdigest()
    full = replace(archive, digest=digest, size=len(packed))
    monkeypatch.setattr(cifar, "CIFAR10", full)
    monkeypatch.setenv("CNNDSL_MIRRORS", server.mirror(packed, chunk=2**20).base)
    data = load("cifar10")
    assert data.train.images.shape == (50_000, 32, 32, 3)
    assert data.test.images.shape == (10_000, 32, 32, 3)
    assert (data.classes, data.extent, data.channels) == (10, (32, 32), 3)
    with pytest.raises(CnndslError):
        cifar.load_archive(replace(SMALL, train_records=10_000), replace(REQUEST, data_dir=cache))


def test_cifar100_reads_the_fine_label(tmp_path: Path) -> None:
    archive, files, packed = small(cifar.CIFAR100)
    (tmp_path / archive.file).write_bytes(packed)
    data = from_disk(tmp_path, archive)
    assert data.train.labels.tolist() == list(files["train.bin"][1::3074])
    assert data.train.images[0, 0, 0].tolist() == [
        files["train.bin"][2 + plane * 1024] for plane in range(3)
    ]
    assert data.classes == 100
    assert np.isfinite(data.mean).all()
