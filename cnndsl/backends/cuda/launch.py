"""What a step on a GPU is, as data: kernels of CUDA C and on how many threads they run."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from cnndsl.backends.cuda.cudnn import Convolution, Product
from cnndsl.graph.op import Op
from cnndsl.graph.types import Type
from cnndsl.runtime.kernel import Array

TEMPLATES = Path(__file__).parent / "templates"

#: Element types of CUDA C by those of values.
C_TYPES = {
    "float32": "float",
    "bfloat16": "bfloat16",
    "float16": "float16",
    "uint8": "unsigned char",
    "int32": "int",
    "int64": "long long",
}
#: Bytes of one access of a thread.
ACCESS = 16
#: Threads of a block, unless a kernel wants others.
THREADS = 256


@dataclass(frozen=True)
class Source:
    """A kernel's text: a template and what is defined before it, line by line."""

    template: str
    entry: str
    definitions: tuple[str, ...]

    @property
    def text(self) -> str:
        """The whole text, for NVRTC as for the simulator; it includes no file but CUDA's own."""
        lines = (_read("prelude.cuh"), *self.definitions, _read(self.template))
        return "\n".join(lines)


@cache
def _read(name: str) -> str:
    return (TEMPLATES / name).read_text(encoding="utf-8")


@dataclass(frozen=True)
class Scratch:
    """An array in a step's workspace: where it begins, in bytes, and how long it is."""

    offset: int
    nbytes: int


@dataclass(frozen=True)
class Number:
    """A whole number, `long long`."""

    value: int


@dataclass(frozen=True)
class Rows:
    """The layout of a value whose rows of channels are parts of wider ones.

    `pack` divides the place where the first row begins and the distance between rows.
    """

    pack: int


@dataclass(frozen=True)
class Pitch:
    """How many elements lie from one row of channels to the next of the array at a place."""

    place: int


@dataclass(frozen=True)
class Table:
    """An array of addresses, `long long`, row by row: of operands and results by their places, and
    of scratch; 0 for a result that nobody reads."""

    rows: tuple[tuple[int | Scratch, ...], ...]


@dataclass(frozen=True)
class Constant:
    """An array of whole numbers, `int`."""

    values: tuple[int, ...]


#: What a kernel is given: the array of an operand or a result by its place, one of scratch, a
#: number, or an array that a recipe brings along.
Argument = int | Scratch | Number | Pitch | Table | Constant


@dataclass(frozen=True)
class Addresses:
    """A table whose arrays are known, one after another."""

    arrays: tuple[Array | None, ...]


#: An argument whose arrays are known.
Given = Array | int | Addresses | Constant | None


@dataclass(frozen=True)
class Launch:
    """One start of a kernel: its grid, the threads of a block, and its arguments."""

    source: Source
    grid: tuple[int, int, int]
    block: tuple[int, int, int]
    arguments: tuple[Argument, ...]

    @property
    def threads(self) -> int:
        """Those of a block."""
        return math.prod(self.block)


@dataclass(frozen=True)
class LibraryCall:
    """A convolution or a matrix product that a library does: cuDNN on a GPU."""

    description: Convolution | Product
    arguments: tuple[Argument, ...]


Task = Launch | LibraryCall


@dataclass(frozen=True)
class Recipe:
    """How an operation is done: one task after another, on operands, results and scratch.

    `workspace` is the bytes of scratch; `may_alias` the pairs (output, input) that may be one
    array.
    """

    tasks: tuple[Task, ...]
    workspace: int = 0
    may_alias: tuple[tuple[int, int], ...] = ()

    def moved(self, places: Sequence[int], offset: int = 0) -> Recipe:
        """The same on other arrays: those at these places, and scratch from an offset on."""

        def array(argument: int | Scratch) -> int | Scratch:
            if isinstance(argument, int):
                return places[argument]
            return Scratch(offset + argument.offset, argument.nbytes)

        def there(argument: Argument) -> Argument:
            if isinstance(argument, int | Scratch):
                return array(argument)
            if isinstance(argument, Pitch):
                return Pitch(places[argument.place])
            if isinstance(argument, Table):
                return Table(tuple(tuple(map(array, row)) for row in argument.rows))
            return argument

        tasks = tuple(replace(t, arguments=tuple(map(there, t.arguments))) for t in self.tasks)
        return Recipe(tasks, offset + self.workspace)

    @property
    def implementation(self) -> str:
        """The names of what is executed."""
        return " + ".join(dict.fromkeys(_name(task) for task in self.tasks))


def _name(task: Task) -> str:
    return task.source.entry if isinstance(task, Launch) else "cudnn"


#: How an operation is done on values of some types, whose batch is known.
Builder = Callable[[Any, tuple[Type, ...], tuple[Type, ...]], Recipe]
Builders = dict[type[Op], Builder]


def c_type(type: Type) -> str:
    return C_TYPES[type.dtype]


def count_of(type: Type) -> int:
    """The elements of a value, batch included."""
    return math.prod(type.concrete())


def blocks_for(items: int, threads: int = THREADS) -> tuple[int, int, int]:
    """A grid with a thread for each item."""
    return (max(1, -(-items // threads)), 1, 1)


def aligned(*types: Type) -> list[int]:
    """What packs have to divide so that no access of values in parts of rows is misaligned."""
    rows = [t for t in types if isinstance(t.layout, Rows)]
    return [n for t in rows if isinstance(t.layout, Rows) for n in (t.channels, t.layout.pack)]


def pack_of(dtypes: Sequence[str], *lengths: int) -> int:
    """How many neighbours a thread takes at once: as many of the shortest type as one access holds,
    or fewer, so that they divide all of these lengths. Bytes beside longer types do not count."""
    sizes = [SIZES[dtype] for dtype in dtypes]
    pack = ACCESS // min([size for size in sizes if size > 1] or sizes)
    while any(length % pack for length in lengths):
        pack //= 2
    return pack


SIZES = {"float32": 4, "bfloat16": 2, "float16": 2, "uint8": 1, "int32": 4, "int64": 8}
