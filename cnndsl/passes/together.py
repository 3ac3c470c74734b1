"""What a step does to many small tensors is one operation: for engines that launch kernels."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import replace

from cnndsl.graph.graph import Graph, Node, Value
from cnndsl.graph.leaves import STATE
from cnndsl.graph.rewrite import Found, Rewrite, sweep
from cnndsl.ops.cast import Cast
from cnndsl.ops.conv import ConvWeightGradient
from cnndsl.ops.dense import FullyConnectedWeightGradient
from cnndsl.ops.norm import RunningAverage
from cnndsl.ops.optimizer import Optimizer
from cnndsl.ops.scaling import AllFinite, Clipping, Guarded
from cnndsl.ops.together import Together


@sweep(
    fires_on=("input 6x6x3 -> conv 4, 3x3 -> relu -> fc 3", "input 4x4x2 -> fc 3, bias=false"),
    leaves_alone=("input 6x6x3 -> bn -> avgpool global",),
)
def narrow_gradients(graph: Graph) -> Iterator[Found]:
    """A weight's gradient stays in the element type that it is computed from, if that is short.

    Where none reads it but an optimizer, which computes in float32, and what asks whether all
    gradients are finite, or how large. What is a part of a weight's gradient, or one of several
    that are added up, is widened.
    """
    for node in graph.of(ConvWeightGradient, FullyConnectedWeightGradient):
        op, gradient = graph.op(node), Value(graph, node)
        assert isinstance(op, ConvWeightGradient | FullyConnectedWeightGradient)
        dtype = graph.operands(node)[0].type.dtype
        if dtype == op.weight.dtype or not _is_for_optimizers(gradient):
            continue
        short = replace(op, weight=replace(op.weight, dtype=dtype))
        made = graph.apply(short, *graph.operands(node), like=gradient)
        for old in graph.results(node):
            graph.replace(old, Value(graph, made.node, old.output))
        yield made, None


def _is_for_optimizers(gradient: Value) -> bool:
    """Whether all that reads a gradient takes one of any element type."""
    graph = gradient.graph
    readers = [graph.op(user) for user, _ in graph.users(gradient)]
    kinds = (op.update if isinstance(op, Guarded) else op for op in readers)
    is_root = gradient in set(graph.roots())
    return not is_root and all(isinstance(op, (Optimizer, AllFinite, Clipping)) for op in kinds)


@sweep(
    fires_on=("input 6x6x3 -> conv 4, 3x3 -> fc 3", "input 6x6x3 -> bn -> relu -> bn -> fc 3"),
    leaves_alone=("input 4x4x2 -> fc 3, bias=false",),
)
def one_for_many(graph: Graph) -> Iterator[Found]:
    """f(x), f(y), … = f together: updates of states by equal operations, and casts of states.

    Where a step writes states; what is computed once for all stays apart.
    """
    alike: dict[Hashable, list[Node]] = {}
    for node in graph.of(Optimizer, RunningAverage, Guarded, Cast) if graph.updates else ():
        if _waits_for_nothing(graph, node):
            alike.setdefault(_kind(graph, node), []).append(node)
    for first, *others in alike.values():
        if not others:
            continue
        nodes = (first, *others)
        operands = [value for node in nodes for value in graph.operands(node)]
        name = f"{graph.name(first)} and {len(others)} more"
        op = Together(graph.op(first), len(nodes))
        made = graph.add(op, *operands, name=name, span=graph.span(first))
        results = [value for node in nodes for value in graph.results(node)]
        for old, new in zip(results, made, strict=True):
            graph.replace(old, new)
        yield made[0], None


def _waits_for_nothing(graph: Graph, node: Node) -> bool:
    """Whether a node reads states alone, or only updates them: so it may be done with others."""
    if isinstance(graph.op(node), Cast):
        return all(isinstance(value.op, STATE) for value in graph.operands(node))
    updating = set(graph.updates.values())
    results = graph.results(node)
    return updating.issuperset(results) and not any(map(graph.users, results))


def _kind(graph: Graph, node: Node) -> Hashable:
    """What is equal where one kernel does: the operation, scalar operands, types of elements."""
    operands = (value.type.dtype if value.type.shape else value for value in graph.operands(node))
    return graph.op(node), tuple(operands)


#: In this order: optimizers are found by themselves.
TOGETHER: tuple[Rewrite, ...] = (narrow_gradients, one_for_many)
