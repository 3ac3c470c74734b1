"""Lowering: a typed graph, a backend and a batch become a program."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from cnndsl.graph.graph import Graph, Node, Value
from cnndsl.graph.leaves import STATE, Input
from cnndsl.graph.types import Type
from cnndsl.runtime.kernel import Array, Backend, Kernel
from cnndsl.runtime.memory import Lifetime, plan, round_up
from cnndsl.runtime.program import Program, Slot, Step


@dataclass
class _Buffer:
    """Bytes that one or several values share.

    `state` is the state that they are, or the node that derives them from states once for all; such
    bytes last, outside the arena.
    """

    nbytes: int
    first: int
    last: int
    state: Node | None = None
    offset: int = 0
    values: list[Value] = field(default_factory=list)


def lower(
    graph: Graph, backend: Backend, batch: int, shared: Mapping[str, Slot] | None = None
) -> Program:
    """Choose kernels, order them, plan memory and bind arrays.

    The batch is fixed here. `shared` are states of another program, by name, that this one uses in
    place of its own: evaluation reads the very weights that training writes.

    Raises:
        MissingKernel: the backend cannot execute an operation of the graph.
    """
    order = schedule(graph)
    kernels: dict[Node, Kernel] = {}
    for node in order:
        inputs = tuple(v.type.at(batch) for v in graph.operands(node))
        outputs = tuple(t.at(batch) for t in graph.types(node))
        kernels[node] = backend.kernel(graph.op(node), inputs, outputs)

    buffers = _assign_buffers(graph, order, kernels, batch)
    arena_buffers = [b for b in _unique(buffers) if b.state is None]
    layout = plan([Lifetime(b.nbytes, b.first, b.last) for b in arena_buffers])
    for buffer, offset in zip(arena_buffers, layout.offsets, strict=True):
        buffer.offset = offset
    scratch_bytes = max((k.workspace for k in kernels.values()), default=0)
    arena = backend.allocate(layout.nbytes + scratch_bytes)

    shared = shared or {}
    elsewhere = {
        node: shared[graph.name(node)].array
        for node in graph.of(*STATE)
        if graph.name(node) in shared
    }
    state_bytes = 0
    for buffer in _unique(buffers):
        if buffer.state is not None and buffer.state not in elsewhere:
            buffer.offset = state_bytes
            state_bytes += round_up(buffer.nbytes)
    state = backend.allocate(state_bytes)

    views: dict[Value, Array] = {}
    for value, buffer in buffers.items():
        if buffer.state in elsewhere:
            views[value] = elsewhere[buffer.state]
            continue
        base = arena if buffer.state is None else state
        views[value] = backend.view(base, buffer.offset, value.type.at(batch))
    scratch = backend.view(arena, layout.nbytes, Type((scratch_bytes,), "uint8"))

    writers = {value.node for value in graph.updates.values()}
    fixed = constant_nodes(graph)
    steps: list[Step] = []
    setup: list[Step] = []
    for node in order:
        kernel = kernels[node]
        results = tuple(views.get(v) for v in graph.results(node))
        arguments = (*(views[v] for v in graph.operands(node)), *results)
        if kernel.workspace:
            arguments = (*arguments, scratch)
        text = graph.op(node).spell(*(v.type for v in graph.operands(node)))
        step = Step(graph.name(node), text, kernel.run, arguments, results, node in writers)
        (setup if node in fixed else steps).append(step)

    def slot(value: Value) -> Slot:
        return Slot(views[value], value.type.at(batch))

    states = {
        graph.name(node): slot(Value(graph, node))
        for node in graph.net
        if isinstance(graph.op(node), STATE)
    }
    return Program(
        tuple(steps),
        tuple(setup),
        {name: slot(v) for name, v in graph.inputs.items()},
        {name: slot(v) for name, v in graph.outputs.items()},
        states,
        backend,
        batch,
        layout.nbytes + scratch_bytes,
        state_bytes,
    )


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
    it can after every reader of that state, and after every output (the loss among them): a step
    that fails leaves all state as it was.
    """
    writers = {value.node for value in graph.updates.values()}
    leaves = (Input, *STATE)
    order = [n for n in graph.nodes() if not isinstance(graph.op(n), leaves)]
    plain = [n for n in order if n not in writers]
    position = {node: i for i, node in enumerate(plain)}
    outputs = [position[v.node] for v in graph.outputs.values() if v.node in position]
    earliest = max(outputs, default=-1)
    after: dict[int, list[Node]] = {}
    for node in order:
        if node not in writers:
            continue
        states = [state for state, value in graph.updates.items() if value.node == node]
        waits = set(graph.net.predecessors(node))
        for state in states:
            waits |= set(graph.net.successors(state)) - {node}
        if waits & writers:
            raise ValueError(f"{graph.name(node)}: a state's update is read by another update")
        place = max((position[w] for w in waits if w in position), default=-1)
        after.setdefault(max(place, earliest), []).append(node)
    result = list(after.get(-1, ()))
    for i, node in enumerate(plain):
        result.append(node)
        result.extend(after.get(i, ()))
    return result


def _assign_buffers(
    graph: Graph, order: list[Node], kernels: dict[Node, Kernel], batch: int
) -> dict[Value, _Buffer]:
    """A buffer for every value that somebody reads; aliases and updated states share one."""
    end = len(order)
    position = {node: i for i, node in enumerate(order)}
    last_use: dict[Value, int] = {}
    for node in order:
        for value in graph.operands(node):
            last_use[value] = max(last_use.get(value, -1), position[node])
    for value in graph.outputs.values():
        last_use[value] = end
    fixed = constant_nodes(graph)
    updated = {value: state for state, value in graph.updates.items()}

    buffers: dict[Value, _Buffer] = {}
    for node in graph.net:
        value = Value(graph, node)
        nbytes = value.type.at(batch).total_bytes
        if isinstance(graph.op(node), STATE):
            buffers[value] = _Buffer(nbytes, 0, end, state=node, values=[value])
        elif isinstance(graph.op(node), Input) and (
            value in last_use or value in graph.inputs.values()
        ):
            buffers[value] = _Buffer(nbytes, 0, end, values=[value])
    for node in order:
        here = position[node]
        operands = graph.operands(node)
        may_alias = dict(kernels[node].may_alias)
        taken: set[int] = set()
        for value in graph.results(node):
            if value in updated:
                buffer = buffers[Value(graph, updated[value])]
                buffer.values.append(value)
                buffers[value] = buffer
                continue
            if value not in last_use:
                continue
            nbytes = value.type.at(batch).total_bytes
            shared: _Buffer | None = None
            slot = may_alias.get(value.output)
            if slot is not None and operands.count(operands[slot]) == 1:
                old = buffers[operands[slot]]
                dies = old.last == here and old.state is None
                if dies and old.nbytes == nbytes and id(old) not in taken:
                    shared = old
            if shared is None:
                lasting = node if node in fixed else None
                shared = _Buffer(nbytes, here, last_use[value], state=lasting)
            else:
                taken.add(id(shared))
            shared.last = max(shared.last, last_use[value])
            shared.values.append(value)
            buffers[value] = shared
    return buffers


def _unique(buffers: dict[Value, _Buffer]) -> list[_Buffer]:
    return list({id(b): b for b in buffers.values()}.values())
