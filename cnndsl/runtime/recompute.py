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
    needed = planned_bytes(graph, backend, batch)
    found = _candidates(graph, batch)
    if needed <= budget or not found:
        return needed
    least = planned_bytes(_again(graph.copy(), found), backend, batch)
    few, many = 0, len(found)
    while least <= budget and many - few > max(1, len(found) // 32):
        middle = (few + many) // 2
        fits = planned_bytes(_again(graph.copy(), found[:middle]), backend, batch) <= budget
        few, many = (few, middle) if fits else (middle, many)
    _again(graph, found[:many])
    return planned_bytes(graph, backend, batch)


def _forward(graph: Graph) -> set[Node]:
    """The nodes that the outputs, the loss among them, depend on."""
    outputs = {value.node for value in graph.outputs.values()}
    return outputs.union(*(networkx.ancestors(graph.net, node) for node in outputs))


def _candidates(graph: Graph, batch: int) -> list[Node]:
    """The nodes that can be recomputed from what is kept anyway, largest results first.

    Kept are leaves, and what the backward pass reads and no candidate makes.
    """
    forward = _forward(graph)

    def read_backward(value: Value) -> bool:
        return any(user not in forward for user, _ in graph.users(value))

    def joined(value: Value) -> bool:
        """Whether a value is kept as a part of another."""
        users = [user for user, _ in graph.users(value) if user in forward]
        return any(graph.op(u).places(*(v.type for v in graph.operands(u))) for u in users)

    chosen: set[Node] = set()
    saved: dict[Node, int] = {}
    for node in graph.nodes():
        op, operands = graph.op(node), graph.operands(node)
        types = [v.type for v in operands]
        moves = bool(op.places(*types)) or (operands and op.view(types[0]) is not None)
        if node not in forward or isinstance(op, (Input, *STATE)) or moves or not operands:
            continue
        results = [v for v in graph.results(node) if v.type.batched and read_backward(v)]
        y = Value(graph, node)
        kept = all(
            v.node not in chosen and (read_backward(v) or isinstance(v.op, (Input, *STATE)))
            for v in operands
        )
        if y in results and kept and not joined(y) and not analysis.multiply_adds(graph, node):
            chosen.add(node)
            saved[node] = sum(v.type.at(batch).total_bytes for v in results)
    return sorted(chosen, key=lambda node: (-saved[node], node))


def _again(graph: Graph, nodes: list[Node]) -> Graph:
    """Let the backward pass read a second result of each node, made just before it is read."""
    forward = _forward(graph)
    for node in nodes:
        results = graph.results(node)
        op, operands = graph.op(node).again(graph.operands(node), results)
        twin = graph.apply(op, *operands, like=results[0])
        again = len(graph.types(twin.node))
        graph.attributes(twin.node)["types"] = graph.types(node)[:again]
        for value in results[:again]:
            if not value.type.batched:
                continue
            for user, slot in graph.users(value):
                if user not in forward and user != twin.node:
                    graph.net.remove_edge(node, user, key=slot)
                    graph.net.add_edge(twin.node, user, key=slot, output=value.output)
    return graph
