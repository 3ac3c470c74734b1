"""Aligns what stands below one another in consecutive lines."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from cnndsl.frontend.layout import Line
from cnndsl.frontend.words import Word

#: A column of arguments is aligned if no cell has to move further than this.
FURTHEST = 12

#: The words of a cell: from the first place to the last, exclusive.
Cell = tuple[int, int]


def align(lines: Sequence[Line]) -> None:
    """Align tables, variants, settings, proofs, steps of the same name, claims and comments."""
    for run in _runs(lines, lambda a, b: a.frame == b.frame, _is_row, through_blanks=True):
        _columns([(row, cells(row, 1)) for row in run], furthest=None)
    for run in _runs(lines, lambda a, b: True, _is_variant):
        _at_one_column([(line, 2) for line in run])
    for run in _runs(lines, lambda a, b: a.words[3].text == b.words[3].text, _is_variant):
        _columns([(line, cells(line, 5)) for line in run], furthest=FURTHEST)
    for run in _runs(lines, lambda a, b: a.frame == b.frame, _is_step, through_blanks=True):
        ...
