"""Aligns what stands below one another in consecutive lines."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from cnndsl.frontend.layout import Line
from cnndsl.frontend.newlines import CLOSERS, OPENERS

#: Steps are aligned if nothing has to move further than this.
FURTHEST = 12

#: The words of an argument or an element: from the first place to the last, exclusive.
Cell = tuple[int, int]


def align(lines: Sequence[Line]) -> None:
    """Align tables, variants, settings, proofs, steps of one name, claims and comments."""
    for table in _frames(lines, _is_row):
        _columns([(row, _cells(row, 1)) for row in table], furthest=None)
    for run in _runs(lines, _is_variant, lambda a, b: True):
        _at_one_column([(line, 2) for line in run])
    for run in _runs(lines, _is_variant, lambda a, b: a.words[3].text == b.words[3].text):
        _columns([(line, _cells(line, 5)) for line in run], furthest=FURTHEST, to_the_right=False)
    for settings in _frames(lines, lambda line: line.item == "_TRAIN" and line.role == "step"):
        _at_one_column([(line, 1) for line in settings])
    for proofs in _frames(lines, _is_plain_proof):
        _at_one_column([(line, 1) for line in proofs])
        _at_one_column([(line, 2) for line in proofs])
    _align_steps(_whole(lines))
    for run in _runs(lines, _may_claim, lambda a, b: a.frame == b.frame):
        claims = [(line, place) for line in run if (place := _claim(line))]
        _at_one_column(claims, apart=2)
    for run in _runs(lines, lambda line: line.role != "comment", lambda a, b: a.frame == b.frame):
        commented = [line for line in run if line.comment]
        furthest = max((line.width for line in commented), default=0)
        for line in commented:
            line.apart = furthest - line.width + 2


def _align_steps(lines: Sequence[Line]) -> None:
    """Align calls with numbers through their body, and neighbours that do alike."""
    in_columns = []
    for calls in _calls_with_numbers(lines):
        _columns([(line, _arguments(line)) for line in calls], furthest=None)
        in_columns += calls
    for run in _runs(lines, lambda line: bool(_arguments(line)), _go_on):
        rest = [line for line in run if line not in in_columns]
        if rest == run and _columns([(line, _arguments(line)) for line in run], furthest=FURTHEST):
            _arrows(run, range(1))
    for run in _runs(lines, lambda line: line.role in ("step", "branch"), _same_chain):
        longest = max(len(line.words) for line in run)
        _arrows(run, range(1, longest))


# Which lines belong together ---------------------------------------------------------------------


def _runs(
    lines: Sequence[Line], wanted: Callable[[Line], bool], alike: Callable[[Line, Line], bool]
) -> Iterator[list[Line]]:
    """The wanted lines that stand directly below one another and are alike."""
    run: list[Line] = []
    for line in lines:
        if run and not (wanted(line) and not line.blank and alike(run[-1], line)):
            yield run
            run = []
        if wanted(line):
            run.append(line)
    if run:
        yield run


def _frames(lines: Sequence[Line], wanted: Callable[[Line], bool]) -> Iterable[list[Line]]:
    """The wanted lines of each pair of brackets."""
    found: dict[int, list[Line]] = {}
    for line in lines:
        if wanted(line):
            found.setdefault(line.frame, []).append(line)
    return found.values()


def _types(line: Line) -> list[str]:
    return [word.type for word in line.words]


def _is_row(line: Line) -> bool:
    """Whether this is the whole row of a table."""
    types = _types(line)
    return line.role == "row" and types[0] == "_LSQB" and _end(types, 1) >= len(types) - 2


def _is_variant(line: Line) -> bool:
    types = _types(line)
    return types[:3] == ["_MODEL", "NAME", "_EQUALS"] and _end(types, 5) == len(types) - 1


def _is_plain_proof(line: Line) -> bool:
    return line.item == "_EXPECT" and line.role == "step" and line.words[1].type != "_OF"


def _whole(lines: Sequence[Line]) -> list[Line]:
    """The lines that do not go on in the next."""
    following = [line.role for line in [*lines[1:], *lines[:1]]]
    return [line for line, role in zip(lines, following, strict=True) if role != "more"]


def _calls_with_numbers(lines: Sequence[Line]) -> Iterable[list[Line]]:
    """Calls in one body with one name and equally many arguments, which are numbers: a table."""
    found: dict[tuple[int, str, int], list[Line]] = {}
    for line in lines:
        cells = _arguments(line)
        if len(cells) > 1 and all(_is_number(line, cell) for cell in cells):
            key = (line.frame, line.words[_name(line)].text, len(cells))
            found.setdefault(key, []).append(line)
    return [calls for calls in found.values() if len(calls) > 1]


def _go_on(above: Line, line: Line) -> bool:
    """Whether the second goes on with a step of the same name, in the same branch."""
    if above.frame != line.frame or line.role != "step":
        return False
    return above.words[_name(above)].text == line.words[0].text


def _same_chain(above: Line, line: Line) -> bool:
    """Whether the second goes on with the same steps in the same order, in the same branch."""
    if above.frame != line.frame or line.role != "step":
        return False
    chains = [[word.text for word in x.words if word.begins] for x in (above, line)]
    return chains[0][_name(above) :] == chains[1] and "_LBRACE" not in _types(line)


def _name(line: Line) -> int:
    return 1 if line.role == "branch" else 0


def _may_claim(line: Line) -> bool:
    return line.role in ("step", "branch") and not line.words[-1].opens


# Columns -----------------------------------------------------------------------------------------


def _end(types: Sequence[str], place: int) -> int:
    """The first closer from `place` on that closes what was opened before it; else the end."""
    depth = 0
    for at in range(place, len(types)):
        depth += (types[at] in OPENERS) - (types[at] in CLOSERS)
        if depth < 0:
            return at
    return len(types)


def _cells(line: Line, place: int, ends: frozenset[str] = frozenset()) -> list[Cell]:
    """What commas part from `place` on, up to the closer, or one of `ends` outside brackets."""
    types = _types(line)
    stop = _end(types, place)
    cells: list[Cell] = []
    begun, depth = place, 0
    for at in range(place, stop):
        if depth == 0 and types[at] in ends:
            stop = at
            break
        if depth == 0 and types[at] == "_COMMA":
            cells.append((begun, at))
            begun = at + 1
        depth += (types[at] in OPENERS) - (types[at] in CLOSERS)
    return [*cells, (begun, stop)] if begun < stop else cells


_AFTER_ARGUMENTS = frozenset({"_ARROW", "_AS", "_COLON"})


def _arguments(line: Line) -> list[Cell]:
    """The arguments of the step that begins a line, if it is a layer's and has no body."""
    name = _name(line)
    types = _types(line)
    if line.role not in ("step", "branch") or line.item not in ("_MODEL", "_BLOCK"):
        return []
    if types[name : name + 1] != ["NAME"] or "_LBRACE" in types or "_RBRACE" in types:
        return []
    return _cells(line, name + 1, _AFTER_ARGUMENTS)


def _claim(line: Line) -> int:
    """The place of the `:` of a claim that ends the line, or 0."""
    depth = found = 0
    for place, type_ in enumerate(_types(line)):
        if depth == 0 and type_ in ("_COLON", "_ARROW"):
            found = place if type_ == "_COLON" else 0
        depth += (type_ in OPENERS) - (type_ in CLOSERS)
    return found


def _arrows(run: Sequence[Line], which: range) -> None:
    """Align these `->` of each line, counted from its first, unless one had to move too far."""
    places = [[k for k, type_ in enumerate(_types(line)) if type_ == "_ARROW"] for line in run]
    for arrow in which:
        at = [(line, p[arrow]) for line, p in zip(run, places, strict=True) if arrow < len(p)]
        starts = [line.start(place) for line, place in at]
        if not starts or max(starts) - min(starts) > FURTHEST:
            return
        _at_one_column(at)


def _columns(
    rows: Sequence[tuple[Line, list[Cell]]], *, furthest: int | None, to_the_right: bool = True
) -> bool:
    """Align cells below one another, numbers to the right; False at a column too ragged for it.

    Where a position, a stride and a name meet in a column, it and those behind it stay apart.
    """
    for column in range(max((len(cells) for _, cells in rows), default=0)):
        having = [(line, cells) for line, cells in rows if column < len(cells)]
        if len({_kind(line, cells[column]) for line, cells in having}) > 1:
            return True
        numbers = to_the_right and all(_is_number(line, cells[column]) for line, cells in having)
        widths = [_width(line, cells[column]) for line, cells in having]
        if not numbers:
            having = [(line, cells) for line, cells in having if column + 1 < len(cells)]
            widths = [_width(line, cells[column]) for line, cells in having]
        if furthest is not None and widths and max(widths) - min(widths) > furthest:
            return False
        for (line, cells), width in zip(having, widths, strict=True):
            moved = cells[column if numbers else column + 1][0]
            line.spaces[moved] += max(widths) - width
    return True


def _width(line: Line, cell: Cell) -> int:
    """A cell's width, without the spaces before it."""
    return line.start(cell[1]) - line.start(cell[0]) - line.spaces[cell[0]]


def _kind(line: Line, cell: Cell) -> str:
    """What an argument is told by: its name, the `/` of a stride, or its place."""
    first, *more = line.words[cell[0] : cell[1]]
    if more and more[0].type == "_EQUALS":
        return first.text
    return "/" if first.type == "SLASH" else ""


def _is_number(line: Line, cell: Cell) -> bool:
    return cell[1] - cell[0] == 1 and line.words[cell[0]].type in ("INTEGER", "DECIMAL")


def _at_one_column(places: Sequence[tuple[Line, int]], apart: int = 1) -> None:
    """Let these words begin at one column, the leftmost that has room for all."""
    furthest = max((line.start(place) for line, place in places), default=0)
    for line, place in places:
        line.spaces[place] = furthest + apart - line.start(place)
