"""The first step of a model: what it takes."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

from cnndsl.diagnostics import Label, Span
from cnndsl.frontend import syntax
from cnndsl.frontend.arguments import evaluate_arguments
from cnndsl.frontend.limits import MAX_EXTENT
from cnndsl.frontend.problems import Problem
from cnndsl.frontend.scope import Scope
from cnndsl.frontend.values import Unfit, whole
from cnndsl.graph.leaves import Input
from cnndsl.graph.types import BATCH, Size, Type

if TYPE_CHECKING:
    from cnndsl.frontend.steps import Elaborator


def missing_input(span: Span, model: syntax.Model, called: Span | None = None) -> Problem:
    """The problem of a model without an input, seen where a value is first wanted.

    It is told at the step of the model in which that is: a loop, say, or a call. `called` is the
    model's call that led there.
    """
    place = called or span
    steps = [s for s in model.body.steps if s.span.start <= place.start < s.span.end]
    at = _word(steps[0]) if steps else span
    seen = [(model.name.span, "this is the model"), (span, "a value is wanted here")]
    return Problem(
        "E0207",
        "the model does not say its input",
        at,
        secondary=tuple(Label(*label) for label in seen if label[0] != at),
        help="begin with `input HxWxC`, such as `input 224x224x3`",
    )


def _word(step: syntax.Step) -> Span:
    """The word that opens a step."""
    length = next(i for i, c in enumerate(f"{step.span.text} ") if not (c.isalnum() or c == "_"))
    return Span(step.span.source, step.span.start, step.span.start + length)


def read_input(e: Elaborator, step: syntax.Layer, scope: Scope) -> None:
    """`input 227x227x3`, `input 32, 3` or, for a vector, `input 784`."""
    if e.graph.inputs:
        first = e.graph.span(e.graph.inputs["image"].node)
        raise Problem(
            "E0208",
            "the model has an input already",
            step.name.span,
            secondary=(Label(first, "the first is here"),) if first else (),
        )
    given = evaluate_arguments(step.arguments, e.evaluator, scope)
    values = [g.value for g in given if g.name is None]
    wrong = Problem(
        "E0405",
        "an input is `HxWxC`, `extent, channels` or one number for a vector",
        step.span,
        help="write `input 224x224x3`",
    )
    if len(values) != len(given) or not 1 <= len(values) <= 2:
        raise wrong
    try:
        if isinstance(values[0], Size) and len(values[0]) + len(values) == 4:
            extents = [*values[0], *map(whole, values[1:])]
        elif len(values) == 2 and not isinstance(values[0], Size):
            extents = [whole(values[0]), whole(values[0]), whole(values[1])]
        elif not isinstance(values[0], Size):
            extents = [whole(values[0])]
        else:
            raise wrong
    except Unfit:
        raise wrong from None
    if e.input_size is not None:
        extents = list(e.input_size)
    if not all(1 <= n <= MAX_EXTENT for n in extents):
        shown = "x".join(map(str, extents))
        raise Problem(
            "E0405",
            f"an extent is at least 1 and at most {MAX_EXTENT:,}, this is {shown}",
            step.span,
        )
    type = Type((BATCH, *extents), e.dtype)
    e.current = e.graph.add(Input(type), name="input", span=step.span)[0]
    e.graph.inputs["image"] = e.current
    e.jumps[e.current.node] = Fraction(1)
