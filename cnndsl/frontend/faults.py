"""Wrong values: told where they are written, unless what they are used for may be the mistake."""

from __future__ import annotations

from cnndsl.diagnostics import Label, Span
from cnndsl.frontend import syntax
from cnndsl.frontend.origins import short, walk
from cnndsl.frontend.problems import Problem
from cnndsl.frontend.scope import Origin, Scope, written
from cnndsl.frontend.values import LARGEST, is_number

#: The mistakes of a value by itself.
OF_A_VALUE = frozenset({"E0201", "E0405", "E0406", "E0407"})


def tell_at_origin(problem: Problem, step: syntax.Step, scope: Scope, well: bool) -> bool:
    """Move the report of a wrong value from the name that stands for it to where it is written.

    That is done where the value is at fault: it is a number that nothing could take, or the step
    took another before (`well`), or those beside it in a list are of another kind. Otherwise the
    step may as well have the wrong name.
    """
    used = problem.label
    name = _only_name(used.span, step)
    if problem.code not in OF_A_VALUE or name is None or scope.origin(name.id) is None:
        return False
    if problem.code == "E0201" and problem.argument is None:
        return False
    origin, value = written(name, scope), scope.find(name.id)
    if origin.scope is None or not _constant(origin.expression, origin.scope):
        return False
    if not (well or _impossible(problem, value) or _odd(origin)):
        return False
    problem.label = Label(origin.expression.span, used.text and f"used as {used.text}")
    here = Label(used.span, f"`{name.id}` is {short(value)}")
    problem.secondary = (here, *problem.secondary)
    return True


def _only_name(span: Span, step: syntax.Step) -> syntax.Name | None:
    """The name that is all that stands in a span, or in the argument that does."""
    for node in walk(step):
        if isinstance(node, syntax.Argument) and node.span == span:
            return node.value if isinstance(node.value, syntax.Name) else None
        if isinstance(node, syntax.Name) and node.span == span:
            return node
    return None


def _constant(expression: syntax.Expression, scope: Scope) -> bool:
    """Whether an expression, or what it chooses from, is written out: no name has a value."""
    if isinstance(expression, syntax.Conditional):
        return _constant(expression.then, scope) and _constant(expression.otherwise, scope)
    return not any(
        isinstance(node, syntax.Comprehension | syntax.Call)
        or (isinstance(node, syntax.Name) and scope.find(node.id) is not None)
        or (isinstance(node, syntax.Name) and node.id in ("channels", "extent"))
        for node in walk(expression)
    )


def _impossible(problem: Problem, value: object) -> bool:
    """Whether a number could be nowhere what a number is wanted for."""
    too_large = is_number(value) and abs(value) > LARGEST  # type: ignore[arg-type]
    return problem.argument is not None or problem.code == "E0406" or too_large


def _odd(origin: Origin) -> bool:
    """Whether an element is of another kind than all others of its list or column."""
    rows = origin.among.items if origin.among is not None else ()
    if all(row is not origin.expression for row in rows):
        tables = [row.items for row in rows if isinstance(row, syntax.ListLiteral)]
        places = [i for row in tables for i, x in enumerate(row) if x is origin.expression]
        rows = tuple(row[places[0]] for row in tables if places[0] < len(row))
    others = [_kind(row) for row in rows if row is not origin.expression]
    return bool(others) and _kind(origin.expression) not in others


def _kind(expression: syntax.Expression) -> object:
    return type(expression), isinstance(expression, syntax.Literal) and type(expression.value)
