"""Files from the net: from several mirrors, resumed where a connection broke, checked, whole."""

from __future__ import annotations

import hashlib
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cnndsl.data.dataset import Progress
from cnndsl.data.transfer import Changed, Part, Refused, TooSlow, Unreachable, transfer
from cnndsl.diagnostics import error

#: How often a mirror is asked again while each answer brings bytes.
CONTINUATIONS = 100


@dataclass(frozen=True)
class Patience:
    """How long to try: rounds over the mirrors, and in seconds the rest between the first two
    (doubled after each), the wait for an answer, and how long a mirror may be slower than `rate`
    bytes a second while others are untried."""

    rounds: int = 4
    rest: float = 1.0
    timeout: float = 30.0
    warm_up: float = 10.0
    rate: float = 250_000.0


def mirrors_from_environment(default: Sequence[str]) -> tuple[str, ...]:
    """The base URLs of `$CNNDSL_MIRRORS`, separated by commas, or `default`."""
    given = [word.strip() for word in os.environ.get("CNNDSL_MIRRORS", "").split(",")]
    return tuple(word for word in given if word) or tuple(default)


def fetch(
    file_name: str,
    mirrors: Sequence[str],
    digest: str,
    folder: Path,
    *,
    size: int | None = None,
    progress: Progress | None = None,
    patience: Patience | None = None,
) -> Path:
    """The path of `file_name` in `folder`, downloaded unless it is there.

    `mirrors` are base URLs, tried in order; one that is slow gives way to those not tried yet.
    `digest` is `sha256:…` or `md5:…` in hexadecimal, `size` is in bytes. The file appears under its
    name only when it is whole and its digest right; until then `file_name.part` grows, and any
    later call goes on from there. Of two processes one waits for the other.
    """
    target = folder / file_name
    if target.exists():
        return target
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _locked(folder / f".{file_name}.lock") as alone:
            if target.exists():
                return target
            own = "" if alone else f".{os.getpid()}"
            part = Part(folder / f"{file_name}{own}.part")
            download = _Download(file_name, part, digest, size, progress, patience or Patience())
            download.run([f"{mirror.rstrip('/')}/{file_name}" for mirror in mirrors])
            part.become(target)
            return target
    except OSError as problem:
        raise error(
            "D0411",
            f"{file_name} cannot be written to {folder}: {problem.strerror or problem}",
            help="choose another folder with the environment variable CNNDSL_CACHE",
        ) from None


class _Download:
    """One file on its way: what each mirror said last, and which are still worth asking."""

    def __init__(
        self,
        name: str,
        part: Part,
        digest: str,
        size: int | None,
        progress: Progress | None,
        patience: Patience,
    ) -> None:
        self._name = name
        self._part = part
        self._algorithm, _, self._expected = digest.partition(":")
        self._size = size
        self._progress = progress
        self._patience = patience
        self._reasons: dict[str, str] = {}
        self._rates: dict[str, float] = {}
        self._wrong: set[str] = set()

    def run(self, urls: list[str]) -> None:
        """Fill the part with the right bytes, or raise D0409 with every mirror's reason."""
        alive = list(dict.fromkeys(urls))
        for turn in range(self._patience.rounds):
            if turn and alive:
                time.sleep(self._patience.rest * 2 ** (turn - 1))
            for url in tuple(alive):
                others_untried = turn == 0 and url != urls[-1]
                try:
                    if self._from(url, self._patience.rate if others_untried else 0.0):
                        return
                except Refused as problem:
                    self._reasons[url] = str(problem)
                    alive.remove(url)
            alive.sort(key=lambda url: -self._rates.get(url, 0.0))
        reasons = "".join(f"\n    {url}: {self._reasons[url]}" for url in dict.fromkeys(urls))
        raise error(
            "D0409",
            f"{self._name} could not be downloaded from any mirror:{reasons or ' there is none'}",
            help="get the file by other means and pass its folder as `--data-dir FOLDER`, or name "
            "other mirrors in the environment variable CNNDSL_MIRRORS",
        )

    def _from(self, url: str, rate: float) -> bool:
        """Whether the file is whole and right now; raises Refused if asking again is of no use."""
        patience = self._patience
        for _ in range(CONTINUATIONS):
            before = self._part.size
            try:
                pure = transfer(
                    url,
                    self._part,
                    self._size,
                    self._progress,
                    timeout=patience.timeout,
                    slowest=rate,
                    warm_up=patience.warm_up,
                )
            except TooSlow as problem:
                self._reasons[url] = str(problem)
                self._rates[url] = problem.rate
                return False
            except Changed:
                self._reasons[url] = "it has another version of the file now"
                continue
            except Unreachable as problem:
                self._reasons[url] = str(problem)
                if self._part.size <= before:
                    return False
                continue
            if self._right():
                return True
            self._part.discard()
            reason = f"its file has a wrong {self._algorithm.upper()}: damaged, or another version"
            if pure or url in self._wrong:
                raise Refused(reason)
            self._wrong.add(url)  # the mistake may be in bytes that came before: once more, afresh
            self._reasons[url] = reason
        return False

    def _right(self) -> bool:
        with self._part.path.open("rb") as file:
            return hashlib.file_digest(file, self._algorithm).hexdigest() == self._expected.lower()


@contextmanager
def _locked(path: Path) -> Iterator[bool]:
    """Hold a file's lock, waiting for it; False where the file system knows no locks.

    The system frees it when the process ends, however it ends.
    """
    with path.open("a+b") as file:
        while True:
            try:
                _lock(file.fileno())
                break
            except BlockingIOError:
                time.sleep(0.1)
            except OSError:
                yield False
                return
        yield True  # closing the file frees the lock


if sys.platform == "win32":
    import msvcrt

    def _lock(descriptor: int) -> None:
        """Lock at once, or raise BlockingIOError."""
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except PermissionError:
            raise BlockingIOError from None

else:
    import fcntl

    def _lock(descriptor: int) -> None:
        """Lock at once, or raise BlockingIOError."""
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
