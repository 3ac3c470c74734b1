"""Layouts: each value gets one as its engine wants it, and reorders stand where they differ."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import replace

from cnndsl.graph.graph import Graph, Node, Value
from cnndsl.graph.leaves import STATE, Input, Reorder
from cnndsl.runtime.kernel import Backend


def assign_layouts(
    graph: Graph, backend: Backend, batch: int, states: Mapping[str, Hashable | None] | None = None
) -> None:
    """Give every type its layout, and add a `reorder` before whoever wants another.

    A value is reordered once for all who want it alike. A state is laid out as its first reader
    wants it that wants what may be kept, unless its layout is given by name, or it has parts; what
    updates it keeps to that.
    Data enters and leaves in the canonical layout.
    """
    states = states or {}
    manner = backend.manner(graph)
    free: set[Node] = set()
    for node in graph.of(*STATE):
        name, op = graph.name(node), graph.op(node)
        if name in states:
            _lay_out(graph, node, (states[name],))
        elif getattr(op, "parts", None) is None:
            free.add(node)
    ordered: dict[tuple[Value, Hashable | None], Value] = {}

    def as_wanted(value: Value, layout: Hashable | None) -> Value:
        if value.node in free and backend.keeps(layout):
            free.discard(value.node)
            _lay_out(graph, value.node, (layout,))
        if value.type.layout == layout:
            return value
        if isinstance(value.op, Reorder):
            return as_wanted(graph.operands(value.node)[0], layout)
        if (value, layout) not in ordered:
            ordered[value, layout] = graph.apply(Reorder(layout), value, like=value)
        return ordered[value, layout]

    for node in list(graph.nodes()):
        op = graph.op(node)
        if isinstance(op, (Input, *STATE)):
            continue
        operands = graph.operands(node)
        types = tuple(v.type.at(batch) for v in operands)
        results = tuple(t.at(batch) for t in graph.types(node))
        wanted, given = backend.layouts(op, types, results, manner)
        for slot, (value, layout) in enumerate(zip(operands, wanted, strict=True)):
            graph.rewire(node, slot, as_wanted(value, layout))
        _lay_out(graph, node, given)
    for name, value in graph.outputs.items():
        graph.outputs[name] = as_wanted(value, None)


def _lay_out(graph: Graph, node: Node, layouts: tuple[Hashable | None, ...]) -> None:
    types = graph.types(node)
    graph.attributes(node)["types"] = tuple(
        replace(type, layout=layout) for type, layout in zip(types, layouts, strict=True)
    )
