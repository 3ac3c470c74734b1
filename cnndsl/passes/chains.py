"""Operations that read each other element by element are one: for engines that ask for it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from cnndsl.graph.graph import Graph, Node, Value
from cnndsl.graph.leaves import STATE, Input
from cnndsl.graph.rewrite import Found, Rewrite, sweep
from cnndsl.ops.chain import Chain, Step

#: What a chain reads at most: a thread holds its part of each operand in registers until all is
#: computed. Eight in bfloat16 take 64 of them, and half of a GPU's threads still run at once.
MOST_OPERANDS = 8


class _Memory:
    """Until when values are in memory, by the order of execution alone."""

    def __init__(self, graph: Graph) -> None:
        #: How many operations, leaves apart, are executed before each.
        self.position: dict[Node, int] = {}
        self._wholes: dict[Value, Value] = {}
        self._joins: dict[Value, list[Value]] = {}
        self._last: dict[Value, int] = {}
        executed = 0
        for node in graph.nodes():
            self.position[node] = executed
            op, operands = graph.op(node), graph.operands(node)
            types = [value.type for value in operands]
            executed += not isinstance(op, (Input, *STATE))
            if operands and op.view(types[0]) is not None:
                self._wholes[Value(graph, node)] = operands[0]
            if op.places(*types):
                for value in operands:
                    self._joins.setdefault(value, []).append(Value(graph, node))
        for node, position in self.position.items():
            self.keep(graph.operands(node), position)
        self.keep(graph.roots(), executed)

    def keep(self, values: Iterable[Value], until: int) -> None:
        """Let values be in memory until a position at least."""
        for value in values:
            for holder in self._holders(value):
                self._last[holder] = max(self._last.get(holder, 0), until)

    def longer(self, values: Iterable[Value], until: int) -> int:
        """The bytes an image that are in memory for longer if values are kept until a position."""
        held = {holder for value in values for holder in self._holders(value)}
        return sum(holder.type.nbytes for holder in held if self._last[holder] < until)

    def _holders(self, value: Value) -> Iterator[Value]:
        """The values in whose memory a value may be: it is a view of one, or a part of a join."""
        while value in self._wholes:
            value = self._wholes[value]
        if not isinstance(value.op, (Input, *STATE)):
            yield value
        yield from self._joins.get(value, ())


@dataclass(eq=False)
class _Chain:
    """A chain that grows from its last node, the first here, backwards.

    `operands` are what it reads of others. Nothing but its nodes is executed from position `first`
    to the last node.
    """

    nodes: list[Node]
    operands: set[Value]
    first: int

    def take(self, value: Value, read: Sequence[Value], memory: _Memory) -> bool:
        """Make what gives a value a part of the chain, if that is not too much.

        `read` is what that reads element by element.
        """
        position, end = memory.position[value.node], memory.position[self.nodes[0]]
        operands = self.operands - {value} | set(value.graph.operands(value.node))
        adjacent = position == self.first - 1
        if not adjacent and memory.longer(read, end) > value.type.nbytes:
            return False
        if len(operands) > MOST_OPERANDS:
            return False
        self.nodes.append(value.node)
        self.operands = operands
        self.first = position if adjacent else self.first
        memory.keep(operands, end)
        return True


@sweep(
    fires_on=(
        "input 6x6x3 -> maxpool 2x2, /2 -> relu -> tanh",
        "input 6x6x3 -> tanh as a -> silu -> mul { | identity | from a }",
        "input 6x6x3 -> gate { avgpool global -> sigmoid } -> bn -> relu",
    ),
    leaves_alone=(
        "input 6x6x3 -> relu -> conv 4, 3x3 -> tanh",
        "input 6x6x3 -> tanh as a -> concat { | relu | from a }",
    ),
)
def elementwise_chain(graph: Graph) -> Iterator[Found]:
    """g(f(x), y) is one kernel, for f and g element by element where nothing else reads f(x).

    And so is any number of such operations that end in one. What f reads is kept until g is
    computed: that may not take more memory than f(x) did, unless nothing is executed between them.
    What is not read element by element is small and is not counted.
    """
    memory = _Memory(graph)
    ends = set(graph.roots())
    chains: dict[Node, _Chain] = {}
    for node in reversed(graph.nodes()):
        operands = graph.operands(node)
        slots = graph.op(node).elementwise(*(v.type for v in operands))
        if not slots:
            continue
        value, position = Value(graph, node), memory.position[node]
        chain = None if value in ends else _only_reader(value, chains)
        if chain is None or not chain.take(value, [operands[slot] for slot in slots], memory):
            chain = _Chain([node], set(operands), position)
        chains[node] = chain
    for node, chain in chains.items():
        if node == chain.nodes[0] and len(chain.nodes) > 1:
            yield _merged(graph, chain.nodes[::-1]), None


def _only_reader(value: Value, chains: dict[Node, _Chain]) -> _Chain | None:
    """The chain that alone reads a value, element by element, if there is one."""
    graph = value.graph
    found = None
    for node, slot in graph.users(value):
        types = (v.type for v in graph.operands(node))
        chain = chains.get(node)
        if chain is None or found not in (None, chain):
            return None
        if slot not in graph.op(node).elementwise(*types):
            return None
        found = chain
    return found


def _merged(graph: Graph, nodes: list[Node]) -> Value:
    """The chain of nodes, in order, in the place of the last of them."""
    results = [Value(graph, node) for node in nodes]
    read = dict.fromkeys(value for node in nodes for value in graph.operands(node))
    inputs = [value for value in read if value not in results]
    places = {value: place for place, value in enumerate((*inputs, *results))}
    steps = (Step(graph.op(n), tuple(places[v] for v in graph.operands(n))) for n in nodes)
    fused = graph.apply(Chain(tuple(steps)), *inputs, like=results[-1])
    graph.replace(results[-1], fused)
    return fused


CHAINS: tuple[Rewrite, ...] = (elementwise_chain,)
