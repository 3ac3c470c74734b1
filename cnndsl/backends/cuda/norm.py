"""Norms by the batch's statistics and by known ones, and the gradients of what is one a channel."""

from __future__ import annotations

import math

from cnndsl.backends.cuda.columns import Columns
from cnndsl.backends.cuda.formula import SLOPES, Formula, Read, activated, epilogue, literal
from cnndsl.backends.cuda.launch import Builders, Recipe, Scratch, c_type
from cnndsl.backends.cuda.pointwise import Writer, launch, pointwise
from cnndsl.graph.op import Op
from cnndsl.graph.types import Type
from cnndsl.ops.activation import Activation
from cnndsl.ops.conv import BiasGradient
from cnndsl.ops.merge import GateGradient
from cnndsl.ops.norm import (
    BatchNorm,
    BatchNormActivationGradient,
    BatchNormAgain,
    BatchNormInputGradient,
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
    op: BatchNormTraining,
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
    formula = epilogue(again(op, inputs, outputs), adds, then)
    statistics = (outputs[1], outputs[1])
    applied = launch(
        formula,
        (*inputs[:3], *statistics, *inputs[3:]),
        outputs[:1],
        (0, 1, 2, mean, inverse, *range(3, own), own),
    )
    return Recipe((*sums, applied), behind + moments.nbytes, ((0, 0),))


def batch_norm_training_gradient(
    op: BatchNormTrainingGradient | BatchNormActivationGradient,
    inputs: tuple[Type, ...],
    outputs: tuple[Type, ...],
) -> Recipe:
    """Inputs: x, gamma, mean, inverse deviation, beta if it goes through an activation, dy."""
    through = isinstance(op, BatchNormActivationGradient)
    x, dy, own = inputs[0], inputs[-1], len(inputs)
    count = math.prod(x.concrete()[:-1])
    sums = Columns(
        whole=(x, dy),
        before=_slope(op, "v1", "(v0 - w0[c]) * (w2[c] * w1[c]) + w3[c]"),
        terms=("slope", "slope * (v0 - w0[c])"),
        finish=(
            "const float scaled = total[1] * w1[c];",
            f"r0[at] = total[0] * {literal(1 / count)};",
            f"r1[at] = scaled * {literal(1 / count)};",
            "if (r2) r2[at] = scaled;",
            "if (r3) r3[at] = total[0];",
        ),
        vectors=2 + 2 * through,
    )
    first, second, behind = _statistics(x)
    places = (0, own - 1, 2, 3, *((1, 4) if through else ()))
    launches = sums.launches(places, (first, second, own + 1, own + 2), behind)
    formula = Formula(
        (Read.ELEMENT, *(Read.CHANNEL,) * (5 + through), Read.ELEMENT),
        ("v1 * v3 * (slope - v4 - (v0 - v2) * v3 * v5)",),
        _slope(op, f"v{6 + through}", "(v0 - v2) * (v1 * v3) + v6"),
    )
    types = (*inputs[:4], outputs[1], outputs[1], *inputs[4:])
    arguments = (0, 1, 2, 3, first, second, *range(4, own), own)
    applied = launch(formula, types, outputs[:1], arguments)
    return Recipe((*launches, applied), behind + sums.nbytes, ((0, own - 1),))


def _slope(op: Op, dy: str, normal: str) -> tuple[str, ...]:
    """Statements that set the gradient of what the norm gave, which is computed again."""
    if not isinstance(op, BatchNormActivationGradient):
        return (f"const float slope = {dy};",)
    activation = op.activation
    saved = activated(activation, "normal") if activation.saves == "output" else "normal"
    by = SLOPES[type(activation)](activation).format(x="saved")
    return (
        f"const float normal = {normal};",
        f"const float saved = {saved};",
        f"const float slope = {dy} * {by};",
    )


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


WRITERS: dict[type[Op], Writer] = {
    BatchNorm: by_statistics,
    BatchNormAgain: again,
    BatchNormInputGradient: input_gradient,
}

BUILDERS: Builders = {
    **{kind: pointwise(writer) for kind, writer in WRITERS.items()},
    BatchNormTraining: batch_norm_training,
    BatchNormTrainingGradient: batch_norm_training_gradient,
    BatchNormActivationGradient: batch_norm_training_gradient,
    BatchNormScaleGradient: batch_norm_scale_gradient,
    BiasGradient: bias_gradient,
    ScaleGradient: scale_gradient,
    GateGradient: gate_gradient,
}
