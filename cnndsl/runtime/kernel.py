"""The interface between a program and an engine: kernels, and what a backend offers."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from cnndsl.graph.graph import Graph
from cnndsl.graph.op import Op, View
from cnndsl.graph.rewrite import Rewrite
from cnndsl.graph.types import Type

#: The layout of a value that is not in one piece: its neighbours along the last axis are.
STRIDED = "strided"

#: An array of the engine; the reference's is `numpy.ndarray`.
Array = Any


#: The layouts of what an operation takes, and of what it gives.
Layouts = tuple[tuple[Hashable | None, ...], tuple[Hashable | None, ...]]


@dataclass(frozen=True)
class Kernel:
    """How one step is executed.

    `run(*inputs, *outputs)` fills its outputs; an output that nobody reads is None. With a
    `workspace` of so many bytes, `run` gets a scratch buffer of bytes as its last argument; it is
    shared between steps and holds nothing from one to the next. `may_alias` lists the pairs
    (output, input) that may be one array, when the input is not needed afterwards.
    `implementation` says in a word or two how it is done.
    """

    run: Callable[..., None]
    may_alias: tuple[tuple[int, int], ...] = ()
    workspace: int = 0
    implementation: str = ""

    def bind(self, *arrays: Array) -> Callable[[], None]:
        """What executes the kernel on these arrays, once for all."""
        return partial(self.run, *arrays)


def no_run(*arrays: Array) -> None:
    """What kernels are executed by that have to be bound: never called."""
    raise TypeError("a kernel is bound to its arrays before it is executed")


@dataclass(frozen=True)
class Composed(Kernel):
    """A kernel that has to be bound: of a primitive, of several, or one between casts."""

    run: Callable[..., None] = no_run
    binder: Callable[..., Callable[[], None]] = field(default=no_run, repr=False)  # type: ignore[assignment]

    def bind(self, *arrays: Array) -> Callable[[], None]:
        return self.binder(*arrays)


@dataclass(frozen=True)
class Peaks:
    """Floating-point operations a second of a large matrix product, and bytes a second, read and
    written, of a large copy."""

    operations: float
    bytes: float


class Backend(Protocol):
    """An engine: its name, whether it is to be had, its arrays and its kernels.

    `fusions` are the rewrites that it asks for: those that make several of its kernels one.
    `strides` says whether its kernels take arrays whose rows are parts of longer ones; `spared` how
    much of a training step's time may be given for memory where the user sets no budget; `prepares`
    whether programs should prepare images of data sets themselves; `tf32` whether products of
    float32 may be rounded, which `use_tf32` asks for.
    """

    name: str
    fusions: tuple[Rewrite, ...]
    strides: bool
    spared: float
    prepares: bool
    tf32: bool

    def unavailable(self) -> str | None:
        """Why this engine cannot run here, in words; None if it can."""

    def note(self) -> str | None:
        """What makes an engine that can run here slower than it could be, in words; or None."""

    def use_threads(self, count: int) -> None:
        """Let programs that are made and run from now on work on so many threads."""

    def threads(self) -> int:
        """On how many threads programs work."""

    def use_tf32(self) -> bool:
        """Let products of float32 be rounded to tf32 in kernels that are made from now on.

        False, and nothing changes, if this engine has no tf32.
        """

    def kernel(self, op: Op, inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Kernel:
        """The kernel of an operation for types whose batch is known.

        A type of layout `STRIDED` is one of an array whose rows of channels, or of a weight, are
        parts of longer ones.

        Raises:
            MissingKernel: this engine cannot execute the operation.
        """

    def manner(self, graph: Graph) -> Hashable:
        """What matters of a whole graph when layouts are chosen."""

    def layouts(
        self, op: Op, inputs: tuple[Type, ...], outputs: tuple[Type, ...], manner: Hashable
    ) -> Layouts:
        """The layouts in which an operation takes its inputs and gives its outputs.

        The types are of a known batch; those of the inputs say in which layouts they are at hand.
        """

    def keeps(self, layout: Hashable | None) -> bool:
        """Whether a state may be laid out so: it is read back as it was written, to the bit."""

    def nbytes(self, type: Type) -> int:
        """The bytes of a value of a type, in its layout."""

    def part(
        self, whole: Type, part: Type, index: View, writer: Op, readers: Collection[Op]
    ) -> tuple[View, Type] | None:
        """Where the array of a value holds the part of it at an index, and its type there.

        None if the kernels of what writes the part (a join and an `Identity` copy to it, a slice
        leaves it as it is) or of what reads it cannot do so there.
        """

    def sequence(self, calls: Sequence[Callable[[], None]]) -> Callable[[], None]:
        """What executes steps in order, whenever it is called, as fast as this engine can."""

    def seconds(self, run: Callable[[], None]) -> float:
        """How long a step takes that is executed now."""

    def peaks(self) -> Peaks:
        """What the device of this engine can do at best, measured now."""

    def free_bytes(self) -> int | None:
        """How much memory programs can still have; None where nobody can tell."""

    def running(self) -> AbstractContextManager[object]:
        """What a program runs within: a stream, a number of threads."""

    def allocate(self, nbytes: int) -> Array:
        """A buffer of bytes, all zero, aligned to 64."""

    def view(self, buffer: Array, offset: int, type: Type) -> Array:
        """The part of a buffer that holds a value of a type."""

    def upload(self, target: Array, type: Type, source: Any) -> None:
        """Copy an array of the host, in the canonical layout, into a view of a type."""

    def download(self, source: Array, type: Type) -> Any:
        """A copy of a view of a type as an array of the host, in the canonical layout."""


class Canonical:
    """What engines share that know the canonical layout alone, whose steps run one by one and end
    when they return."""

    def manner(self, graph: Graph) -> Hashable:
        return None

    def layouts(
        self, op: Op, inputs: tuple[Type, ...], outputs: tuple[Type, ...], manner: Hashable
    ) -> Layouts:
        """The canonical layout, always."""
        return (None,) * len(inputs), (None,) * len(outputs)

    tf32 = False

    def note(self) -> str | None:
        return None

    def use_tf32(self) -> bool:
        return False

    def keeps(self, layout: Hashable | None) -> bool:
        return True

    def nbytes(self, type: Type) -> int:
        return type.total_bytes

    def sequence(self, calls: Sequence[Callable[[], None]]) -> Callable[[], None]:
        return in_turn(*calls)

    def seconds(self, run: Callable[[], None]) -> float:
        return seconds_on_host(run)


def in_one_piece(index: View) -> bool:
    """Whether what an index takes of an array is in one piece: all of every axis but the first."""
    return all(not isinstance(s, slice) or s == slice(None) for s in index[1:])


def in_turn(*calls: Callable[[], None]) -> Callable[[], None]:
    """What executes one call after another."""

    def run() -> None:
        for call in calls:
            call()

    return calls[0] if len(calls) == 1 else run


def free_on_host() -> int | None:
    """The bytes of memory that the system could give without swapping; None off Linux."""
    path = Path("/proc/meminfo")
    if not path.exists():
        return None
    line = next(line for line in path.read_text().splitlines() if line.startswith("MemAvailable"))
    return int(line.split()[1]) * 1024


def seconds_on_host(run: Callable[[], None]) -> float:
    """How long a call takes that returns when all is done."""
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


class MissingKernel(Exception):
    """An engine has no kernel for an operation."""

    def __init__(self, op: Op, backend: str) -> None:
        super().__init__(f"the {backend} engine has no kernel for `{op.name}`")


#: Builders of kernels by operation: each takes the operation and the types of inputs and outputs.
Builder = Callable[[Any, tuple[Type, ...], tuple[Type, ...]], Kernel]
Builders = Mapping[type[Op], Builder]
