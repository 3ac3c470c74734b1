"""Norms by the batch's statistics and by known ones, and the gradients of what is one a channel."""

from __future__ import annotations

import math

from cnndsl.backends.cuda.columns import Columns
from cnndsl.backends.cuda.formula import Formula, Read, epilogue, literal
from cnndsl.backends.cuda.launch import Builders, Recipe, Scratch, c_type
from cnndsl.backends.cuda.pointwise import launch, pointwise
from cnndsl.graph.op import Op
from cnndsl.graph.types import Type
from cnndsl.ops.activation import Activation, Relu
from cnndsl.ops.conv import BiasGradient
from cnndsl.ops.merge import GateGradient
from cnndsl.ops.norm import (
    BatchNorm,
    BatchNormAgain,
    BatchNormInputGradient,
    BatchNormReluGradient,
    BatchNormReluTraining,
    BatchNormScaleGradient,
    BatchNormTraining,
    BatchNormTrainingGradient,
    ScaleGradient,
)
from cnndsl.runtime.memory import round_up

PER_CHANNEL = (Read.ELEMENT, *(Read.CHANNEL,) * 4)


def by_statistics(op: BatchNorm, inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Formula:
    """Inputs: x, gamma, beta, mean, variance."""
    inverse = f"rsqrtf(v4 + {literal(op.epsilon)})"
    return Formula(PER_CHANNEL, (f"(v0 - v3) * (v1 * {inverse}) + v2",), may_alias=((0, 0),))


def again(op: Op, inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Formula:
    """Inputs: x, gamma, beta, mean, inverse deviation."""
    return Formula(PER_CHANNEL, ("(v0 - v3) * (v1 * v4) + v2",), may_alias=((0, 0),))


def input_gradient(
    op: BatchNormInputGradient, inputs: tuple[Type, ...], outputs: tuple[Type, ...]
) -> Formula:
    """Inputs: gamma, variance, dy."""
    reads = (Read.CHANNEL, Read.CHANNEL, Read.ELEMENT)
    slope = f"v2 * (v0 * rsqrtf(v1 + {literal(op.epsilon)}))"
    return Formula(reads, (slope,), may_alias=((0, 2),))


def batch_norm_training(
    op: BatchNormTraining | BatchNormReluTraining,
    inputs: tuple[Type, ...],
    outputs: tuple[Type, ...],
    adds: bool = False,
    then: Activation | None = None,
) -> Recipe:
    """Sums of differences from the channel's first element, so that nothing cancels; statistics;
    then x by them, with what is added and the activation."""
    x, own = inputs[0], len(inputs)
    count = math.prod(x.concrete()[:-1])
    moments = Columns(
        whole=(x,),
        terms=("(v0 - number(x0[c]))", "(v0 - number(x0[c])) * (v0 - number(x0[c]))"),
        finish=(
            f"const float shift = total[0] * {literal(1 / count)};",
            "const float squares = fmaxf(total[1] - total[0] * shift, 0.0f);",
            "const float mean = number(x0[c]) + shift;",
            f"const float variance = squares * {literal(1 / count)};",
            f"const float inverse = rsqrtf(variance + {literal(op.epsilon)});",
            "r0[at] = mean; r1[at] = inverse;",
            "if (r2) r2[at] = mean;",
            "if (r3) r3[at] = inverse;",
            f"if (r4) r4[at] = squares * {literal(1 / (count - 1) if count > 1 else 0.0)};",
        ),
    )
    mean, inverse, behind = _statistics(x)
    sums = moments.launches((0,), (mean, inverse, *range(own + 1, own + 4)), behind)
    relu = isinstance(op, BatchNormReluTraining)
    formula = epilogue(again(op, inputs, outputs), adds, Relu() if relu else then)
    if relu:
        results = (*formula.results, "total > 0.0f ? 1.0f : 0.0f")
        formula = Formula(formula.reads, results, formula.before)
    statistics = (outputs[1], outputs[1])
    applied = launch(
        formula,
        (*inputs[:3], *statistics, *inputs[3:]),
        (outputs[0], outputs[4]) if relu else outputs[:1],
        (0, 1, 2, mean, inverse, *range(3, own), own, *((own + 4,) if relu else ())),
    )
    return Recipe((*sums, applied), behind + moments.nbytes, ((0, 0),))


def batch_norm_training_gradient(
    op: BatchNormTrainingGradient | BatchNormReluGradient,
    inputs: tuple[Type, ...],
    outputs: tuple[Type, ...],
) -> Recipe:
    """Inputs: x, gamma, mean, inverse deviation, where a relu is positive, dy."""
    relu = isinstance(op, BatchNormReluGradient)
    x, own = inputs[0], len(inputs)
    count = math.prod(x.concrete()[:-1])
    dy = "(v1 != 0.0f ? v2 : 0.0f)" if relu else "v1"
    sums = Columns(
        whole=(x, *inputs[4:]),
        terms=(dy, f"{dy} * (v0 - w0[c])"),
        finish=(
            "const float scaled = total[1] * w1[c];",
            f"r0[at] = total[0] * {literal(1 / count)};",
            f"r1[at] = scaled * {literal(1 / count)};",
            "if (r2) r2[at] = scaled;",
            "if (r3) r3[at] = total[0];",
        ),
        vectors=2,
    )
    first, second, behind = _statistics(x)
    places = (0, *range(4, own), 2, 3)
    launches = sums.launches(places, (first, second, own + 1, own + 2), behind)
    slope = "(v6 != 0.0f ? v7 : 0.0f)" if relu else "v6"
    formula = Formula(
        (Read.ELEMENT, *(Read.CHANNEL,) * 5, *(Read.ELEMENT,) * (1 + relu)),
        (f"v1 * v3 * ({slope} - v4 - (v0 - v2) * v3 * v5)",),
    )
    types = (*inputs[:4], outputs[1], outputs[1], *inputs[4:])
    arguments = (0, 1, 2, 3, first, second, *range(4, own), own)
    applied = launch(formula, types, outputs[:1], arguments)
    return Recipe((*launches, applied), behind + sums.nbytes, ((0, own - 1),))


def _statistics(x: Type) -> tuple[Scratch, Scratch, int]:
    """Places in the workspace for two numbers a channel, and where they end."""
    nbytes = 4 * x.channels
    second = round_up(nbytes)
    return Scratch(0, nbytes), Scratch(second, nbytes), 2 * second


def _summed(sums: Columns, *arguments: int) -> Recipe:
    """The recipe of sums that are the only result, the last argument."""
    *given, result = arguments
    return Recipe(sums.launches(given, (result,)), sums.nbytes)


def bias_gradient(op: BiasGradient, inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Recipe:
    return _summed(Columns(inputs, ("v0",), ("r0[at] = total[0];",)), 0, 1)


def scale_gradient(
    op: ScaleGradient, inputs: tuple[Type, ...], outputs: tuple[Type, ...]
) -> Recipe:
    return _summed(Columns(inputs, ("v0 * v1",), ("r0[at] = total[0];",)), 0, 1, 2)


def batch_norm_scale_gradient(
    op: BatchNormScaleGradient, inputs: tuple[Type, ...], outputs: tuple[Type, ...]
) -> Recipe:
    """Inputs: x, mean, variance, dy."""
    finish = f"r0[at] = total[0] * rsqrtf(w1[c] + {literal(op.epsilon)});"
    whole = inputs[0], inputs[3]
    return _summed(Columns(whole, ("v1 * (v0 - w0[c])",), (finish,), vectors=2), 0, 3, 1, 2, 4)


def gate_gradient(op: GateGradient, inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Recipe:
    """Inputs: x, dy."""
    kind = c_type(outputs[0])
    finish = (f"r0[at] = rounded<{kind}>(total[0]);",)
    items = inputs[0].concrete()[0]
    return _summed(Columns(inputs, ("v0 * v1",), finish, items=items, result=kind), 0, 1, 2)


BUILDERS: Builders = {
    BatchNorm: pointwise(by_statistics),
    BatchNormAgain: pointwise(again),
    BatchNormInputGradient: pointwise(input_gradient),
    BatchNormTraining: batch_norm_training,
    BatchNormReluTraining: batch_norm_training,
    BatchNormTrainingGradient: batch_norm_training_gradient,
    BatchNormReluGradient: batch_norm_training_gradient,
    BatchNormScaleGradient: batch_norm_scale_gradient,
    BiasGradient: bias_gradient,
    ScaleGradient: scale_gradient,
    GateGradient: gate_gradient,
}
