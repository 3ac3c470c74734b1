"""Parts of a drawing and how they join: one after the other, and side by side.

Directions are those of the flow: `along` it (down, or to the right), and `across`.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Final

#: Across, along.
Point = tuple[float, float]

#: What an item or a link end is called within its frame.
Key = Hashable

#: Between neighbouring branches, between a branch and a line beside it, and between two such lines.
BRANCHES_APART: Final = 16.0
RAIL_APART: Final = 12.0
RAILS_APART: Final = 8.0


@dataclass(frozen=True, eq=False)
class Link:
    """A line from one item to another of a frame; None is what lies outside it."""

    source: Key
    target: Key
    value: Hashable


@dataclass(eq=False)
class Item:
    """Something to place: a box, a frame, or the point where a value enters a frame.

    `axis` is where the flow passes through, from the start across; `ins` and `outs` are where
    values enter and leave, relative to the axis.
    """

    key: Key
    across: float
    along: float
    axis: float
    content: Any = None
    is_box: bool = False
    weight: int = 0
    ins: dict[Hashable, float] = field(default_factory=dict)
    outs: dict[Hashable, float] = field(default_factory=dict)


@dataclass(frozen=True)
class End:
    """Where a link crosses the first or last edge of a piece.

    It gets an `arrow` where it enters a box directly; a `rail` passes the piece by.
    """

    link: Link
    across: float
    arrow: bool = False
    rail: bool = False


@dataclass
class Wire:
    """A line, or a part of one, with an arrowhead at its end if it enters a box there."""

    link: Link
    points: list[Point]
    arrow: bool = False


@dataclass(eq=False)
class Piece:
    """Items and lines with places relative to an axis, `length` along it."""

    length: float = 0.0
    items: list[tuple[Item, float, float]] = field(default_factory=list)
    wires: list[Wire] = field(default_factory=list)
    entries: list[End] = field(default_factory=list)
    exits: list[End] = field(default_factory=list)

    @property
    def weight(self) -> int:
        return sum(item.weight for item, _, _ in self.items)

    def rectangles(self) -> list[tuple[float, float, float, float]]:
        """What is taken: start and end across, start and end along."""
        taken = [
            (x - item.axis, x - item.axis + item.across, y, y + item.along)
            for item, x, y in self.items
        ]
        for wire in self.wires:
            for (x, y), (x2, y2) in pairwise(wire.points):
                taken.append((min(x, x2), max(x, x2), min(y, y2), max(y, y2)))
        return taken

    def extent(self) -> tuple[float, float]:
        """The first and the last place across that is taken."""
        taken = self.rectangles()
        ends = [end.across for end in (*self.entries, *self.exits)]
        return (
            min([*(r[0] for r in taken), *ends], default=0.0),
            max([*(r[1] for r in taken), *ends], default=0.0),
        )

    def take(self, other: Piece, across: float, along: float) -> None:
        """Put another piece's items and lines into this one."""
        self.items += [(item, x + across, y + along) for item, x, y in other.items]
        for wire in other.wires:
            points = [(x + across, y + along) for x, y in wire.points]
            self.wires.append(Wire(wire.link, points, wire.arrow))


def moved(ends: Iterable[End], across: float) -> list[End]:
    """Ends of a piece that is put somewhere else."""
    return [End(end.link, end.across + across, end.arrow, end.rail) for end in ends]


def single(item: Item, links: Iterable[Link]) -> Piece:
    """A piece of one item."""
    piece = Piece(item.along, [(item, 0.0, 0.0)])
    for link in links:
        if link.target == item.key:
            piece.entries.append(End(link, item.ins.get(link.value, 0.0), item.is_box))
        if link.source == item.key:
            piece.exits.append(End(link, item.outs.get(link.value, 0.0)))
    return piece


def beside(branches: Sequence[Piece], rails: Sequence[Link]) -> Piece:
    """Branches side by side, and lines that pass them by.

    The flow goes through the longest branch, if it has twice as many boxes as any other, else
    through the middle. Branches that lead nowhere find place beside the others.
    """
    result = Piece()
    flowing = [branch for branch in branches if branch.exits]
    if not flowing and not rails:
        flowing = [max(branches, key=lambda branch: branch.weight)]
    hanging = [branch for branch in branches if branch not in flowing]
    result.length = max((branch.length for branch in branches), default=0.0)
    for branch, across in zip(flowing, _columns(flowing), strict=True):
        result.take(branch, across, 0.0)
        result.entries += moved(branch.entries, across)
        for end in moved(branch.exits, across):
            result.exits.append(end)
            if branch.length < result.length:
                points = [(end.across, branch.length), (end.across, result.length)]
                result.wires.append(Wire(end.link, points))
    _add_rails(result, rails)
    for branch in hanging:
        across = _free_place(result, branch)
        result.take(branch, across, 0.0)
        result.entries += moved(branch.entries, across)
    return result


def _columns(branches: Sequence[Piece]) -> list[float]:
    """Where the axes of branches stand, in order."""
    axes: list[float] = []
    edge = 0.0
    for branch in branches:
        low, high = branch.extent()
        axes.append(edge - low)
        edge += high - low + BRANCHES_APART
    if not axes:
        return []
    weights = sorted((branch.weight for branch in branches), reverse=True)
    if len(weights) == 1 or weights[0] >= 2 * weights[1]:
        middle = axes[max(range(len(axes)), key=lambda i: branches[i].weight)]
    else:
        middle = (axes[(len(axes) - 1) // 2] + axes[len(axes) // 2]) / 2
    return [axis - middle for axis in axes]


def _add_rails(piece: Piece, rails: Sequence[Link]) -> None:
    """Lines beside all else; the first on the right, the third on the left, and so on."""
    low, high = piece.extent()
    empty = not piece.items
    for number, link in enumerate(rails):
        if empty:
            across, empty = 0.0, False
            low = high = 0.0
        elif number % 4 < 2:
            high += RAILS_APART if number else RAIL_APART
            across = high
        else:
            low -= RAIL_APART if number == 2 else RAILS_APART
            across = low
        if piece.length:
            piece.wires.append(Wire(link, [(across, 0.0), (across, piece.length)]))
        piece.entries.append(End(link, across, rail=True))
        piece.exits.append(End(link, across, rail=True))


def _free_place(piece: Piece, branch: Piece) -> float:
    """How far to move a branch until it is clear of a piece, to whichever side is nearer."""
    taken, own = piece.rectangles(), branch.rectangles()
    right = left = 0.0
    for x0, x1, y0, y1 in own:
        for u0, u1, v0, v1 in taken:
            if y0 < v1 + BRANCHES_APART and v0 < y1 + BRANCHES_APART:
                right = max(right, u1 - x0 + BRANCHES_APART)
                left = min(left, u0 - x1 - BRANCHES_APART)
    return right if right <= -left else left
