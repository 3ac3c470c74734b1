"""How long values wait in memory for their last reader, by the order of execution alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

from cnndsl.graph.graph import Graph, Node, Value
from cnndsl.graph.leaves import STATE


@dataclass(frozen=True, slots=True)
class Wait:
    """A value of `nbytes` an image, in memory from position `first` to `last`, both included."""

    nbytes: int
    first: int
    last: int


class Lifetimes:
    """The waits of all values of a graph, states apart, and the bytes in memory at each position.

    An operation that leaves a value's type as it is works in place where it is the last reader.
    """

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._position: dict[Node, int] = {node: i for i, node in enumerate(graph.nodes())}
        self._ends = set(graph.roots())
        self._added = [0] * (len(self._position) + 2)
        for node in self._position:
            for value in graph.results(node):
                self._count(self.wait(value))
        self.peak = max(accumulate(self._added))

    def position(self, value: Value) -> int:
        """Where a value is made."""
        return self._position[value.node]

    def wait(self, value: Value, without: Sequence[Value] = ()) -> Wait:
        """How long a value waits; where some values were not, if they are given."""
        if isinstance(value.op, STATE) or not value.type.batched:
            return Wait(0, 0, 0)
        first = last = self.position(value)
        for node, _ in self._graph.users(value):
            if all(node != other.node for other in without):
                in_place = self._graph.types(node)[0] == value.type
                last = max(last, self._position[node] - in_place)
        if value in self._ends:
            last = len(self._position)
        return Wait(value.type.nbytes, first, last)

    def peak_with(self, change: Mapping[Wait, int]) -> int:
        """The peak if some waits came as often as they are given, negative if they went."""
        added = list(self._added)
        for wait, times in change.items():
            added[wait.first] += times * wait.nbytes
            added[wait.last + 1] -= times * wait.nbytes
        return max(accumulate(added))

    def _count(self, wait: Wait) -> None:
        self._added[wait.first] += wait.nbytes
        self._added[wait.last + 1] -= wait.nbytes
