"""Operations element by element: how each result is computed, as an expression of CUDA C."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any

from cnndsl.graph.op import Op
from cnndsl.graph.types import Type
from cnndsl.ops.activation import (
    Activation,
    ActivationGradient,
    Elu,
    Gelu,
    HardSigmoid,
    HardSwish,
    LeakyRelu,
    Relu,
    Relu6,
    Sigmoid,
    Silu,
    Tanh,
)


class Read(Enum):
    """Which element of an operand belongs to element i of the result."""

    ELEMENT = "the same"
    CHANNEL = "that of its channel"
    IMAGE_CHANNEL = "that of its image and channel"
    SCALAR = "the only one"
    RAW = "none: expressions take the array itself, x0 for operand 0"


@dataclass(frozen=True)
class Formula:
    """What is computed of each element.

    `results` are expressions over v0, v1, … (the operands' numbers, float) and over what `before`
    defines; `i` is the element's number. `once` is as `before`, of what is the same for all
    elements. `may_alias` is as in recipes.
    """

    reads: tuple[Read, ...]
    results: tuple[str, ...]
    before: tuple[str, ...] = ()
    may_alias: tuple[tuple[int, int], ...] = ()
    once: tuple[str, ...] = ()


def literal(value: float) -> str:
    """A number in CUDA C."""
    return f"{float(value)!r}f"


_SIGMOID = "(1.0f / (1.0f + expf(-{x})))"
_HARD_SIGMOID = "(fminf(fmaxf({x} + 3.0f, 0.0f), 6.0f) / 6.0f)"
_NORMAL = "(0.5f * (1.0f + erff({x} * 0.7071067811865475f)))"

#: `activation(x)`; comparisons are such that what is not a number stays so.
FORWARD: dict[type[Op], Callable[[Any], str]] = {
    Relu: lambda op: "({x} < 0.0f ? 0.0f : {x})",
    Relu6: lambda op: "({x} < 0.0f ? 0.0f : {x} > 6.0f ? 6.0f : {x})",
    LeakyRelu: lambda op: f"({{x}} < 0.0f ? {literal(op.slope)} * {{x}} : {{x}})",
    Elu: lambda op: f"({{x}} < 0.0f ? {literal(op.alpha)} * expm1f({{x}}) : {{x}})",
    Sigmoid: lambda op: _SIGMOID,
    Tanh: lambda op: "tanhf({x})",
    Silu: lambda op: f"({{x}} * {_SIGMOID})",
    Gelu: lambda op: f"({{x}} * {_NORMAL})",
    HardSwish: lambda op: f"({{x}} * {_HARD_SIGMOID})",
    HardSigmoid: lambda op: _HARD_SIGMOID,
}

#: The slope, of what the activation saves: its input or its result.
SLOPES: dict[type[Op], Callable[[Any], str]] = {
    Relu: lambda op: "({x} > 0.0f ? 1.0f : 0.0f)",
    Relu6: lambda op: "({x} > 0.0f && {x} < 6.0f ? 1.0f : 0.0f)",
    LeakyRelu: lambda op: f"({{x}} > 0.0f ? 1.0f : {literal(op.slope)})",
    Elu: lambda op: f"({{x}} > 0.0f ? 1.0f : fminf({{x}}, 0.0f) + {literal(op.alpha)})",
    Sigmoid: lambda op: "({x} * (1.0f - {x}))",
    Tanh: lambda op: "(1.0f - {x} * {x})",
    Silu: lambda op: f"({_SIGMOID} * (1.0f + {{x}} * (1.0f - {_SIGMOID})))",
    Gelu: lambda op: f"({_NORMAL} + {{x}} * 0.3989422804014327f * expf(-0.5f * {{x}} * {{x}}))",
    HardSwish: lambda op: f"({_HARD_SIGMOID} + (fabsf({{x}}) < 3.0f ? {{x}} / 6.0f : 0.0f))",
    HardSigmoid: lambda op: "({x} > 0.0f && {x} < 1.0f ? 0.16666667f : 0.0f)",
}


def activated(op: Activation, value: str) -> str:
    """An activation of the number in a variable."""
    return FORWARD[type(op)](op).format(x=value)


def activation(op: Activation, inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Formula:
    return Formula((Read.ELEMENT,), (activated(op, "v0"),), may_alias=((0, 0),))


def activation_gradient(
    op: ActivationGradient, inputs: tuple[Type, ...], outputs: tuple[Type, ...]
) -> Formula:
    slope = SLOPES[type(op.activation)](op.activation).format(x="v0")
    return Formula((Read.ELEMENT,) * 2, (f"v1 * {slope}",), may_alias=((0, 1),))


def epilogue(first: Formula, adds: bool, then: Activation | None) -> Formula:
    """A formula whose first result gets an addend, the last operand, and an activation."""
    result, *others = first.results
    reads = (*first.reads, Read.ELEMENT) if adds else first.reads
    total = f"{result} + v{len(first.reads)}" if adds else result
    before = (*first.before, f"const float total = {total};")
    y = activated(then, "total") if then is not None else "total"
    return Formula(reads, (y, *others), before, first.may_alias, first.once)
