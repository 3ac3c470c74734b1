"""Arguments: how those of a step meet the parameters of a block or the fields of an operation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import MISSING, Field, dataclass, fields
from typing import Any

from cnndsl.diagnostics import Label, Span, did_you_mean
from cnndsl.frontend import syntax
from cnndsl.frontend.expressions import Evaluator, rounding
from cnndsl.frontend.problems import Problem
from cnndsl.frontend.scope import Scope
from cnndsl.frontend.values import CONVERTERS, Unfit
from cnndsl.graph.op import Op

STRIDE = "stride"


@dataclass(frozen=True, slots=True)
class Given:
    """An evaluated argument, as it is `written` in a scope; `name` is None for a positional one."""

    value: Any
    span: Span
    written: syntax.Expression
    scope: Scope | None
    name: str | None = None


def evaluate_arguments(
    arguments: Sequence[syntax.Argument], evaluator: Evaluator, scope: Scope
) -> list[Given]:
    """The values of a step's arguments, in order; `/s` is `stride=s`."""
    result = []
    for argument in arguments:
        name = STRIDE if argument.is_stride else argument.name.id if argument.name else None
        value = evaluator.evaluate(argument.value, scope)
        result.append(Given(value, argument.span, argument.value, scope, name))
    return result


def bind(
    given: Sequence[Given],
    positional: Sequence[str],
    named: Sequence[str],
    what: str,
    signature: str,
    definition: Span | None = None,
) -> dict[str, Given]:
    """Which parameter each argument is for; `definition` is where a block is defined.

    Raises:
        Problem: too many, unknown or doubled arguments.
    """
    defined = (Label(definition, "it is defined here"),) if definition is not None else ()
    bound: dict[str, Given] = {}
    places = list(positional)
    for argument in given:
        name = argument.name
        if name is None:
            if not places:
                raise Problem(
                    "E0403",
                    f"too many arguments for `{what}`",
                    argument.span,
                    secondary=defined,
                    help=signature,
                )
            name = places.pop(0)
        elif name not in positional and name not in named:
            if name == STRIDE:
                raise Problem(
                    "E0401",
                    f"`{what}` has no stride",
                    argument.span,
                    secondary=defined,
                    help=signature,
                )
            raise Problem(
                "E0401",
                f"`{what}` has no argument `{name}`",
                argument.span,
                secondary=defined,
                help=did_you_mean(name, [*positional, *named]) or signature,
            )
        elif name in places:
            places.remove(name)
        if name in bound:
            raise Problem(
                "E0404",
                f"`{name}` of `{what}` is given twice",
                argument.span,
                secondary=(Label(bound[name].span, "the first is here"),),
                help=signature,
            )
        bound[name] = argument
    return bound


def build_op(kind: type[Op], given: Sequence[Given], name: syntax.Name) -> Op:
    """The operation that a step writes.

    Raises:
        Problem: arguments that it does not have, lacks, or cannot be of this kind.
    """
    arguments: tuple[Field[Any], ...] = fields(kind)  # type: ignore[arg-type]
    bound = _bound(kind, given)
    by_name = {f.name: f for f in arguments}
    values = {}
    for field_name, argument in bound.items():
        convert = CONVERTERS[str(by_name[field_name].type)]
        try:
            values[field_name] = convert(argument.value)
        except Unfit as unfit:
            help = f"it is written `{signature(kind)}`" if argument.name is None else None
            if unfit.code == "E0406":
                help = rounding(argument.written)
            raise Problem(
                unfit.code, unfit.message, argument.span, f"`{field_name}`", help=help
            ) from None
    for missing in arguments:
        if missing.name not in values and missing.default is MISSING:
            raise Problem(
                "E0402",
                f"`{kind.name}` wants its {missing.name.replace('_', ' ')}",
                name.span,
                help=f"it is written `{signature(kind)}`",
            )
    return kind(**values)


def _bound(kind: type[Op], given: Sequence[Given]) -> dict[str, Given]:
    """Which argument of a layer each given one is."""
    arguments: tuple[Field[Any], ...] = fields(kind)  # type: ignore[arg-type]
    positional = [f.name for f in arguments if not f.kw_only]
    named = [f.name for f in arguments if f.kw_only]
    return bind(given, positional, named, kind.name, f"it is written `{signature(kind)}`")


def tell_at_argument(problem: Problem, kind: type[Op], given: Sequence[Given]) -> None:
    """Move the problem of one argument to it; how the current value came to be matters not."""
    bound = _bound(kind, given)
    if problem.argument in bound:
        problem.label = Label(bound[problem.argument].span, f"`{problem.argument}`")
        problem.trace = ()


def bind_parameters(block: syntax.Block, given: Sequence[Given]) -> dict[str, Given]:
    """Which parameter of a block each argument is for."""
    names = [p.name.id for p in block.parameters]
    written = f"it is defined as `{block_signature(block)}`"
    last = block.parameters[-1].span if block.parameters else block.name.span
    return bind(given, names, (), block.name.id, written, block.name.span.until(last))


def signature(kind: type[Op]) -> str:
    """How a layer is written: `conv filters, kernel, /stride, pad=, groups=`."""
    words = []
    for argument in fields(kind):  # type: ignore[arg-type]
        if argument.name == STRIDE:
            words.append("/stride")
        elif argument.kw_only:
            words.append(f"{argument.name}=")
        else:
            words.append(argument.name)
    return f"{kind.name} {', '.join(words)}".strip()


def block_signature(block: syntax.Block) -> str:
    """How a block is defined: `basic(width, stride = 1)`."""
    words = [
        p.name.id if p.default is None else f"{p.name.id} = {p.default.span.text}"
        for p in block.parameters
    ]
    return f"{block.name.id}({', '.join(words)})"
