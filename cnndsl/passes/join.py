"""Weights side by side; parameters among them become one, with one gradient and one update."""

from __future__ import annotations

from collections.abc import Sequence

from cnndsl.graph.graph import Graph, Node, Value, apply
from cnndsl.graph.leaves import Buffer, Parameter, Parts
from cnndsl.graph.op import Initial
from cnndsl.graph.rewrite import only_reader
from cnndsl.ops.parts import Join


def joined(values: Sequence[Value], axis: int) -> Value:
    """Weights side by side along an axis."""
    parts: list[Value] = []
    for value in values:
        inner = value.op == Join(axis) and only_reader(value)
        parts += value.graph.operands(value.node) if inner else [value]
    return apply(Join(axis), *parts, like=values[0])


def weights_of(values: Sequence[Value]) -> list[tuple[Value, ...]]:
    """What several layers read behind their first operand: their weights, their biases, …"""
    operands = (value.graph.operands(value.node)[1:] for value in values)
    return list(zip(*operands, strict=True))


def join_states(graph: Graph) -> None:
    """Replace every `join` of states that nothing else reads by one state with parts.

    The parts keep names, initial values and entries in checkpoints, and one array is laid out so
    that they stand side by side. Parameters are joined that are trained and decay alike; buffers
    whose updates are the slices of one value.
    """
    for node in graph.of(Join):
        operands = graph.operands(node)
        state = _joined(graph, node) if len(set(operands)) == len(operands) else None
        if state is None:
            continue
        new = _whole_update(graph, node)
        name = f"{operands[0].name} and {len(operands) - 1} more"
        joined = graph.add(state, name=name, span=graph.span(node))[0]
        if new is not None:
            graph.updates[joined.node] = new
        for value in operands:
            graph.updates.pop(value.node, None)
        graph.replace(Value(graph, node), joined)
    graph.prune()


def _joined(graph: Graph, join: Node) -> Parameter | Buffer | None:
    """The state that operands of a join become, if they are states that it alone reads."""
    operands = graph.operands(join)
    readers = {user for value in operands for user, _ in graph.users(value)}
    kinds = {(type(v.op), getattr(v.op, "parts", None)) for v in operands}
    if readers != {join} or len(kinds) > 1:
        return None
    op, (whole,) = graph.op(join), graph.types(join)
    assert isinstance(op, Join)
    parts = Parts(op.axis, tuple(v.name for v in operands), tuple(v.type for v in operands))
    if kinds == {(Parameter, None)}:
        alike = {(v.op.decays, v.op.trainable) for v in operands}  # type: ignore[attr-defined]
        return Parameter(whole, Initial(), *alike.pop(), parts) if len(alike) == 1 else None
    if kinds == {(Buffer, None)} and _whole_update(graph, join) is not None:
        return Buffer(whole, parts=parts)
    return None


def _whole_update(graph: Graph, join: Node) -> Value | None:
    """What all updates of the joined buffers are the parts of, in their order."""
    operands = graph.operands(join)
    places = graph.op(join).places(*(v.type for v in operands))
    wholes = set()
    for value, place in zip(operands, places, strict=True):
        update = graph.updates.get(value.node)
        if update is None or not graph.operands(update.node):
            return None
        whole = graph.operands(update.node)[0]
        if update.op.view(whole.type) != place:
            return None
        wholes.add(whole)
    return wholes.pop() if len(wholes) == 1 else None
