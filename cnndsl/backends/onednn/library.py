"""Where oneDNN is found, and how it is loaded."""

from __future__ import annotations

import ctypes
import os
import sys
from functools import cache
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

#: The environment variable that names the library's file.
VARIABLE = "CNNDSL_ONEDNN"

#: How often GNU's OpenMP looks for work before its threads sleep: as long as the next primitive may
#: take to come. Its default is milliseconds, in which NumPy's threads have no core.
SPINS = "10000"

#: The package that brings the library (Linux on x86-64).
PACKAGE = "onednn-cpu-gomp"

#: The major version whose interface this is; it is stable within one.
MAJOR = 3

#: The names by which a system's loader may know the library.
NAMES = {"darwin": ("libdnnl.3.dylib", "libdnnl.dylib"), "win32": ("dnnl.dll",)}

HOW = f"`pip install {PACKAGE}` (Linux on x86-64), a package of the system (libdnnl3, oneDNN), or "
HOW += f"the file's path in {VARIABLE}"


class Unavailable(Exception):
    """Why oneDNN cannot be used here, in words."""


class _Version(ctypes.Structure):
    _fields_ = [
        ("major", ctypes.c_int),
        ("minor", ctypes.c_int),
        ("patch", ctypes.c_int),
        ("hash", ctypes.c_char_p),
        ("cpu_runtime", ctypes.c_uint),
        ("gpu_runtime", ctypes.c_uint),
    ]


@cache
def load() -> ctypes.CDLL:
    """The library, loaded once.

    Raises:
        Unavailable: it is nowhere, cannot be loaded, or has another interface.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", SPINS)
    named = os.environ.get(VARIABLE)
    failures: list[str] = []
    for candidate in [named] if named else [*_installed(), *NAMES.get(sys.platform, _LINUX)]:
        try:
            library = ctypes.CDLL(candidate)
        except OSError as failure:
            failures.append(str(failure))
            continue
        if not hasattr(library, "dnnl_version"):
            raise Unavailable(f"{candidate} is not oneDNN")
        found = version(library)
        if found[0] != MAJOR:
            words = ".".join(map(str, found))
            raise Unavailable(f"{candidate} is oneDNN {words}, version {MAJOR} is wanted")
        return library
    if named:
        raise Unavailable(f"{VARIABLE} names a file that cannot be loaded: {failures[0]}")
    if failures and "libgomp" in failures[0]:
        raise Unavailable("oneDNN needs libgomp.so.1: install the system's package libgomp1")
    raise Unavailable(f"the library oneDNN is not here: {HOW}")


_LINUX = (f"libdnnl.so.{MAJOR}", "libdnnl.so")


def version(library: ctypes.CDLL) -> tuple[int, int, int]:
    """Major, minor and patch version."""
    library.dnnl_version.restype = ctypes.POINTER(_Version)
    found = library.dnnl_version().contents
    return found.major, found.minor, found.patch


def _installed() -> list[str]:
    """The library's file in the package, if that is installed."""
    try:
        listed = files(PACKAGE) or []
    except PackageNotFoundError:
        return []
    found = [Path(str(file.locate())) for file in listed if file.name == f"libdnnl.so.{MAJOR}"]
    return [str(path) for path in found if path.exists()]


def set_threads(count: int) -> None:
    """Let oneDNN work with so many threads from now on; a library without OpenMP keeps its own."""
    function = getattr(load(), "omp_set_num_threads", None)
    if function is not None:
        function(count)


def threads() -> int:
    """How many threads oneDNN works with."""
    function = getattr(load(), "omp_get_max_threads", None)
    return int(function()) if function is not None else os.cpu_count() or 1
