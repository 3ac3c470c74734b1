"""Whether two graphs are the same but for names and node numbers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import zip_longest

from cnndsl.graph.graph import Graph, Node, Value

Pair = tuple[Node, Node]


def isomorphic(a: Graph, b: Graph) -> bool:
    """Whether one graph is the other with other names and node numbers.

    Operations, their fields, the types of their results and the order of their operands agree, and
    so do inputs and outputs by name, side heads with their weights, and updates. Operands are
    ordered, so that the roots determine which node is which; among dead ends that are computed
    alike, the order in which they were added does. Takes time linear in the size of the graphs.
    """
    if len(a) != len(b) or a.inputs.keys() != b.inputs.keys():
        return False
    if a.outputs.keys() != b.outputs.keys() or len(a.updates) != len(b.updates):
        return False
    if [head.weight for head in a.heads] != [head.weight for head in b.heads]:
        return False
    matching = _Matching(a, b)
    if not all(matching.same(ours, theirs) for ours, theirs in _root_pairs(a, b)):
        return False
    ends = zip_longest(*_dead_ends(a, b, matching))
    return all(
        ours is not None and theirs is not None and matching.same_node(ours, theirs)
        for ours, theirs in ends
    )


def _root_pairs(a: Graph, b: Graph) -> Iterator[tuple[Value, Value]]:
    yield from ((value, b.outputs[name]) for name, value in a.outputs.items())
    yield from ((value, b.inputs[name]) for name, value in a.inputs.items())
    yield from zip((h.value for h in a.heads), (h.value for h in b.heads), strict=True)
    for (ours, our_value), (theirs, their_value) in zip(
        a.updates.items(), b.updates.items(), strict=True
    ):
        yield Value(a, ours), Value(b, theirs)
        yield our_value, their_value


class _Matching:
    """Which node of one graph is which of the other, grown from pairs that must agree."""

    def __init__(self, a: Graph, b: Graph) -> None:
        self.a = a
        self.b = b
        self.partner: dict[Node, Node] = {}
        self.taken: set[Node] = set()

    def same(self, ours: Value, theirs: Value) -> bool:
        """Whether two values agree, all that they depend on too, and with what came before."""
        return ours.output == theirs.output and self.same_node(ours.node, theirs.node)

    def same_node(self, ours: Node, theirs: Node) -> bool:
        waiting: list[Pair] = [(ours, theirs)]
        while waiting:
            ours, theirs = waiting.pop()
            if ours in self.partner or theirs in self.taken:
                if self.partner.get(ours) != theirs:
                    return False
                continue
            mine, other = self.a.operands(ours), self.b.operands(theirs)
            if not self._alike(ours, theirs) or len(mine) != len(other):
                return False
            if [value.output for value in mine] != [value.output for value in other]:
                return False
            self.partner[ours] = theirs
            self.taken.add(theirs)
            waiting.extend(zip((v.node for v in mine), (v.node for v in other), strict=True))
        return True

    def _alike(self, ours: Node, theirs: Node) -> bool:
        same_op = self.a.op(ours) == self.b.op(theirs)
        return same_op and self.a.types(ours) == self.b.types(theirs)


def _dead_ends(a: Graph, b: Graph, matching: _Matching) -> tuple[list[Node], list[Node]]:
    """The unmatched nodes that nobody reads, in an order that only twins' numbers influence."""
    number: dict[object, int] = {}
    first = _ends(a, matching.partner.keys(), number)
    second = _ends(b, matching.taken, number)
    return first, second


def _ends(graph: Graph, matched: Iterable[Node], number: dict[object, int]) -> list[Node]:
    known = set(matched)
    if len(known) == len(graph):
        return []
    shape: dict[Node, int] = {}
    for node in graph.nodes():
        operands = tuple((shape[value.node], value.output) for value in graph.operands(node))
        key = (graph.op(node), graph.types(node), operands)
        shape[node] = number.setdefault(key, len(number))
    ends = [node for node in graph.net if node not in known and not graph.net.out_degree(node)]
    return sorted(ends, key=lambda node: (shape[node], node))
