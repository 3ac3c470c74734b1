"""Lowering: a typed graph, a backend and a batch become a program."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from cnndsl.graph.graph import Graph, Node, Value
from cnndsl.graph.leaves import STATE, Buffer, Input
from cnndsl.graph.op import View
from cnndsl.graph.types import Type
from cnndsl.ops.merge import Concat
from cnndsl.ops.shape import Identity, Slice
from cnndsl.runtime.kernel import Array, Backend, Kernel
from cnndsl.runtime.memory import Lifetime, Plan, plan, round_up
from cnndsl.runtime.placement import Placement
from cnndsl.runtime.program import Program, Slot, Step
from cnndsl.runtime.schedule import constant_nodes, derived_first, schedule

#: Slices are copied where that leaves less than this part of the arena.
ENOUGH = 0.95


@dataclass
class _Buffer:
    """Bytes that one or several values share.

    `state` is the state that they are, or the node that derives them from states once for all, for
    steps to read; such bytes last, outside the arena. `passing` are those that only another
    derivation reads: they share a place beside the states.
    """

    nbytes: int
    first: int
    last: int
    state: Node | None = None
    passing: bool = False
    offset: int = 0


@dataclass(frozen=True)
class _Call:
    """A kernel on values; or a copy of a value to its place in the result of a join."""

    node: Node
    kernel: Kernel
    operands: tuple[Value, ...]
    results: tuple[Value, ...]
    index: View | None = None


@dataclass(frozen=True)
class _Draft:
    """A program before it has memory."""

    calls: list[_Call]
    placement: Placement
    buffers: dict[Value, _Buffer]
    layout: Plan
    passing_bytes: int
    scratch_bytes: int

    @property
    def arena_bytes(self) -> int:
        return self.layout.nbytes + self.scratch_bytes

    def place_states(self, elsewhere: Collection[Node] = ()) -> int:
        """Give the states that are not elsewhere their places, behind what passes; all bytes."""
        nbytes = self.passing_bytes
        for buffer in _unique(self.buffers):
            if buffer.state is not None and buffer.state not in elsewhere:
                buffer.offset = nbytes
                nbytes += round_up(buffer.nbytes)
        return nbytes


class TooLarge(Exception):
    """A program takes more memory than there is; `planned` says how many bytes."""

    def __init__(self, planned: int) -> None:
        super().__init__(f"{planned} bytes are needed")
        self.planned = planned


def lower(
    graph: Graph, backend: Backend, batch: int, shared: Mapping[str, Slot] | None = None
) -> Program:
    """Choose kernels, order them, plan memory and bind arrays; buffers get their first values.

    The batch is fixed here. `shared` are states of another program, by name, that this one uses in
    place of its own: evaluation reads the very weights that training writes.

    Raises:
        MissingKernel: the backend cannot execute an operation of the graph.
        TooLarge: there is not enough memory.
    """
    shared = shared or {}
    draft = _drafted(graph, backend, batch)
    elsewhere = {
        node: shared[graph.name(node)].array
        for node in graph.of(*STATE)
        if graph.name(node) in shared
    }
    needed, free = draft.arena_bytes + draft.place_states(elsewhere), backend.free_bytes()
    if free is not None and needed > free:
        raise TooLarge(needed)
    arena = backend.allocate(draft.arena_bytes)
    scratch = backend.view(arena, draft.layout.nbytes, Type((draft.scratch_bytes,), "uint8"))
    state_bytes = draft.place_states(elsewhere)
    state = backend.allocate(state_bytes)

    views: dict[Value, Array] = {}
    for value, buffer in draft.buffers.items():
        if buffer.state in elsewhere:
            views[value] = elsewhere[buffer.state]
            continue
        base = state if buffer.passing or buffer.state is not None else arena
        views[value] = backend.view(base, buffer.offset, value.type.at(batch))
    placement = draft.placement

    def view(value: Value) -> Array | None:
        part = placement.parts.get(value)
        if part is not None and value not in views:
            whole = view(part.whole)
            if whole is not None:
                views[value] = whole[placement.place(value)]
        return views.get(value)

    writers = {value.node for value in graph.updates.values()}
    fixed = constant_nodes(graph)
    steps: list[Step] = []
    setup: list[Step] = []
    for call in draft.calls:
        node = call.node
        results = tuple(view(v) for v in call.results)
        if call.index is not None and results[0] is not None:
            results = (results[0][call.index],)
        arguments = (*(view(v) for v in call.operands), *results)
        copied = call.operands if call.index is not None else call.results
        held = zip((*call.operands, *copied), arguments, strict=True)
        moved = sum(backend.nbytes(v.type.at(batch)) for v, a in held if a is not None)
        if call.kernel.workspace:
            arguments = (*arguments, scratch)
        op, types = graph.op(node), [v.type for v in graph.operands(node)]
        step = Step(
            graph.name(node),
            op.spell(*types),
            call.kernel.bind(*arguments),
            tuple(
                None if array is None else Slot(array, placement.type(value))
                for array, value in zip(results, call.results, strict=True)
            ),
            node in writers,
            moved,
            0 if call.index is not None else op.flops(graph.types(node), *types) * batch,
            graph.types(node)[0].layout,
            call.kernel.implementation,
        )
        (setup if node in fixed else steps).append(step)

    def slot(value: Value) -> Slot:
        return Slot(view(value), placement.type(value))

    for node in graph.of(Buffer):
        op = graph.op(node)
        assert isinstance(op, Buffer)
        if node not in elsewhere and op.initial.kind == "constant" and op.initial.value:
            place = slot(Value(graph, node))
            backend.upload(place.array, place.type, _filled(place.type, op.initial.value))

    return Program(
        tuple(steps),
        tuple(setup),
        {name: slot(v) for name, v in graph.inputs.items()},
        {name: slot(v) for name, v in graph.outputs.items()},
        _states(graph, slot),
        backend,
        batch,
        draft.arena_bytes,
        state_bytes,
    )


def _filled(type: Type, value: float) -> Any:
    """An array of the host that holds one number everywhere."""
    import numpy as np

    return np.full(type.concrete(), value, type.dtype)


def planned_bytes(graph: Graph, backend: Backend, batch: int) -> tuple[int, int]:
    """The bytes that a program's arena and its states will have, without allocating any."""
    draft = _drafted(graph, backend, batch)
    return draft.arena_bytes, draft.place_states()


def kernels_of(graph: Graph, backend: Backend, batch: int) -> list[tuple[Node, Kernel]]:
    """The kernels of a program in order, each with the node that it is of; none is bound."""
    return [(call.node, call.kernel) for call in _drafted(graph, backend, batch).calls]


def _states(graph: Graph, slot: Callable[[Value], Slot]) -> dict[str, Slot]:
    """Every state by its name; of a state with parts, each part by its own."""
    states: dict[str, Slot] = {}
    for node in graph.net:
        op = graph.op(node)
        if not isinstance(op, STATE):
            continue
        whole = slot(Value(graph, node))
        if op.parts is None:
            states[graph.name(node)] = whole
            continue
        parts = zip(op.parts.names, op.parts.types, op.parts.indices(), strict=True)
        states |= {name: Slot(whole.array[index], type) for name, type, index in parts}
    return states


def _drafted(graph: Graph, backend: Backend, batch: int) -> _Draft:
    """The draft with as few copies as there can be; another if that takes much less memory.

    A part of a concat that is computed early makes the whole concat wait in memory, and a slice
    that is read late its whole value.
    """
    fixed = constant_nodes(graph)
    order = derived_first(graph, schedule(graph), fixed)
    best = _draft(graph, backend, batch, order, Placement(graph, order, fixed, backend, batch))
    for kind, share in ((Concat, 1.0), (Slice, ENOUGH)):
        if graph.of(kind):
            placement = Placement(graph, order, fixed, backend, batch, copying=kind)
            other = _draft(graph, backend, batch, order, placement)
            best = other if other.arena_bytes < share * best.arena_bytes else best
    return best


def _draft(
    graph: Graph, backend: Backend, batch: int, order: list[Node], placement: Placement
) -> _Draft:
    calls = list(_calls(graph, backend, order, placement))
    buffers = _assign_buffers(graph, backend, calls, placement, batch)
    unique = _unique(buffers)
    layout = _placed(b for b in unique if b.state is None and not b.passing)
    passing = _placed(b for b in unique if b.passing)
    scratch_bytes = max((call.kernel.workspace for call in calls), default=0)
    return _Draft(calls, placement, buffers, layout, passing.nbytes, scratch_bytes)


def _placed(buffers: Iterable[_Buffer]) -> Plan:
    """A plan of buffers that share memory; they get their offsets."""
    found = list(buffers)
    layout = plan([Lifetime(b.nbytes, b.first, b.last) for b in found])
    for buffer, offset in zip(found, layout.offsets, strict=True):
        buffer.offset = offset
    return layout


def _calls(
    graph: Graph, backend: Backend, order: list[Node], placement: Placement
) -> Iterator[_Call]:
    """The kernels in order: none for a view, and of a join only those of parts not in place."""

    for node in order:
        if node in placement.views:
            continue
        op, operands, results = graph.op(node), graph.operands(node), graph.results(node)
        placed = placement.placed(node, operands)
        places = op.places(*(v.type for v in operands))
        if any(placed) or (places and results[0] in placement.parts):
            for value, index, there in zip(operands, places, placed, strict=True):
                if not there:
                    place, target = placement.copied(results[0], value, index)
                    kernel = backend.kernel(Identity(), (placement.type(value),), (target,))
                    yield _Call(node, kernel, (value,), results, place)
            continue
        inputs = tuple(placement.type(v) for v in operands)
        kernel = backend.kernel(op, inputs, tuple(placement.type(v) for v in results))
        yield _Call(node, kernel, operands, results)


def _assign_buffers(
    graph: Graph, backend: Backend, calls: list[_Call], placement: Placement, batch: int
) -> dict[Value, _Buffer]:
    """A buffer for every value that somebody reads and that is no part of another.

    Results that a kernel may write over an operand share its buffer, and so do updated states.
    """
    end = len(calls)
    last_use: dict[Value, int] = {}
    for here, call in enumerate(calls):
        for value in (*call.operands, *(call.results if call.index else ())):
            last_use[value] = here
    for value in graph.outputs.values():
        last_use[value] = end
    for value in placement.parts:
        root = placement.root(value)
        last_use[root] = max(last_use.get(root, -1), last_use.get(value, -1))
    fixed = constant_nodes(graph)
    updated = {value: state for state, value in graph.updates.items()}
    read = {v for call in calls if call.node not in fixed for v in call.operands}
    kept = {placement.root(value) for value in (*read, *graph.outputs.values())}

    buffers: dict[Value, _Buffer] = {}
    for node in graph.net:
        value = Value(graph, node)
        nbytes = backend.nbytes(value.type.at(batch))
        if isinstance(graph.op(node), STATE):
            buffers[value] = _Buffer(nbytes, 0, end, state=node)
        elif isinstance(graph.op(node), Input) and (
            value in last_use or value in graph.inputs.values()
        ):
            buffers[value] = _Buffer(nbytes, 0, end)
    for here, call in enumerate(calls):
        taken: set[int] = set()
        for value in call.results:
            if value in updated:
                buffers[value] = buffers[Value(graph, updated[value])]
                continue
            root = placement.root(value)
            if root in buffers or last_use.get(root, -1) < 0:
                continue
            nbytes = backend.nbytes(root.type.at(batch))
            derived = root.node in fixed
            lasting = root.node if derived and root in kept else None
            free = lasting is None and not placement.shared(value)
            dying = _written_over(call, value, here, buffers, placement) if free else ()
            fitting = (b for b in dying if b.nbytes == nbytes and id(b) not in taken)
            reused = next(fitting, None)
            if reused is None:
                passing = derived and lasting is None
                reused = _Buffer(nbytes, here, last_use[root], lasting, passing)
            else:
                taken.add(id(reused))
            reused.last = max(reused.last, last_use[root])
            buffers[root] = reused
    return buffers


def _written_over(
    call: _Call, value: Value, here: int, buffers: dict[Value, _Buffer], placement: Placement
) -> Iterator[_Buffer]:
    """The buffers of operands that a kernel may write a result over: nobody reads them later."""
    for output, slot in call.kernel.may_alias:
        operand = call.operands[slot]
        old = buffers.get(operand)
        if output != value.output or old is None or placement.shared(operand):
            continue
        if old.last == here and old.state is None and call.operands.count(operand) == 1:
            yield old


def _unique(buffers: dict[Value, _Buffer]) -> list[_Buffer]:
    return list({id(b): b for b in buffers.values()}.values())
