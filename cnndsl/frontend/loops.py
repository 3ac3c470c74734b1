"""Loops over lists, ranges and tables: what their names mean, element by element."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from cnndsl.diagnostics import Label
from cnndsl.frontend import syntax
from cnndsl.frontend.problems import Problem, bound_twice
from cnndsl.frontend.scope import Origin, Scope, written
from cnndsl.frontend.values import describe

if TYPE_CHECKING:
    from cnndsl.frontend.expressions import Evaluator


def rows(
    e: Evaluator, names: tuple[syntax.Name, ...], iterable: syntax.Expression, scope: Scope
) -> Iterator[tuple[int, dict[str, Any]]]:
    """For each element of a list or range its index and what the loop's names mean.

    As many names as columns take a row apart; one more in front is the index; over plain
    values two names are index and value.
    """
    value = e.evaluate(iterable, scope)
    if not isinstance(value, list | range):
        raise Problem(
            "E0405",
            f"a list or a range is wanted here, this is {describe(value)}",
            iterable.span,
        )
    words = [name.id for name in names]
    for again in (n for i, n in enumerate(names) if n.id in words[:i]):
        first = next(n for n in names if n.id == again.id)
        raise bound_twice(again.id, again.span, first.span)
    columns = _columns(names, iterable, value, scope)
    for index, element in enumerate(value):
        e.count(iterable)
        row = element if isinstance(element, list) else [element]
        if len(words) == columns:
            yield index, dict(zip(words, row, strict=True))
        elif len(words) == 1:
            yield index, {words[0]: element}
        else:
            yield index, dict(zip(words, [index, *row], strict=True))


def row_origins(
    names: tuple[syntax.Name, ...], iterable: Origin, table: Origin, index: int
) -> dict[syntax.Name, Origin]:
    """What gives each name of a loop its value: its place in a table that is written out.

    `table` is what the loop's iterable was written as.
    """
    if not isinstance(table.expression, syntax.ListLiteral):
        return dict.fromkeys(names, iterable)
    row = table.expression.items[index]
    columns = row.items if isinstance(row, syntax.ListLiteral) and len(names) > 1 else (row,)
    first = len(names) - len(columns)
    if first not in (0, 1):
        return dict.fromkeys(names, iterable)
    here = Origin(row, table.scope) if table.expression is iterable.expression else iterable
    cells = [Origin(cell, table.scope, table.expression) for cell in columns]
    return dict(zip(names, [here, *cells][1 - first :], strict=True))


def _columns(
    names: tuple[syntax.Name, ...],
    iterable: syntax.Expression,
    value: list[Any] | range,
    scope: Scope,
) -> int:
    """How many columns the rows of a loop have; a plain value is a row of one.

    Raises:
        Problem: they have different numbers, or one that does not go with the loop's names.
    """
    if not value:
        return 1
    widths = [len(row) if isinstance(row, list) else 1 for row in value]
    counts = Counter(widths) if isinstance(value, list) else Counter({1: 1})
    wanted = len(names)
    columns = max(counts, key=lambda w: (counts[w], w == wanted, w == wanted - 1), default=1)
    if wanted == 1:
        return columns if len(counts) == 1 else 0
    place = names[0].span.until(names[-1].span)
    shown = f"{columns} column{'s' * (columns != 1)}"
    table = written(iterable, scope).expression
    items = table.items if isinstance(table, syntax.ListLiteral) else ()
    odd = next((i for i, width in enumerate(widths) if width != columns), None)
    if odd is not None:
        raise Problem(
            "E0409",
            f"row {odd} has {widths[odd]} columns, the others have {columns}",
            items[odd].span if items else iterable.span,
            secondary=(Label(place, "these are the names"),),
        )
    if wanted not in (columns, columns + 1):
        raise Problem(
            "E0409",
            f"the loop has {wanted} names, and its rows {shown}",
            place,
            secondary=(Label(items[0].span, f"this row has {shown}"),) if items else (),
            help=f"write as many names as columns, {columns}, or one more in front for the index",
        )
    return columns
