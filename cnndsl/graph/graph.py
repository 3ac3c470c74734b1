"""The graph: operations applied to values, over a networkx MultiDiGraph."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING, Any

import networkx

from cnndsl.diagnostics import Span
from cnndsl.graph.op import Op
from cnndsl.graph.types import Type

if TYPE_CHECKING:

    class Multigraph(networkx.MultiDiGraph[int]):
        """Its dictionaries themselves: networkx's views of them cost four times as much."""

        _node: dict[int, dict[str, Any]]
        _pred: dict[int, dict[int, dict[int, dict[str, Any]]]]
        _succ: dict[int, dict[int, dict[int, dict[str, Any]]]]

else:
    Multigraph = networkx.MultiDiGraph

Node = int


@dataclass(frozen=True, slots=True)
class Frame:
    """A block call that led to a node: the call as written, where, and the loop around it."""

    text: str
    span: Span
    where: str = ""

    def __str__(self) -> str:
        return f"called from {self.span}, in `{self.text}`" + (
            f", {self.where}" if self.where else ""
        )


@dataclass(frozen=True, slots=True)
class Value:
    """A result of a node: the handle that other code sees."""

    graph: Graph = field(repr=False, compare=False)
    node: Node
    output: int = 0

    @property
    def op(self) -> Op:
        return self.graph.op(self.node)

    @property
    def type(self) -> Type:
        return self.graph.types(self.node)[self.output]

    @property
    def name(self) -> str:
        return self.graph.name(self.node)


@dataclass(frozen=True, slots=True)
class Head:
    """A side head: its logits, and the weight of its loss."""

    weight: float
    value: Value
    name: str


class Graph:
    """A directed acyclic graph of operations.

    A node holds `op`, `types` (of its results), `name` (a stable path), `span`, `calls` and its
    place in the `order` of execution, as far as what it reads allows. An edge's key is the input
    slot; its attribute `output` says which result it carries. Arrays live outside.

    Attributes:
        inputs: the data that enters, by name.
        outputs: what the graph is for, by name; "logits" is the network's own.
        heads: side heads, in the order of the source.
        updates: what each state (a parameter or a buffer) becomes after a step.
    """

    def __init__(self, name: str = "") -> None:
        self.name_of_model = name
        self.net = Multigraph()
        self.inputs: dict[str, Value] = {}
        self.outputs: dict[str, Value] = {}
        self.heads: list[Head] = []
        self.updates: dict[Node, Value] = {}
        self._next = 0
        #: The nodes in order, until something changes it.
        self._sorted: list[Node] | None = None

    # Building ------------------------------------------------------------------------------------

    def add(
        self,
        op: Op,
        *inputs: Value,
        name: str = "",
        span: Span | None = None,
        calls: tuple[Frame, ...] = (),
        types: tuple[Type, ...] | None = None,
    ) -> tuple[Value, ...]:
        """Apply an operation; its types are inferred unless they are given.

        Raises:
            Mismatch: the operation cannot take these inputs.
        """
        if types is None:
            inferred = op.infer(*(v.type for v in inputs))
            types = (inferred,) if isinstance(inferred, Type) else tuple(inferred)
        node = self._next
        self._next += 1
        self.net.add_node(node, op=op, types=types, name=name, span=span, calls=calls, order=node)
        for slot, value in enumerate(inputs):
            self.net.add_edge(value.node, node, key=slot, output=value.output)
        if self._sorted is not None:
            self._sorted.append(node)
        return tuple(Value(self, node, i) for i in range(len(types)))

    def apply(self, op: Op, *inputs: Value, like: Value | None = None) -> Value:
        """Apply an operation and return its first result, named and placed as `like` is."""
        source = self.net.nodes[like.node] if like is not None else None
        return self.add(
            op,
            *inputs,
            name=source["name"] if source else "",
            span=source["span"] if source else None,
            calls=source["calls"] if source else (),
        )[0]

    # Reading -------------------------------------------------------------------------------------

    def attributes(self, node: Node) -> dict[str, Any]:
        attributes: dict[str, Any] = self.net._node[node]
        return attributes

    def op(self, node: Node) -> Op:
        result: Op = self.net._node[node]["op"]
        return result

    def types(self, node: Node) -> tuple[Type, ...]:
        result: tuple[Type, ...] = self.net._node[node]["types"]
        return result

    def name(self, node: Node) -> str:
        result: str = self.net._node[node]["name"]
        return result

    def span(self, node: Node) -> Span | None:
        result: Span | None = self.net._node[node]["span"]
        return result

    def operands(self, node: Node) -> tuple[Value, ...]:
        """The values that a node takes, in the order of its slots."""
        edges = [
            (slot, source, data["output"])
            for source, keyed in self.net._pred[node].items()
            for slot, data in keyed.items()
        ]
        edges.sort()
        return tuple(Value(self, source, output) for _, source, output in edges)

    def results(self, node: Node) -> tuple[Value, ...]:
        return tuple(Value(self, node, i) for i in range(len(self.types(node))))

    def users(self, value: Value) -> list[tuple[Node, int]]:
        """The nodes that read a value, each with the slot."""
        return sorted(
            (node, slot)
            for node, keyed in self.net._succ[value.node].items()
            for slot, data in keyed.items()
            if data["output"] == value.output
        )

    def nodes(self) -> list[Node]:
        """Every node, each after those it reads, otherwise in the order of their making.

        What stands for another node by `replace` takes its place in that order, and what is made
        for a node alone comes just before it.
        """
        if self._sorted is None:
            self._sorted = self._in_order()
        return list(self._sorted)

    def _in_order(self) -> list[Node]:
        before: dict[Node, dict[Node, Any]] = self.net._pred
        after: dict[Node, dict[Node, Any]] = self.net._succ
        order = {node: (data["order"], node) for node, data in self.net.nodes.items()}
        if all(order[source] < order[node] for node in before for source in before[node]):
            return sorted(before, key=order.__getitem__)
        for node in reversed(list(_kahn(before, after, order))):
            order[node] = min((order[node], *(order[reader] for reader in after[node])))
        return list(_kahn(before, after, order))

    def of(self, *kinds: type[Op]) -> list[Node]:
        """The nodes whose operation is one of the kinds, in topological order."""
        held = self.net._node
        return [node for node in self.nodes() if isinstance(held[node]["op"], kinds)]

    def __len__(self) -> int:
        return len(self.net)

    # Rewriting -----------------------------------------------------------------------------------

    def replace(self, old: Value, new: Value) -> None:
        """Let every reader of `old` read `new`, outputs, heads and updates included."""
        there, here = self.net.nodes[old.node], self.net.nodes[new.node]
        here["order"] = min(here["order"], there["order"])
        self._sorted = None
        for node, slot in self.users(old):
            if node == new.node:
                continue
            self.net.remove_edge(old.node, node, key=slot)
            self.net.add_edge(new.node, node, key=slot, output=new.output)
        for name, value in self.outputs.items():
            if value == old:
                self.outputs[name] = new
        self.heads = [Head(h.weight, new, h.name) if h.value == old else h for h in self.heads]
        for state, value in self.updates.items():
            if value.node == old.node and value.output == old.output:
                self.updates[state] = new

    def rewire(self, node: Node, slot: int, value: Value) -> None:
        """Let one node read `value` at a slot instead of what it reads."""
        old = self.operands(node)[slot]
        if old != value:
            self._sorted = None
            self.net.remove_edge(old.node, node, key=slot)
            self.net.add_edge(value.node, node, key=slot, output=value.output)

    def prune(self) -> None:
        """Remove every node that no output, head or update depends on; named inputs stay."""
        waiting = [v.node for v in (*self.roots(), *self.inputs.values())] + list(self.updates)
        before, live = self.net._pred, set()
        while waiting:
            node = waiting.pop()
            if node not in live:
                live.add(node)
                waiting.extend(before[node])
        self.remove([node for node in self.net if node not in live])

    def remove(self, nodes: Iterable[Node]) -> None:
        """Remove nodes that nothing reads."""
        gone = list(nodes)
        if gone:
            self._sorted = None
            self.net.remove_nodes_from(gone)

    def discard(self, node: Node) -> None:
        """Remove a node if nothing depends on it, and then what nothing else depends on."""
        kept = {v.node for v in (*self.roots(), *self.inputs.values())} | set(self.updates)
        waiting = [node]
        while waiting:
            node = waiting.pop()
            if node in self.net and node not in kept and not self.net._succ[node]:
                waiting += set(self.net.predecessors(node))
                self.remove([node])

    def roots(self) -> Iterable[Value]:
        """The values that the graph is for."""
        return [*self.outputs.values(), *(h.value for h in self.heads), *self.updates.values()]

    def copy(self) -> Graph:
        """An independent graph with the same node numbers."""
        twin = Graph(self.name_of_model)
        twin.net = self.net.copy()
        twin._next = self._next
        twin.inputs = {k: Value(twin, v.node, v.output) for k, v in self.inputs.items()}
        twin.outputs = {k: Value(twin, v.node, v.output) for k, v in self.outputs.items()}
        twin.heads = [
            Head(h.weight, Value(twin, h.value.node, h.value.output), h.name) for h in self.heads
        ]
        twin.updates = {k: Value(twin, v.node, v.output) for k, v in self.updates.items()}
        return twin


def apply(op: Op, *inputs: Value, like: Value) -> Value:
    """Apply an operation in the graph of `like`, with its name and place; the first result."""
    return like.graph.apply(op, *inputs, like=like)


def _kahn(
    before: dict[Node, dict[Node, Any]],
    after: dict[Node, dict[Node, Any]],
    order: dict[Node, tuple[int, int]],
) -> Iterator[Node]:
    """The nodes in a topological order, the first in `order` of those that can be next.

    Source: Kahn, Topological sorting of large networks, 1962.
    """
    missing = {node: len(sources) for node, sources in before.items()}
    ready = [(order[node], node) for node, count in missing.items() if not count]
    heapify(ready)
    while ready:
        _, node = heappop(ready)
        yield node
        for reader in after[node]:
            missing[reader] -= 1
            if not missing[reader]:
                heappush(ready, (order[reader], reader))
