"""Recomputation: the backward pass makes cheap results again, so that they need not be kept."""

from __future__ import annotations

import networkx

from cnndsl.graph import analysis
from cnndsl.graph.graph import Graph, Node, Value
from cnndsl.graph.leaves import STATE, Input
from cnndsl.runtime.kernel import Backend
from cnndsl.runtime.lower import planned_bytes


def recompute(graph: Graph, backend: Backend, batch: int, budget: int) -> int:
    """Let a training step's arena be at most `budget` bytes, if that can be done.

    Hardly more results than needed are computed again in the backward pass from what is kept
    anyway, the largest first: results of norms, activations, poolings and joins, never those of
    convolutions and fully connected layers. The same kernels run on the same numbers, so that
    losses and gradients are the same to the bit. Returns the bytes of the arena.

    Source: Chen et al., Training deep nets with sublinear memory cost, 2016; Pleiss et al.,
    Memory-efficient implementation of DenseNets, 2017.
    """
    needed = _arena(graph, backend, batch)
    found = _candidates(graph, backend, batch)
    if needed <= budget or not found:
        return needed
    least = _arena(_again(graph.copy(), found), backend, batch)
    few, many = 0, len(found)
    while least <= budget and many - few > max(1, len(found) // 32):
        middle = (few + many) // 2
        fits = _arena(_again(graph.copy(), found[:middle]), backend, batch) <= budget
        few, many = (few, middle) if fits else (middle, many)
    _again(graph, found[:many])
    return _arena(graph, backend, batch)


#: Floating-point operations that a processor does in the time that a byte takes.
BALANCE = 10


def recompute_cheaply(graph: Graph, backend: Backend, batch: int, share: float) -> None:
    """Recompute the largest results that cost at most this share of a step's time, by estimate.

    The time of an operation is that of its bytes or of its operations, whichever is longer.
    """
    if not share:
        return
    found = _candidates(graph, backend, batch)

    def cost(node: Node) -> float:
        values = (*graph.operands(node), *graph.results(node))
        moved = sum(backend.nbytes(v.type.at(batch)) for v in values)
        operations = graph.op(node).flops(
            graph.types(node), *(v.type for v in graph.operands(node))
        )
        return max(moved, operations * batch / BALANCE)

    left = share * sum(cost(node) for node in graph.nodes() if graph.operands(node))
    chosen = []
    for node in found:
        left -= cost(node)
        if left < 0:
            break
        chosen.append(node)
    _again(graph, chosen)


def _arena(graph: Graph, backend: Backend, batch: int) -> int:
    return planned_bytes(graph, backend, batch)[0]


def _forward(graph: Graph) -> set[Node]:
    """The nodes that the outputs, the loss among them, depend on."""
    outputs = {value.node for value in graph.outputs.values()}
    return outputs.union(*(networkx.ancestors(graph.net, node) for node in outputs))


def _candidates(graph: Graph, backend: Backend, batch: int) -> list[Node]:
    """The nodes that can be recomputed from what is kept anyway, largest results first.

    Kept are leaves, what the backward pass reads and no candidate makes, and parts of joins that
    are made by copying.
    """
    forward = _forward(graph)

    def read_backward(value: Value) -> bool:
        return any(user not in forward for user, _ in graph.users(value))

    def joined(value: Value) -> bool:
        """Whether a value is kept as a part of another."""
        users = [user for user, _ in graph.users(value) if user in forward]
        return backend.strides and any(
            graph.op(u).places(*(v.type for v in graph.operands(u))) for u in users
        )

    chosen: set[Node] = set()
    saved: dict[Node, int] = {}
    for node in graph.nodes():
        op, operands = graph.op(node), graph.operands(node)
        types = [v.type for v in operands]
        joins = bool(op.places(*types))
        moves = backend.strides and (joins or (operands and op.view(types[0]) is not None))
        if node not in forward or isinstance(op, (Input, *STATE)) or moves or not operands:
            continue
        results = [v for v in graph.results(node) if v.type.batched and read_backward(v)]
        y = Value(graph, node)
        kept = joins or all(
            v.node in chosen or read_backward(v) or isinstance(v.op, (Input, *STATE))
            for v in operands
        )
        if y in results and kept and not joined(y) and not analysis.multiply_adds(graph, node):
            chosen.add(node)
            saved[node] = sum(backend.nbytes(v.type.at(batch)) for v in results)
    return sorted(chosen, key=lambda node: (-saved[node], node))


def _again(graph: Graph, nodes: list[Node]) -> Graph:
    """Let the backward pass read a second result of each node, made just before it is read.

    What one of them reads of another is its second result too; but a join reads the parts of joins.
    """
    forward = _forward(graph)
    twins: dict[Node, Node] = {}

    def source(value: Value) -> list[Value]:
        parts = graph.operands(value.node)
        if graph.op(value.node).places(*(v.type for v in parts)):
            return [part for operand in parts for part in source(operand)]
        return [Value(graph, twins.get(value.node, value.node), value.output)]

    chosen = set(nodes)
    for node in [each for each in graph.nodes() if each in chosen]:
        results, operands = graph.results(node), graph.operands(node)
        op, wanted = graph.op(node).again(operands, results)
        if op.places(*(v.type for v in operands)):
            wanted = [part for value in operands for part in source(value)]
        wanted = [
            Value(graph, twins.get(v.node, v.node), v.output) if v in operands else v
            for v in wanted
        ]
        twin = graph.apply(op, *wanted, like=results[0])
        again = len(graph.types(twin.node))
        graph.attributes(twin.node)["types"] = graph.types(node)[:again]
        for value in results[:again]:
            if not value.type.batched:
                continue
            for user, slot in graph.users(value):
                if user not in forward and user != twin.node and user not in twins.values():
                    graph.rewire(user, slot, Value(graph, twin.node, value.output))
        twins[node] = twin.node
    return graph
