"""`residual` and its shortcuts: projected, padded, or there only where shapes agree."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

from cnndsl.diagnostics import Label, Span, did_you_mean
from cnndsl.frontend import syntax
from cnndsl.frontend.bodies import arguments_of, body_of, changes, leaves, number, stray, through
from cnndsl.frontend.problems import Poisoned, Problem
from cnndsl.frontend.scope import Scope
from cnndsl.frontend.values import Word, describe, real
from cnndsl.graph.graph import Node, Value
from cnndsl.graph.types import Size
from cnndsl.ops.conv import Conv
from cnndsl.ops.dropout import DropPath
from cnndsl.ops.merge import Add
from cnndsl.ops.norm import BatchNorm
from cnndsl.ops.pool import AveragePool
from cnndsl.ops.shape import Pad

if TYPE_CHECKING:
    from cnndsl.frontend.steps import Elaborator

MODES = ("project", "pad", "if_same")
_WRITTEN = (
    "it is written `residual`, `residual project`, `residual pad` or `residual if_same`, "
    "and may have `drop=`"
)


def residual(e: Elaborator, step: syntax.Layer, scope: Scope) -> None:
    """`residual`, `residual project`, `residual pad`, `residual if_same`, each with `drop=`."""
    mode, drop = _arguments(e, step, scope)
    entry = e.current
    first_new = e.graph._next
    value = through(e, step, scope)
    stride = _stride(e, entry, value)
    name = e.segment(step, "residual")
    shortcut = entry
    if entry.type.features != value.type.features or stride not in (None, 1):
        if mode == "if_same":
            return
        if mode is None:
            raise _sides_differ(e, step, entry, value, first_new)
        if stride is None:
            raise Poisoned
        _check_projectable(e, step, entry, value, stride, first_new)
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


def _stride(e: Elaborator, entry: Value, value: Value) -> Fraction | None:
    """The product of the strides along the body; None where a mistake left it unknown."""
    before, after = e.jumps[entry.node], e.jumps[value.node]
    return None if before is None or after is None else after / before


def _arguments(e: Elaborator, step: syntax.Layer, scope: Scope) -> tuple[str | None, float]:
    mode, drop = None, 0.0
    for argument in arguments_of(e, step, scope):
        if argument.name == "drop":
            drop = number(argument, real, 0)
            if drop >= 1:
                raise Problem(
                    "E0405", f"a rate is less than 1, this is {drop:g}", argument.span, "`drop`"
                )
        elif argument.name is not None:
            raise Problem(
                "E0401",
                f"`residual` has no argument `{argument.name}`",
                argument.span,
                help=did_you_mean(argument.name, ["drop"]) or _WRITTEN,
            )
        elif isinstance(argument.value, Word) and argument.value.text in MODES and mode is None:
            mode = argument.value.text
        else:
            raise Problem(
                "E0405",
                "a shortcut is `project`, `pad` or `if_same`"
                + (f", this is {describe(argument.value)}" if mode is None else "; one is enough"),
                argument.span,
            )
    return mode, drop


def _stray(
    e: Elaborator, step: syntax.Layer, entry: Value, value: Value, first_new: Node
) -> Span | None:
    """The step of the body after which no shortcut could follow it."""

    def followed(v: Value) -> bool:
        stride = _stride(e, entry, v)
        return stride is not None and _reached(entry, stride) == v.type.extent

    return stray(e, body_of(step), first_new, value, followed)


def _sides_differ(
    e: Elaborator, step: syntax.Layer, entry: Value, value: Value, first_new: Node
) -> Problem:
    same = entry.type.features == value.type.features
    stride = _stride(e, entry, value)
    help = f"the body must leave {entry.type}"
    at = None
    if stride is not None and _reached(entry, stride) == value.type.extent:
        help = "write `residual project` to put a 1x1 convolution on the shortcut"
    elif value.type.extent == (1, 1) and value.type.channels == entry.type.channels:
        help = "write `gate { … }` to multiply each channel by one number"
    elif stride is not None:
        at = _stray(e, step, entry, value, first_new)
    return Problem(
        "E0203",
        "the two sides of `residual` have different "
        + ("strides, though their shapes agree" if same else "shapes"),
        step.name.span,
        f"the value that enters is {entry.type}",
        secondary=_labels(e, step, entry, value, first_new),
        trace=_trace(e, step, entry, value),
        help=help,
    ).told_at(at)


def _trace(e: Elaborator, step: syntax.Layer, entry: Value, value: Value) -> tuple[str, ...]:
    """How the value came to be that enters, where its channels are what differs."""
    channels = entry.type.features[:-1] == value.type.features[:-1]
    return e.trace(entry, step.name.span) if channels else ()


def _labels(
    e: Elaborator, step: syntax.Layer, entry: Value, value: Value, first_new: Node
) -> tuple[Label, ...]:
    """Where the body changes what differs in the end, and what it leaves."""
    body = body_of(step)
    channels = value.type.channels != entry.type.channels
    extents = value.type.extent != entry.type.extent or not channels
    found = changes(e, body, first_new, extents=extents, channels=channels)
    return (*found, *leaves(body, value))


def _reached(entry: Value, stride: Fraction) -> Size | None:
    """The extent to which a 1x1 convolution of the stride brings a map; None if it cannot."""
    if not entry.type.is_map or stride < 1 or stride.denominator != 1:
        return None
    return Size(*(-(-n // stride.numerator) for n in entry.type.extent))


def _check_projectable(
    e: Elaborator,
    step: syntax.Layer,
    entry: Value,
    value: Value,
    stride: Fraction,
    first_new: Node,
) -> None:
    reached = _reached(entry, stride)
    if value.type.is_map and reached == value.type.extent:
        return
    if not (entry.type.is_map and value.type.is_map):
        help = "only maps HxWxC can be projected"
    elif reached is None:
        help = f"the body's stride is {stride}, and a shortcut cannot enlarge"
    else:
        help = (
            f"the body's stride is {stride}, with which a shortcut leaves {reached}: "
            "does the body pad as it should?"
        )
    raise Problem(
        "E0204",
        f"no shortcut brings {entry.type} to {value.type}",
        step.name.span,
        f"the value that enters is {entry.type}",
        secondary=_labels(e, step, entry, value, first_new),
        trace=_trace(e, step, entry, value),
        help=help,
    ).told_at(_stray(e, step, entry, value, first_new))


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
            "`residual pad` only adds channels, and the body leaves fewer than enter",
            step.name.span,
            f"the value that enters is {entry.type}",
            secondary=leaves(body_of(step), value),
            trace=e.trace(entry, step.name.span),
            help="write `residual project` to put a 1x1 convolution on the shortcut",
        )
    shortcut = entry
    if stride > 1:
        subsample = AveragePool(Size(1, 1), stride=stride)
        shortcut = e.apply(subsample, (shortcut,), step.name.span, "subsample")
    if more:
        shortcut = e.apply(Pad(channels=more), (shortcut,), step.name.span, "pad")
    return shortcut
