"""Finds which layers of a graph may stand in the braces of a join or a side head."""

from __future__ import annotations

from fractions import Fraction
from typing import Final

from cnndsl.graph.graph import Graph, Node
from cnndsl.graph.leaves import STATE, Input
from cnndsl.ops.merge import Add, Concat, Gate, Multiply

#: In the place of a join: the braces are a side head's.
HEAD: Final = -1

#: A pair of braces: a join and the operand's slot, or `HEAD` and the side head's number.
Place = tuple[int, int]

#: The most layers in one branch; a longer way is clearer with names.
LONGEST_BRANCH = 24
LONGEST_HEAD = 64


class Nesting:
    """Which layers stand in which braces.

    Layers stand in the braces of a join's operand if they are all that lies between the join's
    entry (the last value through which every way to the join leads) and the operand, and nothing
    else reads them.

    Attributes:
        operands: for each layer the layers that it reads, parameters and buffers left out.
        jumps: for each layer the product of the strides before it, as elaboration counts it.
        regions: the layers in each pair of braces, those in inner braces included.
        head_entries: for each side head the value that flows into its braces, None if they are
            to name the head's value instead.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.order = [n for n in graph.nodes() if not isinstance(graph.op(n), STATE)]
        self.operands: dict[Node, tuple[Node, ...]] = {
            node: tuple(v.node for v in graph.operands(node) if not isinstance(v.op, STATE))
            for node in self.order
        }
        if sum(not self.operands[node] for node in self.order) != 1:
            raise ValueError("a model of the language has one input")
        self.readers: dict[Node, list[Node]] = {node: [] for node in self.order}
        for node, operands in self.operands.items():
            for operand in operands:
                self.readers[operand].append(node)
        for value in (*graph.outputs.values(), *(head.value for head in graph.heads)):
            self.readers[value.node].append(HEAD)
        self._find_dominators()
        self.jumps = self._find_jumps()
        self.regions: dict[Place, set[Node]] = {}
        self.head_entries: list[Node | None] = []
        self._find_regions()
        self._find_heads()
        self._assign()

    def entry(self, join: Node) -> Node:
        """The last value through which every way to a join leads."""
        return self.dominator[join]

    def items(self, place: Place | None) -> list[Node | Place]:
        """What stands directly in a pair of braces (None: the model's), in order."""
        return self._items.get(place, [])

    def _find_dominators(self) -> None:
        self.dominator: dict[Node, Node] = {}
        depth: dict[Node, int] = {}
        for node in self.order:
            operands = self.operands[node]
            if not operands:
                depth[node] = 0
                continue
            common = operands[0]
            for other in operands[1:]:
                while common != other:
                    if depth[common] < depth[other]:
                        other = self.dominator[other]
                    else:
                        common = self.dominator[common]
            self.dominator[node] = common
            depth[node] = depth[common] + 1

    def _find_jumps(self) -> dict[Node, Fraction]:
        jumps: dict[Node, Fraction] = {}
        for node in self.order:
            op, operands = self.graph.op(node), self.operands[node]
            if isinstance(op, Input):
                jumps[node] = Fraction(1)
                continue
            window = op.window(self.graph.types(operands[0])[0])
            jumps[node] = jumps[operands[0]] * window.stride[0] / window.upsampling
        return jumps

    def _find_regions(self) -> None:
        for node in self.order:
            op = self.graph.op(node)
            if isinstance(op, Gate):
                slots, entry = [1], self.operands[node][0]
                if self.dominator[node] != entry:
                    continue
            elif isinstance(op, Add | Concat | Multiply):
                slots, entry = list(range(len(self.operands[node]))), self.dominator[node]
            else:
                continue
            for slot in slots:
                end = self.operands[node][slot]
                if end != entry and len(self.readers[end]) == 1:
                    region = self._between(entry, end, LONGEST_BRANCH)
                    if region is not None:
                        self.regions[node, slot] = region

    def _between(self, entry: Node, end: Node, longest: int) -> set[Node] | None:
        """The layers between an entry and an end, which is among them; None if others read them."""
        region = {end}
        waiting = [end]
        while waiting:
            for operand in self.operands[waiting.pop()]:
                if operand != entry and operand not in region:
                    if not self.operands[operand] or len(region) >= longest:
                        return None
                    region.add(operand)
                    waiting.append(operand)
        inner = region - {end}
        if any(reader not in region for node in inner for reader in self.readers[node]):
            return None
        return region

    def _find_heads(self) -> None:
        for number, head in enumerate(self.graph.heads):
            end, entry = head.value.node, None
            candidate = self.dominator.get(end) if self.readers[end] == [HEAD] else None
            while candidate is not None:
                region = self._between(candidate, end, LONGEST_HEAD)
                if region is None:
                    break
                entry, self.regions[HEAD, number] = candidate, region
                candidate = self.dominator.get(candidate)
            self.head_entries.append(entry)

    def _assign(self) -> None:
        """Put every layer into its innermost braces, and side heads after their last layer."""
        innermost: dict[Node, Place | None] = dict.fromkeys(self.order)
        for place in sorted(self.regions, key=lambda place: -len(self.regions[place])):
            innermost.update(dict.fromkeys(self.regions[place], place))
        self._items: dict[Place | None, list[Node | Place]] = {}
        for node in self.order:
            self._items.setdefault(innermost[node], []).append(node)
        place_in_order = {node: (rank, 0) for rank, node in enumerate(self.order)}
        after = 0
        head_places: dict[Place, tuple[int, int]] = {}
        for number, head in enumerate(self.graph.heads):
            after = max(after, place_in_order[head.value.node][0])
            head_places[HEAD, number] = (after, number + 1)
        self._items[None] = sorted(
            [*self._items[None], *head_places],
            key=lambda i: head_places[i] if isinstance(i, tuple) else place_in_order[i],
        )
