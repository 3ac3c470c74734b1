"""Kernels of many sets of arrays: one launch, and a table of where the arrays are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from cnndsl.backends.cuda.formula import Formula, Read, literal
from cnndsl.backends.cuda.launch import (
    ACCESS,
    SIZES,
    THREADS,
    Argument,
    Builders,
    Constant,
    Launch,
    Recipe,
    Scratch,
    Source,
    Table,
    c_type,
    count_of,
)
from cnndsl.backends.cuda.loss import total
from cnndsl.backends.cuda.pointwise import WRITERS, Text, Writer, launch, text_of
from cnndsl.backends.cuda.scaling import guarded
from cnndsl.graph.op import Op
from cnndsl.graph.types import Type
from cnndsl.ops.scaling import AllFinite, Clipping, Guarded
from cnndsl.ops.together import Together
from cnndsl.runtime.memory import round_up

#: Elements of a set that a block works on: so few that large tensors have blocks for all of a GPU,
#: and so many that it costs little to look up what a block's are.
CHUNK = 4096
#: Formulas of what may be done together.
EACH: dict[type[Op], Writer] = {**WRITERS, Guarded: guarded}


@dataclass(frozen=True)
class Column:
    """An array that each set has: its declaration, `const float *x0`, its element type, and the
    places, set by set."""

    declaration: str
    dtype: str
    places: tuple[int, ...]


def launch_of_sets(
    entry: str,
    text: Text,
    columns: Sequence[Column],
    counts: Sequence[int],
    shared: Sequence[tuple[str, Argument]] = (),
    after: str = "",
) -> Launch:
    """The kernel of a text for sets of arrays of so many elements each.

    `shared` are parameters and what they are; `after` is what a block does in the end.
    """
    arrays = []
    for slot, column in enumerate(columns):
        kind, name = column.declaration.split("*")
        arrays.append(f"{kind}*const {name} = reinterpret_cast<{kind}*>(row[{slot}]);")
        arrays.append(f"address |= row[{slot}];")
    definitions = (
        f"#define ENTRY {entry}",
        f"constexpr int WIDTH = {ACCESS // max(SIZES[column.dtype] for column in columns)};",
        f"constexpr int CHUNK = {CHUNK};",
        f"constexpr int ADDRESSES = {len(columns)};",
        f"#define ARRAYS {' '.join(arrays)}",
        f"#define SHARED {''.join(f', {parameter}' for parameter, _ in shared)}",
        f"#define ONCE {' '.join(text.once)}",
        f"#define LOAD {' '.join(text.load)}",
        f"#define BODY {' '.join(text.body)}",
        f"#define STORE {' '.join(text.store)}",
        f"#define AFTER {after}",
    )
    table = Table(tuple(zip(*(column.places for column in columns), strict=True)))
    parts = [
        (number, chunk, min(CHUNK, count - chunk * CHUNK))
        for number, count in enumerate(counts)
        for chunk in range(-(-count // CHUNK))
    ]
    each = Constant(tuple(number for part in parts for number in part))
    arguments = (table, each, *(argument for _, argument in shared))
    source = Source("together.cu", entry, definitions)
    return Launch(source, (len(parts), 1, 1), (THREADS, 1, 1), arguments)


def together(op: Together, inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Recipe:
    takes, gives = op.sets(inputs), op.sets(outputs)
    formula = EACH[type(op.each)](op.each, takes[0], gives[0])
    behind = len(inputs)
    read, made = op.sets(range(behind)), op.sets(range(behind, behind + len(outputs)))
    columns, shared = [], []
    for slot, (type_, how) in enumerate(zip(takes[0], formula.reads, strict=True)):
        declaration = f"const {c_type(type_)} *x{slot}"
        places = tuple(own[slot] for own in read)
        if how is Read.ELEMENT:
            columns.append(Column(declaration, type_.dtype, places))
        else:
            shared.append((declaration, places[0]))
    for slot, type_ in enumerate(gives[0]):
        places = tuple(own[slot] for own in made)
        columns.append(Column(f"{c_type(type_)} *y{slot}", type_.dtype, places))
    text = text_of(formula, takes[0], gives[0], gives[0][0], 1)
    counts = [count_of(results[0]) for results in gives]
    may_alias = tuple(
        (results[output] - behind, own[slot])
        for own, results in zip(read, made, strict=True)
        for output, slot in formula.may_alias
    )
    update = op.each.update if isinstance(op.each, Guarded) else op.each
    task = launch_of_sets(f"{update.name}_together", text, columns, counts, shared)
    return Recipe((task,), may_alias=may_alias)


def all_finite(op: AllFinite, inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Recipe:
    """A launch for each element type: a block that finds what is not finite says so.

    A block that is the only one says what it found; else the answer is yes until one says no.
    """
    alone = len(inputs) == 1 and count_of(inputs[0]) <= CHUNK
    said = "finite[0] = any ? 0.0f : 1.0f;" if alone else "if (any) finite[0] = 0.0f;"
    formula = Formula((Read.ELEMENT,), (), ("any |= !(v0 - v0 == 0.0f);",), once=("int any = 0;",))
    after = f"any = __syncthreads_or(any); if (threadIdx.x == 0) {{ {said} }}"
    found = ("float *finite", len(inputs))
    tasks = [
        _read("not_finite", formula, inputs, places, found, after) for places in _alike(inputs)
    ]
    if not alone:
        yes = launch(Formula((), ("1.0f",)), (), outputs, (len(inputs),))
        tasks.insert(0, yes)
    return Recipe(tuple(tasks))


def clipping(op: Clipping, inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Recipe:
    """Each block adds up its squares, a launch for each element type; then all are added up."""
    once = ("float sum = 0.0f;", "__shared__ float shared[256];")
    formula = Formula((Read.ELEMENT,), (), ("sum += v0 * v0;",), once=once)
    after = (
        "shared[threadIdx.x] = sum; __syncthreads();"
        " for (int half = 128; half; half >>= 1) {"
        " if (threadIdx.x < half) shared[threadIdx.x] += shared[threadIdx.x + half];"
        " __syncthreads(); }"
        " if (threadIdx.x == 0) sums[blockIdx.x] = shared[0];"
    )
    tasks = []
    blocks = 0
    for places in _alike(inputs[: len(inputs) - op.scaled]):
        own = sum(-(-count_of(inputs[place]) // CHUNK) for place in places)
        sums = ("float *sums", Scratch(4 * blocks, 4 * own))
        tasks.append(_read("squares", formula, inputs, places, sums, after))
        blocks += own
    parts, whole = Scratch(0, 4 * blocks), Scratch(round_up(4 * blocks), 4)
    tasks.append(total("const float *x", "x[i]", blocks, 1.0, (parts, whole)))
    scale = "v1" if op.scaled else "1.0f"
    larger = f"fmaxf(sqrtf(v0) / ({scale} * {literal(op.most)}), 1.0f) * {scale}"
    reads = (Read.SCALAR,) * (1 + op.scaled)
    result = len(inputs)
    arguments = (whole, *((result - 1,) if op.scaled else ()), result)
    tasks.append(launch(Formula(reads, (larger,)), outputs * len(reads), outputs, arguments))
    return Recipe(tuple(tasks), whole.offset + 4)


def _alike(inputs: Sequence[Type]) -> Iterator[tuple[int, ...]]:
    """The places of operands of each element type."""
    for dtype in dict.fromkeys(type.dtype for type in inputs):
        yield tuple(place for place, type in enumerate(inputs) if type.dtype == dtype)


def _read(
    entry: str,
    formula: Formula,
    inputs: Sequence[Type],
    places: tuple[int, ...],
    shared: tuple[str, Argument],
    after: str,
) -> Launch:
    """The kernel that reads operands of one element type, an array a set."""
    types = [inputs[place] for place in places]
    text = text_of(formula, types[:1], (), types[0], 1)
    columns = [Column(f"const {c_type(types[0])} *x0", types[0].dtype, places)]
    return launch_of_sets(entry, text, columns, list(map(count_of, types)), [shared], after)


BUILDERS: Builders = {Together: together, AllFinite: all_finite, Clipping: clipping}
