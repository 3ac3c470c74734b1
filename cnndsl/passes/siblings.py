"""Several convolutions become one: those that read one value, its slices, or are added up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

from cnndsl.graph.graph import Graph, Node, Value, apply
from cnndsl.graph.lifetimes import Lifetimes, Wait
from cnndsl.graph.op import Op
from cnndsl.graph.rewrite import Declined, Found, only_reader, sweep
from cnndsl.ops.conv import Conv
from cnndsl.ops.merge import Add
from cnndsl.passes.join import joined, weights_of
from cnndsl.passes.slices import cut, runs, split, trained


def _windows(graph: Graph, node: Node) -> tuple[object, ...]:
    """What convolutions have in common that look at their inputs in one way, and train alike."""
    conv, (x, *weights) = graph.op(node), graph.operands(node)
    assert isinstance(conv, Conv)
    window = (conv.kernel, conv.stride, conv.pads(x.type), conv.dilation)
    return *window, conv.groups, trained(weights[0]), len(weights)


def _addends(conv: Value) -> tuple[object, ...]:
    """What convolutions of slices have in common whose sum is one convolution: not the bias."""
    assert isinstance(conv.op, Conv)
    return conv.op.filters, *_windows(conv.graph, conv.node)[:-1]


def _groups(conv: Value) -> tuple[object, ...]:
    """What convolutions of slices have in common that are one convolution in groups."""
    channels = conv.graph.operands(conv.node)[0].type.channels
    return *_addends(conv), len(conv.graph.operands(conv.node)), channels


@sweep(
    fires_on=(
        "input 24x24x3 -> maxpool 4x4, /4"
        " -> concat { | conv 4, 1x1 | conv 2, 1x1 -> relu | conv 3, 1x1 }",
        "input 6x6x3 -> add { | conv 4, 3x3, /2, bias=false | conv 4, 3x3, /2, bias=false }",
    ),
    leaves_alone=(
        "input 6x6x3 -> concat { | conv 4, 1x1 | conv 2, 3x3 }",
        "input 6x6x3 -> concat { | conv 4, 1x1 -> conv 2, 3x3 | conv 4, 1x1 }",
        "input 6x6x3 -> concat { | conv 4, 1x1 | conv 2, 1x1, bias=false }",
        "input 6x6x4 -> concat { | conv 4, 1x1, groups=2 | conv 4, 1x1, groups=2 }",
    ),
)
def merge_siblings(graph: Graph) -> Iterator[Found]:
    """conv(x, v), conv(x, w) = the slices of conv(x, v ∥ w), v beside w.

    For convolutions of one value with equal kernel, stride and padding, in training too. An
    inception module's three 1x1 convolutions become one, and x is read once. Without those whose
    results would wait for the others' readers where the most memory is needed, and on engines
    alone that read slices where they are.
    """
    for members in _siblings(graph):
        yield from _merged(graph, members)


@sweep(
    fires_on=(
        "input 6x6x3 -> add { | conv 4, 3x3, /2, bias=false | conv 4, 3x3, /2, bias=false }",
        "input 24x24x3 -> maxpool 4x4, /4"
        " -> add { | conv 4, 1x1 -> relu -> conv 4, 3x3 | conv 4, 1x1 -> relu -> conv 4, 3x3 }",
    ),
    leaves_alone=(
        "input 6x6x3 -> concat { | conv 4, 1x1 | conv 4, 1x1 -> relu }",
        "input 6x6x3 -> concat { | conv 4, 1x1 | conv 3, 1x1 | conv 4, 1x1 }",
    ),
)
def merge_paths(graph: Graph) -> Iterator[Found]:
    """conv(x, v), conv(x, w) = the slices of conv(x, v ∥ w), v beside w, where paths begin.

    For convolutions of one value that are alike in all but their weights and are read alike, such
    as those with which a ResNeXt block's paths begin: what follows merges too, and on most engines
    no slice is left. In training too.
    """
    for members in _siblings(graph):
        if len({(value.type, _readers(value)) for value in members}) == 1:
            yield from _merged(graph, members)


@sweep(
    fires_on=(
        "input 6x6x3 -> conv 4, 1x1 as a -> concat {"
        " | slice 0..2 -> conv 3, 3x3 | from a -> slice 2..4 -> conv 3, 3x3 }",
    ),
    leaves_alone=(
        "input 6x6x3 -> conv 4, 1x1 as a -> concat {"
        " | slice 0..1 -> conv 3, 3x3 | from a -> slice 1..4 -> conv 3, 3x3 }",
        "input 6x6x3 -> conv 4, 1x1 as a -> concat {"
        " | slice 0..2 -> conv 3, 3x3 | from a -> slice 2..4 -> conv 2, 3x3 }",
    ),
)
def merge_groups(graph: Graph) -> Iterator[Found]:
    """conv(x₁, w₁), …, conv(xₙ, wₙ) = the slices of one convolution of x in n groups.

    x₁, …, xₙ being equal slices of x. In training too: a ResNeXt block drawn as 32 paths becomes
    the grouped one. Source: Xie et al., Aggregated residual transformations, 2017, figure 3.
    """
    for x, part, old in runs(graph, (Conv,), _groups):
        if _sum_of(graph, old) is not None:
            yield x, Declined("the convolutions are only added up")
            continue
        conv = old[0].op
        assert isinstance(conv, Conv)
        count = len(old)
        grouped = replace(conv, filters=conv.filters * count, groups=conv.groups * count)
        weights = (joined(column, 0) for column in weights_of(old))
        split(apply(grouped, cut(x, part, old[0]), *weights, like=old[0]), old)
        yield old[0], None


@sweep(
    fires_on=(
        "input 6x6x3 -> conv 4, 1x1 as a -> add {"
        " | slice 0..1 -> conv 5, 1x1 | from a -> slice 1..4 -> conv 5, 1x1 }",
        "input 6x6x3 -> conv 4, 1x1 as a -> add {"
        " | slice 0..1 -> conv 5, 1x1 | from a -> slice 1..4 -> conv 5, 1x1, bias=false }",
        "input 6x6x4 as a -> slice 2..4 -> conv 5, 3x3, /2 as b -> from a -> slice 0..2"
        " -> conv 5, 3x3, /2 -> add { | identity | from b }",
    ),
    leaves_alone=(
        "input 6x6x3 -> conv 4, 1x1 as a -> add {"
        " | slice 0..2 -> conv 5, 1x1 | from a -> slice 1..4 -> conv 5, 1x1 }",
        "input 6x6x3 -> conv 4, 1x1 as a -> add {"
        " | slice 0..2 -> conv 5, 1x1 -> relu | from a -> slice 2..4 -> conv 5, 1x1 }",
    ),
)
def merge_sums(graph: Graph) -> Iterator[Found]:
    """conv(x₁, w₁) + … + conv(xₙ, wₙ) = conv(x, w₁ ∥ … ∥ wₙ), side by side in what they read.

    x₁, …, xₙ being the slices of x. In training too: the sum of a ResNeXt block's paths is one
    convolution.
    """
    for x, part, old in runs(graph, (Conv,), _addends):
        conv, total = old[0].op, _sum_of(graph, old)
        if total is None:
            continue
        assert isinstance(conv, Conv)
        if conv.groups > 1:
            yield x, Declined("the convolutions have groups")
            continue
        weights = joined([graph.operands(v.node)[1] for v in old], 1)
        biases = [bias for v in old for bias in graph.operands(v.node)[2:]]
        behind = [apply(Add(), *biases, like=biases[0])] if len(biases) > 1 else biases
        one = replace(conv, bias=bool(biases))
        result = apply(one, cut(x, part, old[0]), weights, *behind, like=old[0])
        others = [v for v in graph.operands(total) if v not in old]
        if others:
            result = apply(Add(), result, *others, like=Value(graph, total))
        graph.replace(Value(graph, total), result)
        yield old[0], None


def _siblings(graph: Graph) -> Iterator[list[Value]]:
    """The convolutions that look at one value in one way, where there are several."""
    siblings: dict[tuple[object, ...], list[Value]] = {}
    for node in graph.of(Conv):
        conv, x = graph.op(node), graph.operands(node)[0]
        if isinstance(conv, Conv) and conv.groups == 1:
            siblings.setdefault((x, *_windows(graph, node)), []).append(Value(graph, node))
    yield from (members for members in siblings.values() if len(members) > 1)


def _readers(value: Value) -> tuple[Op, ...]:
    return tuple(value.graph.op(node) for node, _ in value.graph.users(value))


def _merged(graph: Graph, alike: list[Value]) -> Iterator[Found]:
    """Merge those siblings that no memory forbids; say which they are and which not."""
    old = _that_need_not_wait(graph, alike)
    for value in alike:
        if value not in old:
            yield value, Declined("its result would wait where the most memory is needed")
    if not old:
        return
    conv, x = old[0].op, graph.operands(old[0].node)[0]
    assert isinstance(conv, Conv)
    weights = (joined(column, 0) for column in weights_of(old))
    wide = replace(conv, filters=sum(v.type.channels for v in old))
    split(apply(wide, x, *weights, like=old[0]), old)
    yield old[0], None


def _that_need_not_wait(graph: Graph, members: list[Value]) -> list[Value]:
    """The siblings that may be computed at once without a higher peak of memory; two or none."""
    (x, *_) = graph.operands(members[0].node)
    lifetimes = Lifetimes(graph)
    while len(members) > 1:
        waits = [lifetimes.wait(value) for value in members]
        first = min(wait.first for wait in waits)
        wide = Wait(sum(w.nbytes for w in waits), first, max(w.last for w in waits))
        rest = lifetimes.wait(x, without=members)
        change = Counter([wide, replace(rest, last=max(rest.last, first))])
        change.subtract([*waits, lifetimes.wait(x)])
        if lifetimes.peak_with(change) <= lifetimes.peak:
            return members
        latest = max(members, key=lifetimes.position)
        members = [value for value in members if value != latest]
    return []


def _sum_of(graph: Graph, values: Sequence[Value]) -> Node | None:
    """The one addition that alone reads all values."""
    readers = {node for v in values for node, _ in graph.users(v)}
    if len(readers) == 1 and all(only_reader(v) for v in values):
        (node,) = readers
        return node if isinstance(graph.op(node), Add) else None
    return None
