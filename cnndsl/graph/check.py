"""What a graph must satisfy after each stage of compilation."""

from __future__ import annotations

import networkx

from cnndsl.graph.graph import Graph, Value
from cnndsl.graph.leaves import STATE, Input
from cnndsl.graph.types import Type


class Broken(AssertionError):
    """A stage of the compiler left a graph that breaks its promise: a mistake in cnndsl itself."""


def verify(graph: Graph, stage: str) -> None:
    """Check the promises that every stage keeps; `stage` names the one that just ran.

    The graph has no cycle; slots are filled without gaps by results that exist; types are those
    that the operations infer; names of states are unique; roots exist; an update has its state's
    type.

    Raises:
        Broken: one is not kept.
    """

    def promise(kept: bool, what: str) -> None:
        if not kept:
            raise Broken(f"after {stage}: {what}")

    promise(networkx.is_directed_acyclic_graph(graph.net), "the graph has a cycle")
    names: set[str] = set()
    for node in graph.net:
        op, types = graph.op(node), graph.types(node)
        where = f"node {node} ({op.name} {graph.name(node)!r})"
        slots = sorted(slot for _, _, slot in graph.net.in_edges(node, keys=True))
        promise(slots == list(range(len(slots))), f"{where} has slots {slots}")
        operands = graph.operands(node)
        for value in operands:
            promise(value.output < len(graph.types(value.node)), f"{where} reads a missing result")
        inferred = op.infer(*(value.type for value in operands))
        inferred = (inferred,) if isinstance(inferred, Type) else tuple(inferred)
        promise(inferred == types, f"{where} has types {types}, its operation infers {inferred}")
        if isinstance(op, STATE):
            promise(graph.name(node) not in names, f"{where} has the name of another state")
            names.add(graph.name(node))
    for value in (*graph.roots(), *graph.inputs.values()):
        promise(value.node in graph.net, f"a root is not there: node {value.node}")
    for name, value in graph.inputs.items():
        promise(isinstance(value.op, Input), f"the input {name!r} is {value.op.name}")
    for state, value in graph.updates.items():
        promise(isinstance(graph.op(state), STATE), f"node {state} is updated and no state")
        promise(
            Value(graph, state).type == value.type,
            f"the update of {graph.name(state)!r} has another type",
        )
