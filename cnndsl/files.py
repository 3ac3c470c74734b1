"""Writes files so that they are whole or not there at all, and says where lasting ones go."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cnndsl.diagnostics import error


def cache_folder() -> Path:
    """Where what took long to get is kept: `$CNNDSL_CACHE`, else the system's folder for that."""
    if os.environ.get("CNNDSL_CACHE"):
        return Path(os.environ["CNNDSL_CACHE"]).expanduser()
    if os.environ.get("XDG_CACHE_HOME"):
        return Path(os.environ["XDG_CACHE_HOME"]) / "cnndsl"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData/Local")) / "cnndsl/cache"
    if sys.platform == "darwin":
        return Path.home() / "Library/Caches/cnndsl"
    return Path.home() / ".cache/cnndsl"


@contextmanager
def written_to(path: Path) -> Iterator[None]:
    """Turns a failure to write into a message.

    Raises:
        CnndslError: the file or its folder cannot be written.
    """
    try:
        yield
    except OSError as reason:
        said = (reason.strerror or str(reason)).lower()
        raise error("C0102", f"{path} cannot be written: {said}") from None


def write_whole(path: Path, data: bytes | str) -> None:
    """Write a file under a temporary name beside it, force it to the disk, and rename it.

    Raises:
        CnndslError: it cannot be written; nothing is left of it then.
    """
    with written_to(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=_prefix(path))
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data.encode() if isinstance(data, str) else data)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(temporary, 0o644)
            os.replace(temporary, path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise


def remove_remains(path: Path) -> None:
    """Remove what a killed process left of `write_whole` for this path."""
    for temporary in path.parent.glob(f"{_prefix(path)}*"):
        temporary.unlink(missing_ok=True)


def _prefix(path: Path) -> str:
    return f".{path.name}."


def append_line(path: Path, line: str) -> int:
    """Append a line, force it to the disk, and return the file's new length."""
    with written_to(path), path.open("ab") as file:
        file.write(line.encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())
        return file.tell()
