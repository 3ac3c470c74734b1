"""Values that are parts of others: what a slice reads and what a join joins stays in its place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cnndsl.graph.graph import Graph, Node, Value
from cnndsl.graph.leaves import STATE, Input
from cnndsl.graph.op import Op, View
from cnndsl.graph.types import Type
from cnndsl.ops.shape import Identity
from cnndsl.runtime.kernel import Backend


@dataclass(frozen=True, slots=True)
class Part:
    """A value that is a part of another, at `index`; who writes it, and who reads it alone."""

    whole: Value
    index: View
    writer: Op
    readers: tuple[Op, ...]


class Placement:
    """Which values share the memory of which others, and how.

    A slice is a part of what it reads. A part of a concat is computed in the concat's memory, each
    value in one at most; not leaves, slices, what updates a state, or what is computed once for
    all where the concat is not.
    """

    def __init__(
        self,
        graph: Graph,
        order: Sequence[Node],
        fixed: set[Node],
        backend: Backend,
        batch: int,
        copying: type[Op] | None = None,
    ) -> None:
        """`copying` is an operation that is to copy all the same."""

        def part(whole: Value, part: Value, index: View) -> Part | None:
            users = {user for user, _ in graph.users(part)} - {whole.node}
            readers = tuple(graph.op(user) for user in users)
            types = whole.type.at(batch), part.type.at(batch)
            placed = backend.part(*types, index, part.op, readers)
            return None if placed is None else Part(whole, index, part.op, readers)

        self._backend = backend
        self._batch = batch
        self._places: dict[Value, tuple[View, Type]] = {}
        self.parts: dict[Value, Part] = {}
        updating = set(graph.updates.values())
        free = [
            node
            for node in order
            if Value(graph, node) not in updating
            and not (copying and isinstance(graph.op(node), copying))
        ]
        for node in free:
            operands = graph.operands(node)
            index = graph.op(node).view(operands[0].type) if operands else None
            value = Value(graph, node)
            if index is not None and (found := part(operands[0], value, index)) is not None:
                self.parts[value] = found
        self.views = {value.node for value in self.parts}
        for node in free:
            operands = graph.operands(node)
            places = graph.op(node).places(*(v.type for v in operands))
            whole = Value(graph, node)
            for value, index in zip(operands, places, strict=bool(places)):
                leaf = isinstance(value.op, (Input, *STATE))
                taken = value in self.parts or value in updating or operands.count(value) > 1
                if leaf or taken or (value.node in fixed) != (node in fixed):
                    continue
                if (found := part(whole, value, index)) is not None:
                    self.parts[value] = found
        self._wholes = {part.whole for part in self.parts.values()}

    def root(self, value: Value) -> Value:
        """The value whose memory a value is in."""
        while value in self.parts:
            value = self.parts[value].whole
        return value

    def shared(self, value: Value) -> bool:
        """Whether a value's memory holds others too."""
        return value in self.parts or value in self._wholes

    def place(self, value: Value) -> View:
        """Where the array of what a value is a part of holds it."""
        return self._place(value)[0]

    def type(self, value: Value) -> Type:
        """The type of a value where it is: a part may be in a layout of its own."""
        return self._place(value)[1] if value in self.parts else value.type.at(self._batch)

    def copied(self, whole: Value, value: Value, index: View) -> tuple[View, Type]:
        """Where a join holds a copy of an operand, and the type of the copy."""
        place = self._backend.part(
            self.type(whole), value.type.at(self._batch), index, Identity(), ()
        )
        assert place is not None
        return place

    def _place(self, value: Value) -> tuple[View, Type]:
        if value not in self._places:
            part = self.parts[value]
            types = self.type(part.whole), value.type.at(self._batch)
            place = self._backend.part(*types, part.index, part.writer, part.readers)
            assert place is not None
            self._places[value] = place
        return self._places[value]

    def placed(self, node: Node, operands: Sequence[Value]) -> list[bool]:
        """Which operands of a join are in its result already."""
        return [v in self.parts and self.parts[v].whole.node == node for v in operands]
