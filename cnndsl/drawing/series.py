"""Puts pieces one after the other, with the lines between them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from cnndsl.drawing.channel import Crossing, route
from cnndsl.drawing.pieces import End, Item, Piece, Wire

#: A line beside a box turns into its side if it is at least this far away.
SIDE: Final = 8.0


def series(pieces: Sequence[Piece]) -> Piece:
    """Pieces one after the other; every line that leaves one enters the next.

    A line that passes all branches by enters the box behind them from its side.
    """
    result = Piece(entries=list(pieces[0].entries))
    before: Piece | None = None
    for piece in pieces:
        if before is not None:
            _connect(result, before, piece)
        result.take(piece, 0.0, result.length)
        result.length += piece.length
        before = piece
    result.exits = list(pieces[-1].exits)
    return result


def _connect(result: Piece, before: Piece, after: Piece) -> None:
    """Lay the lines between two pieces, and leave `length` where the second begins."""
    exits = {end.link: end for end in before.exits}
    pairs = [(exits[end.link], end) for end in after.entries if end.link in exits]
    box = _only_box(after)
    sides = _side_lines(pairs, box) if box is not None else []
    crossing = [pair for pair in pairs if pair not in sides]
    height, paths = route([Crossing(a.link, a.across, b.across) for a, b in crossing])
    top = result.length
    for _, end in crossing:
        points = [(x, y + top) for x, y in paths[end.link]]
        result.wires.append(Wire(end.link, points, end.arrow))
    result.length += height
    if box is not None:
        _enter_sides(result, sides, box, top)


def _only_box(piece: Piece) -> Item | None:
    items = piece.items
    return items[0][0] if len(items) == 1 and items[0][0].is_box else None


def _side_lines(pairs: Sequence[tuple[End, End]], box: Item) -> list[tuple[End, End]]:
    """The lines that come from beside the box, unless nothing else enters it."""
    reach = box.across / 2 + SIDE
    found = [pair for pair in pairs if pair[0].rail and abs(pair[0].across) >= reach]
    return found if len(found) < len(pairs) else []


def _enter_sides(result: Piece, sides: Sequence[tuple[End, End]], box: Item, top: float) -> None:
    """Lines into both sides of a box, the nearest highest, so that none crosses another."""
    for sign in (1, -1):
        here = sorted((start.across for start, _ in sides if start.across * sign > 0), key=abs)
        for start, _ in sides:
            if start.across * sign <= 0:
                continue
            share = (here.index(start.across) + 1) / (len(here) + 1)
            down = result.length + box.along * share
            points = [(start.across, top), (start.across, down), (sign * box.across / 2, down)]
            result.wires.append(Wire(start.link, points, arrow=True))
