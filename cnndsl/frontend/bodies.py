"""Joins with one body: `dense`, `gate`, `aux`; and what all joins with bodies share."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from cnndsl.diagnostics import Label, Span
from cnndsl.frontend import syntax
from cnndsl.frontend.arguments import Given, evaluate_arguments
from cnndsl.frontend.expressions import rounding
from cnndsl.frontend.problems import Poisoned, Problem
from cnndsl.frontend.scope import Scope
from cnndsl.frontend.values import UNKNOWN, Unfit, real, whole
from cnndsl.graph.graph import Frame, Head, Node, Value
from cnndsl.ops.merge import Concat, Gate

if TYPE_CHECKING:
    from cnndsl.frontend.steps import Elaborator

#: How a layer of other frameworks that has the name of a join is called here.
_TAKEN = {"dense": "a fully connected layer is called `fc` here"}


def body_of(step: syntax.Layer) -> syntax.Body:
    """The body of a join, which must have one."""
    if step.body is None:
        raise Problem(
            "E0411",
            f"`{step.name.id}` wants a body in braces",
            step.name.span,
            help=_TAKEN.get(step.name.id),
        )
    return step.body


def arguments_of(e: Elaborator, step: syntax.Layer, scope: Scope) -> list[Given]:
    """The evaluated arguments of a join."""
    return evaluate_arguments(step.arguments, e.evaluator, scope)


def only_argument(
    e: Elaborator, step: syntax.Layer, scope: Scope, wanted: str, written: str
) -> Given:
    """The one argument that a join has."""
    given = arguments_of(e, step, scope)
    name, help = step.name.id, f"it is written `{written}`"
    for argument in given:
        if argument.name is not None:
            message = f"`{name}` has no argument `{argument.name}`"
            raise Problem("E0401", message, argument.span, help=help)
    if not given:
        raise Problem("E0402", f"`{name}` wants {wanted}", step.name.span, help=help)
    if len(given) > 1:
        raise Problem("E0403", f"too many arguments for `{name}`", given[1].span, help=help)
    return given[0]


def no_arguments(step: syntax.Layer) -> None:
    """Refuse arguments."""
    if step.arguments:
        name = step.name.id
        raise Problem("E0403", f"`{name}` takes no arguments", step.arguments[0].span)


def number(argument: Given, convert: Callable[[object], Any], lowest: float) -> Any:
    """The number that an argument must be."""
    try:
        value = convert(argument.value)
    except Unfit as unfit:
        help = rounding(argument.written) if unfit.code == "E0406" else None
        raise Problem(unfit.code, unfit.message, argument.span, help=help) from None
    if value < lowest:
        raise Problem(
            "E0405", f"at least {lowest:g} is wanted here, this is {value:g}", argument.span
        )
    return value


def through(e: Elaborator, step: syntax.Layer, scope: Scope) -> Value:
    """Elaborate the one body of a join from the current value; what it leaves.

    The body is looked at even where the value that enters is unknown, for the mistakes in it.

    Raises:
        Poisoned: the value that enters or the one that leaves is unknown.
    """
    entry = e.current
    e.body(body_of(step), scope)
    if entry is UNKNOWN or e.current is UNKNOWN:
        raise Poisoned
    assert isinstance(e.current, Value)
    return e.current


# Labels ------------------------------------------------------------------------------------------


def extent_of(steps: tuple[syntax.Step, ...]) -> Span | None:
    """From the first step to the last."""
    return steps[0].span.until(steps[-1].span) if steps else None


def leaves(body: syntax.Body, value: Value) -> tuple[Label, ...]:
    """A label on the last line of a body that says what it leaves."""
    if not body.steps:
        return ()
    line = body.steps[-1].span.line
    first = next(step for step in body.steps if step.span.line == line)
    return (Label(first.span.until(body.steps[-1].span), f"the body leaves {value.type}"),)


def changes(
    e: Elaborator,
    body: syntax.Body,
    first_new: Node,
    *,
    extents: bool = False,
    channels: bool = False,
) -> tuple[Label, ...]:
    """Labels on the steps of a body that change the extent, and on the last that sets channels.

    A step inside a called block is shown at the call.
    """
    found: dict[tuple[int, int], Label] = {}
    widened: Label | None = None
    for node in sorted(n for n in e.graph.net if n >= first_new):
        inputs = e.graph.operands(node)
        span = _place(e, node, body)
        if not inputs or span is None:
            continue
        before, after = inputs[0].type, e.graph.types(node)[0]
        stride = e.graph.op(node).window(before).stride[0]
        key = (span.start, span.end)
        here = _here(e.graph.span(node), span)
        if extents and before.extent != after.extent:
            found[key] = Label(span, f"{before.extent} becomes {after.extent} {here}")
        elif extents and stride != 1:
            found[key] = Label(span, f"the stride is {stride} {here}")
        if channels and before.channels != after.channels:
            widened = Label(span, f"the channels become {after.channels} {here}")
    if widened is not None:
        found.setdefault((widened.span.start, widened.span.end), widened)
    return tuple(found.values())


def stray(
    e: Elaborator,
    body: syntax.Body,
    first_new: Node,
    value: Value,
    fits: Callable[[Value], bool],
) -> Span | None:
    """The last step on the way to a value that takes one that fits and leaves one that does not."""
    while value.node >= first_new and (inputs := e.graph.operands(value.node)):
        if fits(inputs[0]):
            return _place(e, value.node, body)
        value = inputs[0]
    return None


def _here(place: Span | None, shown: Span) -> str:
    """Where a change is made: at the label, or in a block that is called there."""
    if place is None or place == shown:
        return "here"
    if place.source is not shown.source:
        return f"in {place.source.name}, line {place.line}"
    return f"in line {place.line}"


def _place(e: Elaborator, node: Node, body: syntax.Body) -> Span | None:
    """Where in a body a node stands, or the call in it that leads to the node."""
    calls: tuple[Frame, ...] = e.graph.attributes(node)["calls"]
    places = [e.graph.span(node), *(frame.span for frame in calls)]
    return next((span for span in places if span is not None and _within(span, body.span)), None)


def _within(span: Span, outer: Span) -> bool:
    return span.source is outer.source and outer.start <= span.start < outer.end


# Rules -------------------------------------------------------------------------------------------


def dense(e: Elaborator, step: syntax.Layer, scope: Scope) -> None:
    """`dense n { body }`: n times x = concat(x, body(x))."""
    body = body_of(step)
    given = only_argument(e, step, scope, "how many times", "dense 6 { … }")
    times = number(given, whole, 0)
    name = e.segment(step, "dense")
    for ordinal in range(times):
        entry, first_new = e.current, e.graph._next
        e.path.append(f"{name}.{ordinal}")
        try:
            value = through(e, step, scope)
            if not _same_extent(value, entry):
                at = stray(e, body, first_new, value, lambda v: _same_extent(v, entry))  # noqa: B023
                raise Problem(
                    "E0206",
                    "the body of `dense` changes the extent",
                    step.name.span,
                    f"the value that enters is {entry.type}",
                    secondary=(
                        *changes(e, body, first_new, extents=True),
                        *leaves(body, value),
                    ),
                ).told_at(at)
            e.current = e.apply(Concat(), (entry, value), step.name.span, "concat")
        finally:
            e.path.pop()


def gate(e: Elaborator, step: syntax.Layer, scope: Scope) -> None:
    """`gate { body }`: the value times body(value)."""
    no_arguments(step)
    entry, first_new = e.current, e.graph._next
    value = through(e, step, scope)
    try:
        e.current = e.apply(Gate(), (entry, value), step.name.span, e.segment(step, "gate"))
    except Problem as problem:
        body = body_of(step)
        extents = value.type.extent not in (entry.type.extent, (1, 1))
        raise Problem(
            "E0205",
            problem.message,
            step.name.span,
            f"the value that enters is {entry.type}",
            secondary=(
                *changes(
                    e,
                    body,
                    first_new,
                    extents=extents,
                    channels=value.type.channels != entry.type.channels,
                ),
                *leaves(body, value),
            ),
            help=problem.help,
        ).told_at(
            stray(
                e,
                body,
                first_new,
                value,
                lambda v: _same_extent(v, entry) if extents else not _same_channels(v, value),
            )
        ) from None


def _same_extent(value: Value, other: Value) -> bool:
    return value.type.features[:-1] == other.type.features[:-1]


def _same_channels(value: Value, other: Value) -> bool:
    return value.type.channels == other.type.channels


def aux(e: Elaborator, step: syntax.Layer, scope: Scope) -> None:
    """`aux weight { body }`: a side head whose loss counts `weight`; the value stays."""
    body_of(step)
    given = only_argument(e, step, scope, "the weight of its loss", "aux 0.3 { … }")
    weight = number(given, real, 0)
    entry = e.current
    name = e.segment(step, "aux")
    value = through(e, step, scope)
    e.graph.heads.append(Head(weight, value, ".".join([*e.path, name])))
    e.current = entry
