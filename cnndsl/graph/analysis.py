"""What a typed graph costs and sees: parameters, multiply-adds, receptive fields, depth."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from cnndsl.graph.graph import Graph, Node
from cnndsl.graph.leaves import Buffer, Input, Parameter
from cnndsl.graph.op import Op
from cnndsl.graph.types import Size, Type


@dataclass(frozen=True, slots=True)
class _Axis:
    """What the first and the last output along an axis see, and the distance between neighbours.

    The input interval of output i is `[low + i·jump, high + i·jump]`.
    """

    jump: Fraction
    low: Fraction
    high: Fraction


@dataclass(frozen=True, slots=True)
class Row:
    """A layer of a summary; `bytes` are of its result, an image."""

    node: Node
    name: str
    output: Type
    parameters: int
    multiply_adds: int
    bytes: int
    receptive_field: Size


def layers(graph: Graph) -> list[Node]:
    """The nodes that are layers: those that depend on data, and data itself."""
    found: dict[Node, None] = {}
    for node in graph.nodes():
        sources = graph.net.predecessors(node)
        if isinstance(graph.op(node), Input) or any(source in found for source in sources):
            found[node] = None
    return list(found)


def parameters(graph: Graph) -> int:
    """Trainable parameters."""
    return sum(graph.types(n)[0].elements for n in graph.of(Parameter))


def buffers(graph: Graph) -> int:
    """Elements of state that no gradient changes: batch-norm statistics."""
    return sum(graph.types(n)[0].elements for n in graph.of(Buffer))


def multiply_adds(graph: Graph, node: Node) -> int:
    """Multiply-adds an image of one node: convolutions and fully connected layers alone."""
    op = graph.op(node)
    if type(op).multiply_adds is Op.multiply_adds:
        return 0
    inputs = [v.type for v in graph.operands(node)]
    return op.multiply_adds(graph.types(node), *inputs)


def flops(graph: Graph, node: Node) -> int:
    """Floating-point operations an image of one node."""
    inputs = [v.type for v in graph.operands(node)]
    return graph.op(node).flops(graph.types(node), *inputs)


def main_path(graph: Graph) -> set[Node]:
    """The nodes that the logits depend on: everything but side heads."""
    waiting = [value.node for value in graph.outputs.values()]
    found: set[Node] = set()
    while waiting:
        node = waiting.pop()
        if node not in found:
            found.add(node)
            waiting.extend(graph.net.predecessors(node))
    return found


def depth(graph: Graph) -> dict[Node, int]:
    """For each layer the most layers with weights (convolutions, fc) on a path from the input."""
    result: dict[Node, int] = {}
    for node in graph.nodes():
        before = [result[p] for p in graph.net.predecessors(node)]
        result[node] = max(before, default=0) + (1 if multiply_adds(graph, node) else 0)
    return result


def centres_disagree(graph: Graph) -> list[Node]:
    """The joins whose branches look at different places of the input."""
    axes = _axes(graph)
    found = []
    everywhere: set[Node] = set()
    for node in layers(graph):
        sources = [v for v in graph.operands(node) if v.node in axes and v.type.is_map]
        # What a global pool has seen looks at the whole map, and so at no place of its own.
        sees_all = bool(sources) and graph.op(node).window(sources[0].type).kernel is None
        if sees_all or any(v.node in everywhere for v in sources):
            everywhere.add(node)
            continue
        if len({v.type.extent for v in sources}) > 1:
            continue
        centres = {
            tuple((axis.low + axis.high, axis.jump) for axis in axes[v.node]) for v in sources
        }
        if len(centres) > 1:
            found.append(node)
    return found


def receptive_fields(graph: Graph) -> dict[Node, Size]:
    """For each layer the extent of the input that one of its outputs depends on, padding included.

    On a branching graph it is the hull of what the branches see.

    Source: Araujo, Norris & Sim, Computing receptive fields of convolutional neural networks, 2019.
    """
    result = {}
    for node, axes in _axes(graph).items():
        result[node] = Size(*(math.ceil(axis.high - axis.low) + 1 for axis in axes))
    return result


def _axes(graph: Graph) -> dict[Node, tuple[_Axis, _Axis]]:
    found: dict[Node, tuple[_Axis, _Axis]] = {}
    start = _Axis(Fraction(1), Fraction(0), Fraction(0))
    for node in graph.nodes():
        op = graph.op(node)
        if isinstance(op, Input):
            found[node] = (start, start)
            continue
        sources = [v for v in graph.operands(node) if v.node in found]
        if not sources:
            continue
        window = op.window(sources[0].type)
        if window.kernel is None:
            # A vector sees all that its map sees, which may be more than the input by padding.
            found[node] = (
                _union([_last(found[v.node][0], v.type.extent[0]) for v in sources]),
                _union([_last(found[v.node][1], v.type.extent[1]) for v in sources]),
            )
            continue
        joined = [_union([found[v.node][axis] for v in sources]) for axis in (0, 1)]
        found[node] = tuple(  # type: ignore[assignment]
            _through(
                joined[axis],
                window.kernel[axis],
                window.stride[axis],
                window.before[axis],
                window.upsampling,
            )
            for axis in (0, 1)
        )
    return found


def _union(parts: Sequence[_Axis]) -> _Axis:
    return _Axis(max(p.jump for p in parts), min(p.low for p in parts), max(p.high for p in parts))


def _last(axis: _Axis, extent: int) -> _Axis:
    """Everything that any output along an axis sees."""
    return _Axis(Fraction(0), axis.low, axis.high + axis.jump * (extent - 1))


def _through(axis: _Axis, kernel: int, stride: int, before: int, upsampling: int) -> _Axis:
    low = axis.low - before * axis.jump
    high = axis.high + (kernel - 1 - before) * axis.jump
    return _Axis(axis.jump * stride / upsampling, low, high)


def summarise(graph: Graph) -> list[Row]:
    """A row a layer, in the order of execution; shared parameters count where first read."""
    fields = receptive_fields(graph)
    rows = []
    counted: set[Node] = set()
    for node in layers(graph):
        own = 0
        for value in graph.operands(node):
            if isinstance(value.op, Parameter) and value.node not in counted:
                counted.add(value.node)
                own += value.type.elements
        output = graph.types(node)[0]
        rows.append(
            Row(
                node,
                graph.name(node),
                output,
                own,
                multiply_adds(graph, node),
                output.nbytes,
                fields.get(node, Size(1, 1)),
            )
        )
    return rows
