"""Joins: branches that meet again, and the sugar over them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from cnndsl.diagnostics import Label, Span
from cnndsl.frontend import syntax
from cnndsl.frontend.arguments import Given, evaluate_arguments
from cnndsl.frontend.problems import Poisoned, Problem
from cnndsl.frontend.scope import Scope
from cnndsl.frontend.values import UNKNOWN, Unfit, Word, real, whole
from cnndsl.graph.graph import Head, Value
from cnndsl.graph.op import Op
from cnndsl.graph.types import Size
from cnndsl.ops.conv import Conv
from cnndsl.ops.dropout import DropPath
from cnndsl.ops.merge import Add, Concat, Gate, Multiply
from cnndsl.ops.norm import BatchNorm
from cnndsl.ops.pool import AveragePool
from cnndsl.ops.shape import Pad

if TYPE_CHECKING:
    from cnndsl.frontend.steps import Elaborator


# Branches ----------------------------------------------------------------------------------------


def branches(make: Callable[[], Op]) -> Callable[[Elaborator, syntax.Layer, Scope], None]:
    """The rule of `concat`, `add` and `mul`."""

    def rule(e: Elaborator, step: syntax.Layer, scope: Scope) -> None:
        if step.arguments:
            raise Problem("E0403", f"`{step.name.id}` takes no arguments", step.arguments[0].span)
        body = _body(step)
        start = e.current
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
            raise Problem(
                "E0202",
                problem.message,
                step.name.span,
                f"every branch starts from {start.type}",
                secondary=labels,
                help=problem.help,
            ) from None

    return rule


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
        ends.append((e.current, _extent(plain) or branch.span))
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
        for names in e.iterations(step, scope):
            inner = scope.inner()
            inner.names.update(names)
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


def _extent(steps: tuple[syntax.Step, ...]) -> Span | None:
    return steps[0].span.until(steps[-1].span) if steps else None


def _body(step: syntax.Layer) -> syntax.Body:
    if step.body is None:
        raise Problem("E0411", f"`{step.name.id}` wants a body in braces", step.name.span)
    return step.body


def _arguments(e: Elaborator, step: syntax.Layer, scope: Scope) -> list[Given]:
    return evaluate_arguments(step.arguments, e.evaluator, scope)


def _number(argument: Given, convert: Callable[[object], Any], lowest: float) -> Any:
    try:
        value = convert(argument.value)
    except Unfit as unfit:
        raise Problem(unfit.code, unfit.message, argument.span) from None
    if value < lowest:
        raise Problem(
            "E0405", f"at least {lowest:g} is wanted here, this is {value}", argument.span
        )
    return value


def _through(e: Elaborator, step: syntax.Layer, scope: Scope) -> Value:
    """Elaborate the one body of a join from the current value; what it leaves."""
    e.body(_body(step), scope)
    if e.current is UNKNOWN:
        raise Poisoned
    assert isinstance(e.current, Value)
    return e.current


# Residual ----------------------------------------------------------------------------------------

MODES = ("project", "pad", "if_same")


def residual(e: Elaborator, step: syntax.Layer, scope: Scope) -> None:
    """`residual`, `residual project`, `residual pad`, `residual if_same`, each with `drop=`."""
    mode, drop = _residual_arguments(e, step, scope)
    entry = e.current
    first_new = e.graph._next
    value = _through(e, step, scope)
    stride = e.jumps[value.node] / e.jumps[entry.node]
    name = e.segment(step, "residual")
    shortcut = entry
    if entry.type.features != value.type.features or stride != 1:
        if mode == "if_same":
            return
        if mode is None:
            raise _sides_differ(e, step, entry, value, first_new)
        _check_projectable(e, step, entry, value, stride)
        build = _project if mode == "project" else _pad_shortcut
        ordinal = e.call.numbers[id(step)].ordinal
        e.path.append(f"shortcut{ordinal}")
        try:
            shortcut = build(e, step, entry, value, int(stride))
        finally:
            e.path.pop()
    if drop:
        value = e.apply(DropPath(drop), (value,), step.name.span, f"{name}_drop")
    e.current = e.apply(Add(), (value, shortcut), step.name.span, name)


def _residual_arguments(
    e: Elaborator, step: syntax.Layer, scope: Scope
) -> tuple[str | None, float]:
    mode, drop = None, 0.0
    for argument in _arguments(e, step, scope):
        if argument.name == "drop":
            drop = _number(argument, real, 0)
            if drop >= 1:
                raise Problem("E0405", "a rate is less than 1", argument.span)
        elif argument.name is not None:
            raise Problem(
                "E0401",
                f"`residual` has no argument `{argument.name}`",
                argument.span,
                help="it is written `residual`, `residual project`, `residual pad` or "
                "`residual if_same`, and may have `drop=`",
            )
        elif isinstance(argument.value, Word) and argument.value.text in MODES and mode is None:
            mode = argument.value.text
        else:
            raise Problem(
                "E0405",
                "a shortcut is `project`, `pad` or `if_same`",
                argument.span,
            )
    return mode, drop


def _sides_differ(
    e: Elaborator, step: syntax.Layer, entry: Value, value: Value, first_new: int
) -> Problem:
    labels = []
    body = _body(step)
    for node in sorted(n for n in e.graph.net if n >= first_new):
        span = e.graph.span(node)
        inputs = e.graph.operands(node)
        if not inputs or span is None or not _within(span, body.span):
            continue
        factor = e.graph.op(node).window(inputs[0].type).stride[0]
        if factor != 1:
            does = "halves it" if factor == 2 else f"divides it by {factor}"
            labels.append(Label(span, f"the stride {does} here"))
    labels.append(Label(body.steps[-1].span, f"the body leaves {value.type}"))
    same = entry.type.features == value.type.features
    return Problem(
        "E0203",
        "the two sides of `residual` have different "
        + ("strides, though their shapes agree" if same else "shapes"),
        step.name.span,
        f"the value that enters is {entry.type}",
        secondary=tuple(labels),
        help="write `residual project` to put a 1x1 convolution on the shortcut",
    )


def _within(span: Span, outer: Span) -> bool:
    return span.source is outer.source and outer.start <= span.start < outer.end


def _check_projectable(
    e: Elaborator, step: syntax.Layer, entry: Value, value: Value, stride: Any
) -> None:
    wanted = value.type.extent
    reached = Size(*(-(-n // stride) for n in entry.type.extent)) if stride >= 1 else None
    if reached != wanted or stride != int(stride):
        body = _body(step)
        raise Problem(
            "E0204",
            f"no shortcut brings {entry.type} to {value.type}",
            step.name.span,
            f"the value that enters is {entry.type}",
            secondary=(Label(body.steps[-1].span, f"the body leaves {value.type}"),),
            help=f"with the body's stride of {stride} a 1x1 convolution leaves {reached}; "
            "does the body pad as it should?",
        )


def _project(e: Elaborator, step: syntax.Layer, entry: Value, value: Value, stride: int) -> Value:
    """Option B: a 1x1 convolution and a batch norm."""
    conv = Conv(value.type.channels, Size(1, 1), stride=stride, pad=0, bias=False)
    projected = e.apply(conv, (entry,), step.name.span, "conv")
    return e.apply(BatchNorm(), (projected,), step.name.span, "bn")


def _pad_shortcut(
    e: Elaborator, step: syntax.Layer, entry: Value, value: Value, stride: int
) -> Value:
    """Option A: every stride-th element, and zeros for the new channels."""
    more = value.type.channels - entry.type.channels
    if more < 0:
        raise Problem(
            "E0204",
            f"`residual pad` adds channels; the body leaves fewer: {value.type} of {entry.type}",
            step.name.span,
        )
    shortcut = entry
    if stride > 1:
        subsample = AveragePool(Size(1, 1), stride=stride)
        shortcut = e.apply(subsample, (shortcut,), step.name.span, "subsample")
    if more:
        shortcut = e.apply(Pad(channels=more), (shortcut,), step.name.span, "pad")
    return shortcut


# Dense, gate, aux --------------------------------------------------------------------------------


def dense(e: Elaborator, step: syntax.Layer, scope: Scope) -> None:
    """`dense n { body }`: n times x = concat(x, body(x))."""
    given = _arguments(e, step, scope)
    if len(given) != 1 or given[0].name is not None:
        raise Problem("E0402", "`dense` wants how many times: `dense 6 { … }`", step.name.span)
    times = _number(given[0], whole, 0)
    name = e.segment(step, "dense")
    for ordinal in range(times):
        entry = e.current
        e.path.append(f"{name}.{ordinal}")
        try:
            value = _through(e, step, scope)
            if value.type.features[:-1] != entry.type.features[:-1]:
                raise Problem(
                    "E0206",
                    "the body of `dense` changes the extent",
                    step.name.span,
                    f"the value that enters is {entry.type}, the body leaves {value.type}",
                )
            e.current = e.apply(Concat(), (entry, value), step.name.span, "concat")
        finally:
            e.path.pop()


def gate(e: Elaborator, step: syntax.Layer, scope: Scope) -> None:
    """`gate { body }`: the value times body(value)."""
    if step.arguments:
        raise Problem("E0403", "`gate` takes no arguments", step.arguments[0].span)
    entry = e.current
    value = _through(e, step, scope)
    try:
        e.current = e.apply(Gate(), (entry, value), step.name.span, e.segment(step, "gate"))
    except Problem as problem:
        body = _body(step)
        raise Problem(
            "E0205",
            problem.message,
            step.name.span,
            f"the value that enters is {entry.type}",
            secondary=(Label(body.steps[-1].span, f"the body leaves {value.type}"),)
            if body.steps
            else (),
        ) from None


def aux(e: Elaborator, step: syntax.Layer, scope: Scope) -> None:
    """`aux weight { body }`: a side head whose loss counts `weight`; the value stays."""
    given = _arguments(e, step, scope)
    if len(given) != 1 or given[0].name is not None:
        raise Problem(
            "E0402", "`aux` wants the weight of its loss: `aux 0.3 { … }`", step.name.span
        )
    weight = _number(given[0], real, 0)
    entry = e.current
    name = e.segment(step, "aux")
    value = _through(e, step, scope)
    e.graph.heads.append(Head(weight, value, ".".join([*e.path, name])))
    e.current = entry


JOIN_RULES: dict[str, Callable[[Any, syntax.Layer, Scope], None]] = {
    "concat": branches(Concat),
    "add": branches(Add),
    "mul": branches(Multiply),
    "residual": residual,
    "dense": dense,
    "gate": gate,
    "aux": aux,
}
