"""The order of execution, and what is computed once for all before it."""

from __future__ import annotations

from cnndsl.graph.graph import Graph, Node
from cnndsl.graph.leaves import STATE, Input


def constant_nodes(graph: Graph) -> set[Node]:
    """The nodes that depend on nothing but states that no step changes: derived weights."""
    constant: set[Node] = set()
    for node in graph.nodes():
        if isinstance(graph.op(node), Input):
            continue
        sources = list(graph.net.predecessors(node))
        if isinstance(graph.op(node), STATE):
            if node not in graph.updates:
                constant.add(node)
        elif all(source in constant for source in sources) and not graph.updates:
            constant.add(node)
    return {node for node in constant if not isinstance(graph.op(node), STATE)}


def schedule(graph: Graph) -> list[Node]:
    """The nodes in the order of execution, without leaves.

    Topological, and otherwise as they were added; but a node that writes a state comes as early as
    it can after every reader of that state, other writers among them, and after every output (the
    loss among them): a step that fails leaves all state as it was.
    """
    writers = {value.node for value in graph.updates.values()}
    leaves = (Input, *STATE)
    order = [n for n in graph.nodes() if not isinstance(graph.op(n), leaves)]
    plain = [n for n in order if n not in writers]
    position = {node: i for i, node in enumerate(plain)}
    outputs = [position[v.node] for v in graph.outputs.values() if v.node in position]
    earliest = max(outputs, default=-1)
    waits = {node: set(graph.net.predecessors(node)) for node in order if node in writers}
    for state, value in graph.updates.items():
        waits[value.node] |= set(graph.net.successors(state)) - {value.node}
    after: dict[int, list[Node]] = {}
    while ready := [node for node, others in waits.items() if not others & waits.keys()]:
        for node in ready:
            place = max((position[w] for w in waits.pop(node) if w in position), default=-1)
            position[node] = max(place, earliest)
            after.setdefault(position[node], []).append(node)
    if waits:
        node = next(iter(waits))
        raise ValueError(f"{graph.name(node)}: updates wait for each other")
    result = list(after.get(-1, ()))
    for i, node in enumerate(plain):
        result.append(node)
        result.extend(after.get(i, ()))
    return result


def derived_first(graph: Graph, order: list[Node], fixed: set[Node]) -> list[Node]:
    """What is derived from states once for all, before all else and each just before its reader.

    So what only another derivation reads lives short.
    """
    steps = [node for node in order if node not in fixed]
    wanted = [source for node in steps for source in sorted(graph.net.predecessors(node))]
    wanted += [value.node for value in graph.outputs.values()]
    derived: dict[Node, None] = {}

    def derive(node: Node) -> None:
        if node in fixed and node not in derived:
            for source in sorted(graph.net.predecessors(node)):
                derive(source)
            derived[node] = None

    for node in wanted:
        derive(node)
    return [*derived, *steps]
