"""Kernels of what is computed element by element: one template, written around a formula."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from cnndsl.backends.cuda.formula import (
    FORWARD,
    Formula,
    Read,
    activation,
    activation_gradient,
    literal,
)
from cnndsl.backends.cuda.launch import (
    THREADS,
    Argument,
    Builder,
    Builders,
    Launch,
    Number,
    Pitch,
    Recipe,
    Rows,
    Source,
    aligned,
    blocks_for,
    c_type,
    count_of,
    pack_of,
)
from cnndsl.graph.leaves import Accumulate, Ones
from cnndsl.graph.op import Op
from cnndsl.graph.types import Type
from cnndsl.ops.activation import ActivationGradient
from cnndsl.ops.cast import Cast
from cnndsl.ops.dropout import Dropout, DropoutTraining, DropPath
from cnndsl.ops.loss import MeanSquaredErrorGradient, WeightedSum
from cnndsl.ops.merge import Add, Gate, Multiply
from cnndsl.ops.norm import RunningAverage, Scale
from cnndsl.ops.optimizer import SGD, Adam, AdamW
from cnndsl.ops.shape import Identity

#: The formula of an operation on values of some types.
Writer = Callable[[Any, tuple[Type, ...], tuple[Type, ...]], Formula]


def launch(
    formula: Formula,
    inputs: Sequence[Type],
    outputs: Sequence[Type],
    arguments: tuple[Argument, ...] | None = None,
) -> Launch:
    """The kernel of a formula; the elements are those of the first output.

    The arguments are operands and results in order, unless others are given. Some may be
    parts of wider rows.
    """
    y = outputs[0]
    count = count_of(y)
    whole = [
        t for t, read in zip(inputs, formula.reads, strict=True) if read is Read.ELEMENT
    ] + list(outputs)
    pack = pack_of([t.dtype for t in whole], count, *aligned(*whole))
    text = text_of(formula, inputs, outputs, y, pack)
    parameters = [f"const {c_type(t)} *x{place}" for place, t in enumerate(inputs)]
    parameters += [f"{c_type(t)} *y{place}" for place, t in enumerate(outputs)]
    parameters.append("long long count")
    given = list(arguments or range(len(inputs) + len(outputs)))
    pitches = []
    for name, types, behind in (("x", inputs, 0), ("y", outputs, len(inputs))):
        for place, type in enumerate(types):
            argument = given[behind + place]
            if isinstance(type.layout, Rows) and isinstance(argument, int):
                parameters.append(f"long long pitch_{name}{place}")
                pitches.append(Pitch(argument))
    definitions = (
        f"constexpr int PACK = {pack};",
        f"#define PARAMETERS {', '.join(parameters)}",
        f"#define LOAD {' '.join((*text.once, *text.load))}",
        f"#define BODY {' '.join(text.body)}",
        f"#define STORE {' '.join(text.store)}",
    )
    source = Source("pointwise.cu", "pointwise", definitions)
    grid = blocks_for(count // pack)
    return Launch(source, grid, (THREADS, 1, 1), (*given, Number(count), *pitches))


def _first(type: Type, pitch: str) -> str:
    """Where a pack stands in an array: rows of channels are so far apart, if they are apart."""
    if not isinstance(type.layout, Rows):
        return "first"
    return f"first / {type.channels} * {pitch} + first % {type.channels}"


@dataclass(frozen=True)
class Text:
    """The statements of a formula: those of a thread, of what it loads for a pack, of the `k`-th
    element of that, and of what it stores."""

    once: Sequence[str]
    load: Sequence[str]
    body: Sequence[str]
    store: Sequence[str]


def text_of(
    formula: Formula, inputs: Sequence[Type], outputs: Sequence[Type], y: Type, pack: int
) -> Text:
    """A formula of the elements of `y` in CUDA C; packs are so long, or shorter."""
    once, loads, body = _reading(formula, inputs, y, pack)
    body += formula.before
    stores = []
    for place, (type, expression) in enumerate(zip(outputs, formula.results, strict=True)):
        loads.append(f"Pack<{c_type(type)}, PACK> q{place};")
        body.append(f"q{place}.at[k] = rounded<{c_type(type)}>({expression});")
        at = _first(type, f"pitch_y{place}")
        stores.append(f"if (y{place}) store<PACK>(y{place} + {at}, q{place});")
    return Text((*once, *formula.once), loads, body, stores)


def _reading(
    formula: Formula, inputs: Sequence[Type], y: Type, pack: int
) -> tuple[list[str], list[str], list[str]]:
    """The numbers of all elements, what is loaded for a pack, and the numbers of its elements."""
    channels = y.channels if y.features else 1
    positions = math.prod(y.concrete()[1:-1])
    by_pack = channels % pack == 0
    once: list[str] = []
    loads: list[str] = []
    body: list[str] = []
    for place, (type, read) in enumerate(zip(inputs, formula.reads, strict=True)):
        at = {
            Read.ELEMENT: _first(type, f"pitch_x{place}").replace("first", "{i}"),
            Read.CHANNEL: f"{{i}} % {channels}",
            Read.IMAGE_CHANNEL: f"{{i}} / {positions * channels} * {channels} + {{i}} % {channels}",
        }.get(read)
        if read is Read.RAW:
            continue
        if at is None:
            once.append(f"const float v{place} = number(x{place}[0]);")
        elif by_pack or read is Read.ELEMENT:
            start = at.format(i="first")
            loads.append(
                f"const Pack<{c_type(type)}, PACK> p{place} = load<PACK>(x{place} + {start});"
            )
            body.append(f"const float v{place} = number(p{place}.at[k]);")
        else:
            body.append(f"const float v{place} = number(x{place}[{at.format(i='i')}]);")
    return once, loads, body


def pointwise(writer: Writer) -> Builder:
    """The builder of an operation's kernel from what writes its formula."""

    def build(op: Op, inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Recipe:
        formula = writer(op, inputs, outputs)
        return Recipe((launch(formula, inputs, outputs),), may_alias=formula.may_alias)

    return build


def same(op: Op, inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Formula:
    """The operand itself, rounded to the result's element type."""
    may_alias = ((0, 0),) if inputs[0].dtype == outputs[0].dtype else ()
    return Formula((Read.ELEMENT,), ("v0",), may_alias=may_alias)


def folded(sign: str) -> Writer:
    """`x0 ∘ x1 ∘ x2 …`."""

    def write(op: Op, inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Formula:
        names = f" {sign} ".join(f"v{place}" for place in range(len(inputs)))
        return Formula((Read.ELEMENT,) * len(inputs), (names,), may_alias=((0, 0),))

    return write


def gate(op: Gate, inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Formula:
    x, by = inputs
    read = Read.ELEMENT if by.shape == x.shape else Read.IMAGE_CHANNEL
    return Formula((Read.ELEMENT, read), ("v0 * v1",), may_alias=((0, 0),))


def scale(op: Scale, inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Formula:
    return Formula((Read.ELEMENT, Read.CHANNEL), ("v0 * v1",), may_alias=((0, 0),))


def running_average(
    op: RunningAverage, inputs: tuple[Type, ...], outputs: tuple[Type, ...]
) -> Formula:
    kept, new = literal(op.momentum), literal(1 - op.momentum)
    return Formula((Read.ELEMENT,) * 2, (f"{kept} * v0 + {new} * v1",), may_alias=((0, 0),))


def ones(op: Ones, inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Formula:
    return Formula((Read.RAW,) * len(inputs), ("1.0f",))


def weighted_sum(op: WeightedSum, inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Formula:
    terms = (f"{literal(weight)} * v{place}" for place, weight in enumerate(op.weights))
    return Formula((Read.SCALAR,) * len(inputs), (" + ".join(terms),))


def mean_squared_error_gradient(
    op: MeanSquaredErrorGradient, inputs: tuple[Type, ...], outputs: tuple[Type, ...]
) -> Formula:
    share = literal(2 / count_of(inputs[0]))
    reads = (Read.ELEMENT, Read.ELEMENT, Read.SCALAR)
    return Formula(reads, (f"(v0 - v1) * ({share} * v2)",), may_alias=((0, 0),))


def sgd(op: SGD, inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Formula:
    slope = f"const float slope = {_decayed(op.weight_decay)};"
    if not op.momentum:
        reads = (*(Read.ELEMENT,) * 2, Read.SCALAR)
        return Formula(reads, ("v0 - v2 * slope",), (slope,), ((0, 0),))
    velocity = f"const float velocity = {literal(op.momentum)} * v2 + slope;"
    step = f"slope + {literal(op.momentum)} * velocity" if op.nesterov else "velocity"
    results = (f"v0 - v3 * ({step})", "velocity")
    before = (slope, velocity)
    return Formula((*(Read.ELEMENT,) * 3, Read.SCALAR), results, before, ((0, 0), (1, 2)))


def adam(op: Adam | AdamW, inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Formula:
    """The corrections are computed in double: β₂ᵗ is near 1."""
    coupled, decoupled = (0.0, op.weight_decay) if isinstance(op, AdamW) else (op.weight_decay, 0.0)
    once = (
        "const double t = static_cast<double>(x5[0]);",
        f"const float correction = static_cast<float>(1.0 / sqrt(1.0 - pow({op.beta2!r}, t)));",
        f"const float length = static_cast<float>(v4 / (1.0 - pow({op.beta1!r}, t)));",
    )
    before = (
        f"const float slope = {_decayed(coupled)};",
        f"const float m = {literal(op.beta1)} * v2 + {literal(1 - op.beta1)} * slope;",
        f"const float s = {literal(op.beta2)} * v3 + {literal(1 - op.beta2)} * slope * slope;",
        f"const float change = length * m / (sqrtf(s) * correction + {literal(op.epsilon)});",
    )
    reads = (*(Read.ELEMENT,) * 4, Read.SCALAR, Read.RAW)
    results = (f"v0 * (1.0f - v4 * {literal(decoupled)}) - change", "m", "s")
    return Formula(reads, results, before, ((0, 0), (1, 2), (2, 3)), once)


def _decayed(decay: float) -> str:
    return f"v1 + {literal(decay)} * v0" if decay else "v1"


def dropout_training(
    op: DropoutTraining, inputs: tuple[Type, ...], outputs: tuple[Type, ...]
) -> Formula:
    """A pack's words are of one block of Philox; see the operation for which word is whose."""
    image = count_of(inputs[0]) // inputs[0].concrete()[0]
    block, place = "first / 8", "first % 8 + k"
    if op.per_image:
        number = f"(({image} % PACK ? i : first) / {image})"
        block, place = f"{number} / 8", f"{number} % 8"
    drawn = f"random_word(x1[0], {_signed(op.key)}, x2[0], {block}, {place})"
    kept = f"{drawn} >= {math.ceil(op.rate * 2**32)}ull"
    reads = (Read.ELEMENT, Read.RAW, Read.RAW)
    return Formula(reads, (f"({kept} ? v0 / {literal(1 - op.rate)} : 0.0f)",), may_alias=((0, 0),))


def _signed(word: int) -> str:
    return f"{word % 2**64}ull"


def _writers() -> Iterator[tuple[type[Op], Writer]]:
    for kind in FORWARD:
        yield kind, activation
    yield ActivationGradient, activation_gradient
    for kind in (Identity, Dropout, DropPath, Cast):
        yield kind, same
    for kind in (Add, Accumulate):
        yield kind, folded("+")
    yield Multiply, folded("*")
    yield Gate, gate
    yield Scale, scale
    yield RunningAverage, running_average
    yield Ones, ones
    yield WeightedSum, weighted_sum
    yield MeanSquaredErrorGradient, mean_squared_error_gradient
    yield SGD, sgd
    for kind in (Adam, AdamW):
        yield kind, adam
    yield DropoutTraining, dropout_training


WRITERS: dict[type[Op], Writer] = dict(_writers())

BUILDERS: Builders = {kind: pointwise(writer) for kind, writer in WRITERS.items()}
