"""What is done to every slice of a value is done to the value, once."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from itertools import pairwise

from cnndsl.graph.graph import Graph, Value, apply
from cnndsl.graph.leaves import Accumulate, Parameter
from cnndsl.graph.op import Op
from cnndsl.graph.rewrite import Found, only_reader, sweep
from cnndsl.ops.activation import Activation
from cnndsl.ops.merge import Concat
from cnndsl.ops.norm import BatchNorm, BatchNormTraining, RunningAverage
from cnndsl.ops.shape import Slice, SliceGradient
from cnndsl.passes.join import joined, weights_of


def runs(
    graph: Graph, kinds: tuple[type[Op], ...], key: Callable[[Value], Hashable]
) -> Iterator[tuple[Value, range, list[Value]]]:
    """Neighbouring slices that are each read once, alike: of what, which channels, the readers.

    Readers are alike that are of the kinds, read the slice first, and have one key.
    """
    roots = set(graph.roots())
    slices: dict[Value, list[Value]] = {}
    for node in graph.of(Slice):
        value = Value(graph, node)
        users = graph.users(value)
        once = len(users) == 1 and users[0][1] == 0 and value not in roots
        if once and isinstance(graph.op(users[0][0]), kinds):
            slices.setdefault(graph.operands(node)[0], []).append(value)
    for found in slices.values():
        found.sort(key=lambda value: _range(value).start)
        readers = [Value(graph, graph.users(value)[0][0]) for value in found]
        first = 0
        for last in range(1, len(found) + 1):
            if last < len(found):
                follows = _range(found[last]).start == _range(found[last - 1]).stop
                if follows and key(readers[last]) == key(readers[last - 1]):
                    continue
            if last - first > 1:
                # What the slices are of may have been replaced since they were found.
                (x,) = graph.operands(found[first].node)
                part = range(_range(found[first]).start, _range(found[last - 1]).stop)
                yield x, part, readers[first:last]
            first = last


def trained(value: Value) -> bool:
    """Whether training changes a weight: it is no frozen parameter."""
    return not isinstance(value.op, Parameter) or value.op.trainable


def _range(value: Value) -> range:
    op = value.op
    assert isinstance(op, Slice | SliceGradient)
    return op.channels


def cut(x: Value, part: range, like: Value) -> Value:
    """Some of a value's channels: the value itself where that is all."""
    return x if len(part) == x.type.channels else apply(Slice(part), x, like=like)


def split(wide: Value, old: Sequence[Value]) -> None:
    """Let slices of a wide value stand for narrow ones, one after another."""
    first = 0
    for value in old:
        last = first + value.type.channels
        value.graph.replace(value, apply(Slice(range(first, last)), wide, like=value))
        first = last


@sweep(
    fires_on=(
        "input 6x6x4 as a -> concat { | slice 0..1 -> relu | from a -> slice 1..4 -> relu }",
        "input 6x6x4 as a -> slice 2..4 -> tanh as b -> from a -> slice 0..2 -> tanh"
        " -> add { | identity | from b }",
    ),
    leaves_alone=(
        "input 6x6x4 as a -> concat { | slice 0..1 -> relu | from a -> slice 1..4 -> tanh }",
        "input 6x6x4 as a -> concat { | slice 0..1 -> relu | from a -> slice 2..4 -> relu }",
    ),
)
def activation_before_slices(graph: Graph) -> Iterator[Found]:
    """f(x₁), …, f(xₙ) = the slices of f(x), for an activation f and neighbouring slices of x.

    In training too.
    """
    for x, part, old in runs(graph, (Activation,), lambda reader: reader.op):
        split(apply(old[0].op, cut(x, part, old[0]), like=old[0]), old)
        yield old[0], None


@sweep(
    fires_on=("input 6x6x4 as a -> concat { | slice 0..1 -> bn | from a -> slice 1..4 -> bn }",),
    leaves_alone=(
        "input 6x6x4 as a -> concat { | slice 0..1 -> bn | from a -> slice 1..4 -> relu }",
        "input 6x6x4 as a -> concat {"
        " | slice 0..1 -> bn epsilon=1e-3 | from a -> slice 1..4 -> bn }",
    ),
)
def batchnorm_before_slices(graph: Graph) -> Iterator[Found]:
    """bn(x₁), …, bn(xₙ) = the slices of bn(x), its weights and statistics side by side.

    For neighbouring slices of x. In training too: statistics are of single channels.
    """
    for x, part, old in runs(graph, (BatchNorm, BatchNormTraining), _norm_key):
        weights = (joined(column, 0) for column in weights_of(old))
        wide = apply(old[0].op, cut(x, part, old[0]), *weights, like=old[0])
        for output in range(len(graph.types(wide.node))):
            narrow = [Value(graph, v.node, output) for v in old]
            _average_before_slices(Value(graph, wide.node, output), narrow)
            split(Value(graph, wide.node, output), narrow)
        yield old[0], None


def _norm_key(norm: Value) -> tuple[object, ...]:
    return norm.op, *(trained(v) for v in norm.graph.operands(norm.node)[1:])


def _average_before_slices(wide: Value, narrow: Sequence[Value]) -> None:
    """Where running averages read the statistics of slices, one reads that of the whole."""
    graph = wide.graph
    users = [graph.users(v) for v in narrow]
    if any(len(u) != 1 or not isinstance(graph.op(u[0][0]), RunningAverage) for u in users):
        return
    old = [Value(graph, u[0][0]) for u in users]
    if len({v.op for v in old}) == 1:
        running = joined([graph.operands(v.node)[0] for v in old], 0)
        split(apply(old[0].op, running, wide, like=running), old)


@sweep(
    fires_on=(
        "input 6x6x4 as a -> concat { | slice 0..1 | from a -> slice 1..4 }",
        "input 6x6x4 as a -> concat { | slice 2..3 | from a -> slice 3..4 | from a -> relu }",
    ),
    leaves_alone=(
        "input 6x6x4 as a -> concat { | slice 1..4 | from a -> slice 0..1 }",
        "input 6x6x4 as a -> concat { | slice 0..1 | from a -> slice 1..2 -> relu }",
    ),
)
def concat_of_slices(graph: Graph) -> Iterator[Found]:
    """concat(x[a..b], x[b..c]) = x[a..c], and x itself where that is all of it.

    In training too.
    """
    for node in graph.of(Concat):
        parts: list[tuple[Value, range]] = []
        operands = graph.operands(node)
        for value in operands:
            source, part = value, range(value.type.channels)
            if isinstance(value.op, Slice):
                source, part = graph.operands(value.node)[0], _range(value)
            if parts and parts[-1][0] == source and parts[-1][1].stop == part.start:
                parts[-1] = (source, range(parts[-1][1].start, part.stop))
            else:
                parts.append((source, part))
        if len(parts) == len(operands):
            continue
        old = Value(graph, node)
        values = [cut(source, part, old) for source, part in parts]
        new = values[0] if len(values) == 1 else apply(Concat(), *values, like=old)
        graph.replace(old, new)
        yield old, None


@sweep(
    fires_on=(
        "input 6x6x4 -> concat { | concat { | relu | tanh } | sigmoid }",
        "input 6x6x4 -> relu -> concat { | identity -> tanh | concat { | relu6 | sigmoid } }",
    ),
    leaves_alone=(
        "input 6x6x4 -> concat { | relu | tanh }",
        "input 6x6x4 -> concat { | relu | tanh } -> concat { | identity | sigmoid }",
    ),
)
def concat_of_concat(graph: Graph) -> Iterator[Found]:
    """concat(concat(x, y), z) = concat(x, y, z), where nothing else reads the inner one.

    In training too.
    """
    for node in graph.of(Concat):
        flat: list[Value] = []
        for value in graph.operands(node):
            if isinstance(value.op, Concat) and only_reader(value):
                flat += graph.operands(value.node)
            else:
                flat.append(value)
        if len(flat) > len(graph.operands(node)):
            old = Value(graph, node)
            graph.replace(old, apply(Concat(), *flat, like=old))
            yield old, None


@sweep(
    fires_on=(
        "input 6x6x3 -> conv 4, 1x1 as a -> concat {"
        " | slice 0..1 -> relu | from a -> slice 1..4 -> tanh }",
    ),
    leaves_alone=(
        "input 6x6x3 -> conv 4, 1x1 as a -> concat {"
        " | slice 0..2 -> relu | from a -> slice 1..4 -> tanh }",
    ),
)
def gradients_of_slices(graph: Graph) -> Iterator[Found]:
    """The gradient of a value from those of all its slices is their concat.

    Otherwise each is filled up with zeros, and all are added.
    """
    for node in graph.of(Accumulate):
        operands = graph.operands(node)
        slices = [v for v in operands if isinstance(v.op, SliceGradient)]
        slices.sort(key=lambda v: _range(v).start)
        old = Value(graph, node)
        ranges = [_range(s) for s in slices]
        follow = all(a.stop == b.start for a, b in pairwise(ranges))
        if len(slices) < 2 or not follow or sum(map(len, ranges)) < old.type.channels:
            continue
        new = apply(Concat(), *(graph.operands(s.node)[0] for s in slices), like=old)
        others = [v for v in operands if v not in slices]
        graph.replace(old, apply(Accumulate(), new, *others, like=old) if others else new)
        yield old, None
