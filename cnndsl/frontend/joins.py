"""Joins: branches that meet again; the sugar over them is in `bodies` and `residual`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from cnndsl.diagnostics import Label, Span
from cnndsl.frontend import syntax
from cnndsl.frontend.bodies import (
    aux,
    body_of,
    changes,
    dense,
    extent_of,
    gate,
    no_arguments,
    stray,
)
from cnndsl.frontend.problems import Poisoned, Problem
from cnndsl.frontend.residual import residual
from cnndsl.frontend.scope import Scope
from cnndsl.frontend.values import UNKNOWN
from cnndsl.graph.graph import Node, Value
from cnndsl.graph.op import Op
from cnndsl.ops.merge import Add, Concat, Multiply

if TYPE_CHECKING:
    from cnndsl.frontend.steps import Elaborator


def branches(make: Callable[[], Op]) -> Callable[[Elaborator, syntax.Layer, Scope], None]:
    """The rule of `concat`, `add` and `mul`."""

    def rule(e: Elaborator, step: syntax.Layer, scope: Scope) -> None:
        no_arguments(step)
        body = body_of(step)
        start = e.current
        first_new = e.graph._next
        ends: list[tuple[Any, Span]] = []
        _collect(e, body, scope, start, ends)
        if not ends:
            raise Problem(
                "E0412",
                f"`{step.name.id}` has no branches",
                step.name.span,
                help="put a `|` before each branch",
            )
        if any(value is UNKNOWN for value, _ in ends):
            raise Poisoned
        try:
            name = e.segment(step, step.name.id)
            e.current = e.apply(make(), tuple(value for value, _ in ends), step.span, name)
        except Problem as problem:
            if problem.code != "E0202":
                raise
            labels = tuple(Label(span, f"this branch leaves {v.type}") for v, span in ends[:8])
            labels += changes(
                e,
                body,
                first_new,
                extents=len({value.type.extent for value, _ in ends}) > 1,
                channels=step.name.id != "concat",
            )
            raise Problem(
                "E0202",
                problem.message,
                step.name.span,
                f"every branch starts from {start.type}",
                secondary=labels,
                help=problem.help,
            ).told_at(_at_fault(e, step, ends, first_new)) from None

    return rule


def _at_fault(
    e: Elaborator, step: syntax.Layer, ends: list[tuple[Value, Span]], first_new: Node
) -> Span | None:
    """Where one of three or more branches comes to differ from all others, which agree."""
    odd = _odd(step, [value for value, _ in ends])
    if odd is None:
        return None
    value, span = ends[odd]
    other = ends[odd - 1][0].type
    extents = value.type.features[:-1] != other.features[:-1]

    def fits(v: Value) -> bool:
        if extents:
            return v.type.features[:-1] == other.features[:-1]
        return v.type.channels != value.type.channels

    return stray(e, body_of(step), first_new, value, fits) or span


def _odd(step: syntax.Layer, values: list[Value]) -> int | None:
    """Which of three or more values has another shape than all others; `concat` adds channels."""
    shapes = [v.type.features[:-1] if step.name.id == "concat" else v.type.features for v in values]
    alone = [i for i, shape in enumerate(shapes) if shapes.count(shape) == 1]
    return alone[0] if len(shapes) > 2 and len(alone) == 1 and len(set(shapes)) == 2 else None


def _collect(
    e: Elaborator, body: syntax.Body, scope: Scope, start: Value, ends: list[tuple[Any, Span]]
) -> None:
    """The values that the branches of a body leave; `for` and `if` may make branches."""
    _group(e, body.steps, None, scope, start, ends)
    for branch in body.branches:
        _group(e, branch.steps, branch, scope, start, ends)


def _group(
    e: Elaborator,
    steps: tuple[syntax.Step, ...],
    branch: syntax.Branch | None,
    scope: Scope,
    start: Value,
    ends: list[tuple[Any, Span]],
) -> None:
    """One branch's steps, and the loops and choices after them that make more branches."""
    makers = [step for step in steps if makes_branches(step)]
    plain = tuple(step for step in steps if not makes_branches(step))
    if makers and plain and steps.index(makers[0]) < len(plain):
        late = next(s for s in steps[steps.index(makers[0]) :] if not makes_branches(s))
        raise Problem("E0412", "a step after branches: put a `|` before it", late.span)
    e.current = start
    if branch is not None:
        e.steps(plain, scope.inner())
        ends.append((e.current, extent_of(plain) or branch.span))
    elif plain:
        _shared_lets(e, plain, scope)
    for step in makers:
        _branching(e, step, scope, start, ends)


def _shared_lets(e: Elaborator, steps: tuple[syntax.Step, ...], scope: Scope) -> None:
    """Before the first `|` only `let`s make sense."""
    for step in steps:
        if not isinstance(step, syntax.Let):
            raise Problem("E0412", "a step before the first branch: put a `|` before it", step.span)
        e.let(step, scope)


def _branching(
    e: Elaborator, step: syntax.Step, scope: Scope, start: Value, ends: list[tuple[Any, Span]]
) -> None:
    e.current = start
    if isinstance(step, syntax.For):
        for inner in e.iterations(step, scope):
            _collect(e, step.body, inner, start, ends)
            e.current = start
    elif isinstance(step, syntax.If):
        chosen = step.then if e.evaluator.truth(step.condition, scope) else step.otherwise
        if chosen is not None:
            _collect(e, chosen, scope.inner(), start, ends)


def makes_branches(step: syntax.Step) -> bool:
    """Whether a `for` or an `if` has branches in its body."""
    if isinstance(step, syntax.For):
        return _has_branches(step.body)
    if isinstance(step, syntax.If):
        return _has_branches(step.then) or (
            step.otherwise is not None and _has_branches(step.otherwise)
        )
    return False


def _has_branches(body: syntax.Body) -> bool:
    return bool(body.branches) or any(map(makes_branches, body.steps))


JOIN_RULES: dict[str, Callable[[Any, syntax.Layer, Scope], None]] = {
    "concat": branches(Concat),
    "add": branches(Add),
    "mul": branches(Multiply),
    "residual": residual,
    "dense": dense,
    "gate": gate,
    "aux": aux,
}
