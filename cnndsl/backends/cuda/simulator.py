"""Runs CUDA kernels on the processor, thread by thread, to prove them right without a GPU."""

from __future__ import annotations

import ctypes
import hashlib
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.array_utils import byte_bounds
from numpy.typing import NDArray

from cnndsl.backends.cuda.launch import Addresses
from cnndsl.files import cache_folder

#: The folder of what takes the place of CUDA's headers, and executes kernels.
HEADERS = Path(__file__).with_name("simulator_headers")

#: How a kernel's text is compiled: what a device would not forgive is trapped.
FLAGS = (
    "-O1",
    "-std=c++17",
    "-fPIC",
    "-shared",
    "-w",
    "-DCNNDSL_SIMULATED",
    "-fsanitize=alignment,bounds",
    "-fsanitize-undefined-trap-on-error",
    "-fstack-clash-protection",
    "-fvisibility=hidden",
    "-fno-exceptions",
    "-fno-rtti",
    "-U_FORTIFY_SOURCE",
)

#: The longest sentence about a fault.
LENGTH = 512


class Fault(Exception):
    """What a kernel did wrong, in a sentence that names the kernel, the block and the thread."""


@dataclass(frozen=True)
class Kernel:
    """A kernel in a loaded shared object."""

    name: str
    library: ctypes.PyDLL
    address: int


def unavailable() -> str | None:
    """Why the simulator cannot run here, in words; nothing where it can."""
    if sys.platform != "linux" or platform.machine() not in ("x86_64", "AMD64"):
        return "the simulator of CUDA kernels needs Linux on x86-64"
    if shutil.which("g++") is None:
        return "the simulator of CUDA kernels needs the compiler g++"
    return None


@cache
def compiled(text: str, name: str) -> Kernel:
    """The kernel of this name in a text, ready to run; a text is compiled once for all processes.

    Raises:
        ValueError: the text does not compile or has no such kernel; with the compiler's words.
    """
    path = _shared_object(text)
    # Python's lock is held while a kernel runs: there is one launch at a time.
    library = ctypes.PyDLL(str(path))
    try:
        function = library[name]
    except AttributeError:
        raise ValueError(f"the text has no kernel {name}") from None
    address = ctypes.cast(function, ctypes.c_void_p).value
    assert address is not None
    return Kernel(name, library, address)


def run(
    kernel: Kernel,
    grid: tuple[int, int, int],
    block: tuple[int, int, int],
    shared: int,
    arguments: Sequence[NDArray[Any] | int | Addresses],
    seed: int = 0,
) -> None:
    """Launch a kernel with so many bytes of dynamic shared memory, and wait for it.

    An array is the address of its first element: the kernel may use the bytes up to the array's
    last. Arrays that overlap do so for the kernel too; all others begin at a multiple of 16. The
    arrays change only when the launch is good; one that is read-only is a copy of its own.
    Addresses are an array of the kernel's, and what they lead to is guarded as arguments are.

    The seed shuffles blocks and threads: a right kernel gives the same for every seed, but for the
    order of its atomic sums. Bytes around an array are those of a NaN. A write to them is always
    found, a read behind an array's end with even seeds (from the next multiple of 16), and a read
    before its start with odd ones.

    Raises:
        Fault: the kernel did what a device does not allow.
        ValueError: an array's first element is not its first in memory.
    """
    addresses: list[int] = []
    sizes: list[int] = []
    constants: list[tuple[str, NDArray[np.uint8], NDArray[np.uint8]]] = []

    def place(array: NDArray[Any], name: str) -> None:
        own = _bytes(array)
        if not array.flags.writeable:
            constants.append((name, own, own := own.copy()))
        addresses.append(own.ctypes.data)
        sizes.append(own.nbytes)

    tables: list[tuple[int, Addresses, NDArray[np.int64]]] = []
    for position, argument in enumerate(arguments):
        if isinstance(argument, int):
            addresses.append(argument)
            sizes.append(-1)
        elif isinstance(argument, Addresses):
            tables.append((position, argument, np.zeros(len(argument.arrays), np.int64)))
            place(tables[-1][-1], f"argument {position}")
        else:
            place(argument, f"argument {position}")
    entries: list[int] = []
    for position, table, _ in tables:
        for entry, array in enumerate(table.arrays):
            if array is not None:
                place(array, f"array {entry} of argument {position}")
                entries += position, entry
    message = ctypes.create_string_buffer(LENGTH)
    failed = kernel.library.cnndsl_simulate(
        ctypes.c_void_p(kernel.address),
        (ctypes.c_uint * 3)(*grid),
        (ctypes.c_uint * 3)(*block),
        ctypes.c_longlong(shared),
        ctypes.c_int(len(arguments)),
        ctypes.c_int(len(addresses) - len(arguments)),
        (ctypes.c_longlong * len(addresses))(*addresses),
        (ctypes.c_longlong * len(addresses))(*sizes),
        (ctypes.c_int * len(entries))(*entries),
        ctypes.c_ulonglong(seed),
        message,
        ctypes.c_int(LENGTH),
    )
    if failed:
        raise Fault(f"kernel {kernel.name}, {message.value.decode(errors='replace')}")
    for name, before, after in constants:
        if not np.array_equal(before, after):
            raise Fault(f"kernel {kernel.name}: writes {name}, which is read-only")


def _bytes(array: NDArray[Any]) -> NDArray[np.uint8]:
    """The memory from an array's first to its last byte."""
    if array.size == 0:
        return np.empty(0, np.uint8)
    low, high = byte_bounds(array)
    if low != array.ctypes.data:
        raise ValueError("an array whose first element is not its first in memory")
    return np.ctypeslib.as_array((ctypes.c_uint8 * (high - low)).from_address(low))


def _shared_object(text: str) -> Path:
    """The file that a text is compiled to, made unless it is there."""
    key = hashlib.sha256()
    for part in (text, *_headers(), *FLAGS, _compiler()):
        key.update(f"{len(part)}:{part}".encode())
    folder = cache_folder() / "simulator"
    path = folder / f"{key.hexdigest()}.so"
    if path.exists():
        return path
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as place:
        made = Path(place) / path.name
        command = ["g++", *FLAGS, f"-I{HEADERS}", "-x", "c++", "-", "-o", str(made)]
        said = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
        if said.returncode:
            raise ValueError(_first_error(said.stderr))
        made.replace(path)
    return path


@cache
def _headers() -> tuple[str, ...]:
    """The headers' texts, with the order of their names."""
    return tuple(path.read_text() for path in sorted(HEADERS.glob("*.h")))


@cache
def _compiler() -> str:
    """The line in which the compiler says its version."""
    said = subprocess.run(["g++", "--version"], capture_output=True, text=True, check=True)
    return said.stdout.splitlines()[0]


def _first_error(said: str) -> str:
    """The first error among a compiler's lines, with the line of the text."""
    lines = [line for line in said.splitlines() if "error: " in line] or said.splitlines()
    return lines[0].replace("<stdin>:", "line ", 1) if lines else "the compiler failed"
