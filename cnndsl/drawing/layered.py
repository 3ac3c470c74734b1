"""Lays out what is neither a chain nor branches: in rows, with columns that keep lines straight."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

from cnndsl.drawing.channel import Crossing, route
from cnndsl.drawing.pieces import (
    BRANCHES_APART,
    RAILS_APART,
    End,
    Item,
    Key,
    Link,
    Piece,
    Wire,
)

SWEEPS: Final = 12


@dataclass(eq=False)
class _Place:
    """An item in its row, or a point where a long line passes the row (no item)."""

    row: int
    item: Item | None = None
    column: _Column | None = None

    def span(self) -> tuple[float, float]:
        """What it takes, relative to its axis."""
        if self.item is None:
            return 0.0, 0.0
        return -self.item.axis, self.item.across - self.item.axis

    def enters(self, link: Link) -> float:
        """Where a link enters it, across."""
        offset = self.item.ins.get(link.value, 0.0) if self.item is not None else 0.0
        return _column_of(self).across + offset

    def leaves(self, link: Link) -> float:
        """Where a link leaves it, across."""
        offset = self.item.outs.get(link.value, 0.0) if self.item is not None else 0.0
        return _column_of(self).across + offset


@dataclass(eq=False)
class _Column:
    """Places in successive rows that stand straight below each other."""

    places: list[_Place]
    across: float = 0.0
    neighbours: list[_Column] = field(default_factory=list)

    @property
    def weight(self) -> int:
        return sum(place.item.weight for place in self.places if place.item is not None)


def layered(keys: Sequence[Key], links: Sequence[Link], items: Mapping[Key, Item]) -> Piece:
    """Items, which stand in a topological order, and their lines, those from and to outside too."""
    rows = _rows(keys, links)
    last = max(rows.values())
    places = {key: _Place(rows[key], items[key]) for key in keys}
    ways = dict(_ways(links, places, last))
    columns = _columns(places, ways)
    _order(columns)
    _spread(columns, last + 1)
    return _drawn(places, ways, last)


def _rows(keys: Sequence[Key], links: Sequence[Link]) -> dict[Key, int]:
    """Each item's row: below all that it reads."""
    rows = dict.fromkeys(keys, 0)
    sources: dict[Key, list[Key]] = {}
    for link in links:
        if link.source in rows and link.target in rows:
            sources.setdefault(link.target, []).append(link.source)
    for key in keys:
        rows[key] = max((rows[source] + 1 for source in sources.get(key, [])), default=0)
    return rows


def _ways(
    links: Sequence[Link], places: Mapping[Key, _Place], last: int
) -> Iterator[tuple[Link, list[_Place]]]:
    """For each link the places that it passes; lines of one value from one item share theirs."""
    shared: dict[tuple[Key, object], list[_Place]] = {}
    for link in links:
        source, target = places.get(link.source), places.get(link.target)
        start = source.row + 1 if source is not None else 0
        stop = target.row if target is not None else last + 1
        if source is None:
            between = [_Place(row) for row in range(start, stop)]
        else:
            between = shared.setdefault((link.source, link.value), [])
            between.extend(_Place(row) for row in range(start + len(between), stop))
        ends = [source] if source is not None else []
        yield link, [*ends, *between[: stop - start], *([target] if target is not None else [])]


def _columns(places: Mapping[Key, _Place], ways: Mapping[Link, Sequence[_Place]]) -> list[_Column]:
    """Columns of places: long lines first, then the longest chains of items."""
    steps = {(a, b): None for way in ways.values() for a, b in pairwise(way)}
    above, below = _chain_lengths(_all(places, ways), steps)

    def value(step: tuple[_Place, _Place]) -> tuple[int, int]:
        first, second = step
        points = (first.item is None) + (second.item is None)
        if points == 2:
            return 2, 0
        return (1 if points == 0 else 0), above[first] + below[second]

    following: dict[_Place, _Place] = {}
    taken: set[_Place] = set()
    for first, second in sorted(steps, key=value, reverse=True):
        if first not in following and second not in taken:
            following[first] = second
            taken.add(second)
    columns = []
    for place in _all(places, ways):
        if place not in taken:
            chain = [place]
            while chain[-1] in following:
                chain.append(following[chain[-1]])
            columns.append(_Column(chain))
            for member in chain:
                member.column = columns[-1]
    for first, second in steps:
        one, other = _column_of(first), _column_of(second)
        if one is not other:
            one.neighbours.append(other)
            other.neighbours.append(one)
    return columns


def _chain_lengths(
    everything: Iterable[_Place], steps: Mapping[tuple[_Place, _Place], None]
) -> tuple[dict[_Place, int], dict[_Place, int]]:
    """The most items on a way that ends, and on one that begins, at a place."""
    above = {place: int(place.item is not None) for place in everything}
    below = dict(above)
    for first, second in sorted(steps, key=lambda step: step[0].row):
        above[second] = max(above[second], above[first] + int(second.item is not None))
    for first, second in sorted(steps, key=lambda step: -step[0].row):
        below[first] = max(below[first], below[second] + int(first.item is not None))
    return above, below


def _order(columns: list[_Column]) -> None:
    """Put columns that lines join near each other, by swaps of neighbours."""
    columns.sort(key=lambda column: -column.weight)
    arranged: list[_Column] = []
    for number, column in enumerate(columns):
        arranged.insert(len(arranged) if number % 2 == 0 else 0, column)
    for _ in range(4 * len(arranged)):
        place = {column: index for index, column in enumerate(arranged)}
        swapped = False
        for index in range(len(arranged) - 1):
            left, right = arranged[index], arranged[index + 1]
            gain = _pull(left, place, index) - _pull(right, place, index + 1)
            if gain > 2 * left.neighbours.count(right):
                arranged[index], arranged[index + 1] = right, left
                place[left], place[right] = index + 1, index
                swapped = True
        if not swapped:
            break
    columns[:] = arranged


def _pull(column: _Column, place: Mapping[_Column, int], index: int) -> int:
    """How many more lines lead from a column to the right than to the left."""
    return sum(1 if place[other] > index else -1 for other in column.neighbours)


def _spread(columns: Sequence[_Column], rows: int) -> None:
    """Choose where columns stand: in their order, apart, and near what lines join them to."""
    order: list[list[_Place]] = [[] for _ in range(rows)]
    for column in columns:
        if column.places[-1].item is None and column.places[-1].row + 1 < rows:
            # Nothing begins right below a long line, where it turns away.
            column.places.append(_Place(column.places[-1].row + 1, None, column))
        for place in column.places:
            order[place.row].append(place)
    for column in columns:
        column.across = max(_room(column, order, -1), 0.0)
    for sweep in range(SWEEPS):
        for column in columns if sweep % 2 else list(reversed(columns)):
            if column.neighbours:
                wished = sorted(other.across for other in column.neighbours)
                middle = (wished[(len(wished) - 1) // 2] + wished[len(wished) // 2]) / 2
                low, high = _room(column, order, -1), _room(column, order, 1)
                column.across = min(max(middle, low), high)


def _room(column: _Column, order: Sequence[Sequence[_Place]], side: int) -> float:
    """How far a column may move to the left (-1) or right (1) before it meets another."""
    bound = float("inf") * side
    for place in column.places:
        row = order[place.row]
        index = row.index(place) + side
        if not 0 <= index < len(row):
            continue
        other = row[index]
        across = _column_of(other).across
        gap = RAILS_APART if place.item is None and other.item is None else BRANCHES_APART
        if side < 0:
            bound = max(bound, across + other.span()[1] + gap - place.span()[0])
        else:
            bound = min(bound, across + other.span()[0] - gap - place.span()[1])
    return bound


def _drawn(places: Mapping[Key, _Place], ways: Mapping[Link, Sequence[_Place]], last: int) -> Piece:
    """The piece: rows one below the other, and lines through the space between them."""
    trunk = max((_column_of(place) for place in places.values()), key=lambda c: c.weight)
    for column in {id(c): c for c in map(_column_of, _all(places, ways))}.values():
        if column is not trunk:
            column.across -= trunk.across
    trunk.across = 0.0
    heights = [0.0] * (last + 1)
    for place in places.values():
        assert place.item is not None
        heights[place.row] = max(heights[place.row], place.item.along)
    rows: list[list[tuple[Link, _Place, _Place | None]]] = [[] for _ in heights]
    for link, way in ways.items():
        for place, following in zip(way, [*way[1:], None], strict=True):
            rows[place.row].append((link, place, following))
    result = Piece()
    wires = {link: Wire(link, []) for link in ways}
    tops = []
    for row, height in zip(rows, heights, strict=True):
        tops.append(result.length)
        _pass_row(result, wires, row, height, places)
        result.length += height
        if len(tops) <= last:
            crossing = [
                Crossing(link, place.leaves(link), following.enters(link))
                for link, place, following in row
                if following is not None
            ]
            space, paths = route(crossing)
            for link, path in paths.items():
                wires[link].points += [(x, y + result.length) for x, y in path]
            result.length += space
    for place in places.values():
        assert place.item is not None
        result.items.append((place.item, _column_of(place).across, tops[place.row]))
    for link, wire in wires.items():
        target = places.get(link.target)
        wire.arrow = target is not None and target.item is not None and target.item.is_box
        if len(wire.points) > 1:
            result.wires.append(wire)
    return result


def _pass_row(
    result: Piece,
    wires: Mapping[Link, Wire],
    row: Sequence[tuple[Link, _Place, _Place | None]],
    height: float,
    places: Mapping[Key, _Place],
) -> None:
    """The lines' way past a row, and where they enter and leave the piece."""
    top = result.length
    for link, place, following in row:
        here = place.item.key if place.item is not None else None
        if place.item is None or here != link.target:
            x = place.leaves(link)
            start = top if place.item is None else top + place.item.along
            wires[link].points += [(x, start), (x, top + height)]
        if top == 0.0 and link.source not in places:
            is_box = place.item is not None and place.item.is_box
            result.entries.append(End(link, place.enters(link), is_box, rail=place.item is None))
        if following is None and link.target not in places:
            result.exits.append(End(link, place.leaves(link), rail=place.item is None))


def _column_of(place: _Place) -> _Column:
    assert place.column is not None
    return place.column


def _all(places: Mapping[Key, _Place], ways: Mapping[Link, Sequence[_Place]]) -> dict[_Place, None]:
    """Every place, each once."""
    found = dict.fromkeys(place for way in ways.values() for place in way)
    found.update(dict.fromkeys(places.values()))
    return found
