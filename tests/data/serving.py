"""An HTTP server with mirrors that misbehave on request, and small archives to serve."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler

import numpy as np
import pytest

from cnndsl.data import cifar
from cnndsl.data.download import Patience
from cnndsl.diagnostics import CnndslError

#: Give up quickly.
HASTE = Patience(rounds=3, rest=0.01, timeout=5)


@dataclass
class Mirror:
    """What is served under a base URL, and how badly; lists are used up an answer at a time."""

    base: str
    content: bytes
    etag: str | None = '"v1"'
    modified: str | None = "Mon, 01 Jan 2024 00:00:00 GMT"
    ranges: bool = True
    honours_if_range: bool = True
    declares_length: bool = True
    statuses: list[int] = field(default_factory=list)
    cuts: list[int] = field(default_factory=list)
    after_answer: Callable[[Mirror], None] | None = None
    seconds_a_chunk: float = 0.0
    chunk: int = 4096
    requests: list[dict[str, str]] = field(default_factory=list)


class Handler(BaseHTTPRequestHandler):
    mirrors: dict[str, Mirror]

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        mirror = self.mirrors[self.path.split("/")[1]]
        mirror.requests.append(dict(self.headers))
        if mirror.statuses and (status := mirror.statuses.pop(0)) != 200:
            self.send_error(status)
            return
        start = self._start(mirror)
        if start is None:
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(mirror.content)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        body = mirror.content[start:]
        self.send_response(206 if start else 200)
        if start:
            total = len(mirror.content)
            self.send_header("Content-Range", f"bytes {start}-{total - 1}/{total}")
        if mirror.declares_length:
            self.send_header("Content-Length", str(len(body)))
        if mirror.etag:
            self.send_header("ETag", mirror.etag)
        if mirror.modified:
            self.send_header("Last-Modified", mirror.modified)
        self.end_headers()
        if mirror.cuts:
            body = body[: mirror.cuts.pop(0)]
        try:
            for first in range(0, len(body), mirror.chunk):
                self.wfile.write(body[first : first + mirror.chunk])
                if mirror.seconds_a_chunk:
                    time.sleep(mirror.seconds_a_chunk)
        except OSError:  # the client has gone
            return
        if mirror.after_answer:
            mirror.after_answer(mirror)

    def _start(self, mirror: Mirror) -> int | None:
        """The first byte to send; None if the range asked for lies behind the end."""
        wanted = self.headers["Range"]
        if not wanted or not mirror.ranges:
            return 0
        marks = (mirror.etag, mirror.modified)
        condition = self.headers["If-Range"]
        if condition and mirror.honours_if_range and condition not in marks:
            return 0
        start = int(wanted.removeprefix("bytes=").removesuffix("-"))
        return start if start < len(mirror.content) else None


@dataclass
class Server:
    """A server on this machine; `mirror(content, …)` adds a base URL to it."""

    address: str
    mirrors: dict[str, Mirror]

    def mirror(self, content: bytes, **behaviour: object) -> Mirror:
        name = f"mirror{len(self.mirrors)}"
        added = Mirror(f"{self.address}/{name}", content, **behaviour)  # type: ignore[arg-type]
        self.mirrors[name] = added
        return added


def code_of(caught: pytest.ExceptionInfo[CnndslError]) -> str:
    """The code of the one diagnostic that was raised."""
    (diagnostic,) = caught.value.diagnostics
    return diagnostic.code


def tar_gz(files: dict[str, bytes], folder: str, level: int = 1) -> bytes:
    """An archive laid out as the canonical ones: the folder, then its files."""
    packed = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=packed, mode="wb", mtime=0, compresslevel=level) as zipped,
        tarfile.open(fileobj=zipped, mode="w") as tar,
    ):
        entry = tarfile.TarInfo(folder)
        entry.type = tarfile.DIRTYPE
        tar.addfile(entry)
        for name, content in files.items():
            entry = tarfile.TarInfo(f"{folder}/{name}")
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return packed.getvalue()


def records(archive: cifar.Archive, count: int, seed: int) -> bytes:
    """`count` records as in the canonical files, of noise."""
    randomness = np.random.default_rng(seed)
    table = randomness.integers(0, 256, (count, archive.label_bytes + cifar.PIXELS), dtype=np.uint8)
    table[:, : archive.label_bytes] %= archive.classes
    return table.tobytes()


def small(archive: cifar.Archive) -> tuple[cifar.Archive, dict[str, bytes], bytes]:
    """`archive` with few records a file: its description, files and bytes."""
    reduced = replace(archive, train_records=7, test_records=5)
    files = {
        name: records(reduced, reduced.train_records, seed)
        for seed, name in enumerate(reduced.train_files)
    }
    files[reduced.test_file] = records(reduced, reduced.test_records, 99)
    names = [f"class {number}" for number in range(reduced.classes)]
    files[reduced.names_file] = ("\n".join(names) + "\n\n").encode()
    packed = tar_gz({**files, "readme.html": b"<html></html>"}, reduced.folder)
    digest = "sha256:" + hashlib.sha256(packed).hexdigest()
    return replace(reduced, digest=digest, size=len(packed)), files, packed
