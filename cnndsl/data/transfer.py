"""One HTTP transfer into a part of a file, from the byte where the last one ended."""

from __future__ import annotations

import http.client
import json
import os
import re
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from cnndsl.data.dataset import Progress

CHUNK = 2**16

#: Answers that will be the same however often one asks.
FINAL_STATUSES = {400, 401, 403, 404, 405, 406, 410, 451}


class Unreachable(Exception):
    """A mirror that failed this time; what has arrived is kept."""


class Changed(Exception):
    """A mirror whose file is no longer the one that the part is of; the part has been dropped."""


class Refused(Exception):
    """A mirror that cannot serve the file."""


class TooSlow(Exception):
    """A mirror slower than wanted; `rate` is in bytes a second."""

    def __init__(self, rate: float) -> None:
        super().__init__(f"slow: {rate / 1000:.0f} kB/s")
        self.rate = rate


@dataclass(frozen=True)
class Origin:
    """Where a part's bytes are from: the URL, the server's version marks, the whole file's size."""

    url: str
    etag: str | None
    modified: str | None
    total: int | None

    @property
    def validator(self) -> str | None:
        """What `If-Range` may name: a strong ETag, else the date."""
        if self.etag and not self.etag.startswith("W/"):
            return self.etag
        return self.modified

    def agrees(self, other: Origin) -> bool:
        """Whether bytes of both may make one file, as far as one can tell before its digest."""
        if self.total is None or self.total != other.total:
            return False
        marks = (self.etag, self.modified) == (other.etag, other.modified)
        return marks or self.url != other.url


class Part:
    """A file that is not whole yet, and beside it, in `.json`, where its bytes are from."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._note = path.with_name(path.name + ".json")

    @property
    def size(self) -> int:
        """How many bytes are there; 0 where their origin is unknown."""
        return self.path.stat().st_size if self.path.exists() and self.origin else 0

    @property
    def origin(self) -> Origin | None:
        try:
            note = json.loads(self._note.read_text())
            return Origin(note["url"], note["etag"], note["modified"], note["total"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def start(self, origin: Origin) -> None:
        """Empty it, and note where its bytes will be from."""
        self.path.write_bytes(b"")
        self._note.write_text(json.dumps(origin.__dict__))

    def discard(self) -> None:
        self.path.unlink(missing_ok=True)
        self._note.unlink(missing_ok=True)

    def become(self, target: Path) -> None:
        """Give the file its name, at once and for good."""
        with self.path.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(self.path, target)
        self._note.unlink(missing_ok=True)


def transfer(
    url: str,
    part: Part,
    size: int | None,
    progress: Progress | None,
    *,
    timeout: float,
    slowest: float,
    warm_up: float,
) -> bool:
    """Bring `part` to its full length; True if all its bytes are from this one answer.

    `size` is what the file must have, if known. Raises Unreachable, Changed, Refused, or TooSlow if
    fewer than `slowest` bytes a second have come after `warm_up` seconds. An OSError is the disk's.
    """
    if not url.startswith(("http://", "https://")):
        raise Refused("it is not an http:// or https:// address")
    have = part.size
    if have and part.origin and part.origin.total == have:
        return False  # whole, but never checked: the process ended in between
    try:
        with _ask(url, part, have, timeout) as answer:
            start = _begin(answer, url, part, have, size)
            origin = part.origin
            total = origin.total if origin else None
            _receive(answer, part, start, total, url, progress, slowest, warm_up)
    except urllib.error.HTTPError as problem:
        problem.close()
        if problem.code == 416 and have:  # the part is longer than the file is now
            part.discard()
            raise Changed from None
        reason = f"{problem.code} {problem.reason}"
        raise (Refused if problem.code in FINAL_STATUSES else Unreachable)(reason) from None
    return start == 0


def _ask(url: str, part: Part, have: int, timeout: float) -> http.client.HTTPResponse:
    """The answer to a request for the bytes from `have` on."""
    headers = {"User-Agent": "cnndsl", "Accept-Encoding": "identity"}
    origin = part.origin
    if have and origin:
        headers["Range"] = f"bytes={have}-"
        if origin.url == url and origin.validator:
            headers["If-Range"] = origin.validator
    try:
        request = urllib.request.Request(url, headers=headers)
        answer: http.client.HTTPResponse = urllib.request.urlopen(request, timeout=timeout)
        return answer
    except urllib.error.HTTPError:
        raise
    except urllib.error.URLError as problem:
        raise Unreachable(_reason(problem.reason)) from None
    except (OSError, http.client.HTTPException) as problem:
        raise Unreachable(_reason(problem)) from None
    except ValueError as problem:
        raise Refused(f"it is no proper address: {problem}") from None


def _reason(problem: object) -> str:
    if isinstance(problem, TimeoutError):
        return "no answer in time"
    if isinstance(problem, OSError) and problem.strerror:
        return problem.strerror
    return str(problem) or type(problem).__name__


def _begin(
    answer: http.client.HTTPResponse, url: str, part: Part, have: int, size: int | None
) -> int:
    """The offset of the answer's first byte; `part` is emptied if that is 0."""
    etag, modified = answer.headers["ETag"], answer.headers["Last-Modified"]
    if answer.status == 206:
        match = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", answer.headers["Content-Range"] or "")
        here = Origin(url, etag, modified, int(match[2]) if match else None)
        origin = part.origin
        if match and int(match[1]) == have and origin and origin.agrees(here):
            return have
        if not have:
            raise Refused("it sends a part of the file though it was asked for the whole")
        part.discard()
        raise Changed
    length = answer.headers["Content-Length"]
    total = int(length) if length and length.isdigit() else size
    if size is not None and total != size:
        raise Refused(f"its file has {total:,} bytes, not {size:,}")
    part.start(Origin(url, etag, modified, total))
    return 0


def _receive(
    answer: http.client.HTTPResponse,
    part: Part,
    start: int,
    total: int | None,
    url: str,
    progress: Progress | None,
    slowest: float,
    warm_up: float,
) -> None:
    """Append the answer's bytes to `part`, which has `start`, up to `total`."""
    done = start
    began = time.monotonic()
    with part.path.open("ab") as file:
        while total is None or done < total:
            try:
                chunk = answer.read1(CHUNK)
            except (OSError, http.client.HTTPException) as problem:
                raise Unreachable(f"{_reason(problem)} after {done:,} bytes") from None
            if not chunk:
                break
            if total is not None and done + len(chunk) > total:
                raise Refused(f"it sends more than {total:,} bytes")
            file.write(chunk)
            done += len(chunk)
            if progress:
                progress(done, total, url)
            elapsed = time.monotonic() - began
            if elapsed > warm_up and (done - start) / elapsed < slowest:
                raise TooSlow((done - start) / elapsed)
    if total is not None and done < total:
        raise Unreachable(f"the connection was cut after {done:,} of {total:,} bytes")
