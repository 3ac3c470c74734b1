"""Batch normalisation and scales disappear into the layers around them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate, pairwise

from cnndsl.graph.graph import Value, apply
from cnndsl.graph.op import Pattern
from cnndsl.graph.rewrite import Declined, only_reader, rule
from cnndsl.ops.conv import Conv
from cnndsl.ops.dense import FullyConnected
from cnndsl.ops.derived import NormalScale, NormalShift, PassShift, ScaleFilters, ScaleInputs
from cnndsl.ops.merge import Add, Concat
from cnndsl.ops.norm import BatchNorm, Scale
from cnndsl.ops.parts import Take
from cnndsl.ops.pool import AveragePool
from cnndsl.ops.shape import Unflatten

LINEAR = (Conv, FullyConnected)


def affine(normed: Value) -> tuple[Value, Value]:
    """The scale and the shift of a batch norm whose statistics are constant."""
    bn = normed.op
    assert isinstance(bn, BatchNorm)
    _, gamma, beta, mean, variance = normed.graph.operands(normed.node)
    scale = apply(NormalScale(bn.epsilon), gamma, variance, like=gamma)
    return scale, apply(NormalShift(), beta, mean, scale, like=beta)


def obstacle(value: Value) -> str | None:
    """Why `scale · value + shift` cannot be had by other weights behind `value`; None if it can."""
    if not only_reader(value):
        return "something else reads what is scaled"
    operands = value.graph.operands(value.node)
    match value.op:
        case Conv() | FullyConnected():
            return None
        case Concat() | Add():
            return next((why for v in operands if (why := obstacle(v))), None)
        case AveragePool() as pool if pool.count_pad and any(map(sum, pool.pads(operands[0].type))):
            return "the pool averages padding in, which has no shift"
        case AveragePool():
            return obstacle(operands[0])
        case Unflatten(x) if x.extent == (1, 1):
            return obstacle(operands[0])
    return f"`{value.op.name}` has no weights to scale"


def absorbed(value: Value, scale: Value, shift: Value | None) -> Value:
    """`scale · value + shift` by other weights; there is no obstacle."""
    operands = value.graph.operands(value.node)
    match value.op:
        case Conv() | FullyConnected() as linear:
            x, weight, *bias = operands
            scaled, *terms = (apply(ScaleFilters(), w, scale, like=w) for w in (weight, *bias))
            terms += [] if shift is None else [shift]
            total = [apply(Add(), *terms, like=terms[0])] if len(terms) > 1 else terms
            return apply(replace(linear, bias=bool(total)), x, scaled, *total, like=value)
        case Concat():
            scales = _cut(scale, operands)
            shifts = _cut(shift, operands) if shift else [None] * len(operands)
            parts = map(absorbed, operands, scales, shifts)
            return apply(Concat(), *parts, like=value)
        case Add():
            first, *others = operands
            rest = (absorbed(v, scale, None) for v in others)
            return apply(Add(), absorbed(first, scale, shift), *rest, like=value)
    (x,) = operands
    return apply(value.op, absorbed(x, scale, shift), like=value)


def _cut(vector: Value, operands: Sequence[Value]) -> list[Value]:
    """What each operand of a concat gets of a number a channel."""
    ends = list(accumulate(v.type.channels for v in operands))
    return [
        apply(Take(0, first, last), vector, like=vector) for first, last in pairwise([0, *ends])
    ]


@rule(
    BatchNorm.of("x", "gamma", "beta", "mean", "variance"),
    fires_on=(
        "input 6x6x3 -> conv 4, 3x3 -> bn -> relu",
        "input 6x6x4 -> conv 4, 3x3, groups=2, bias=true -> bn",
        "input 6x6x3 -> dwconv 3x3, /2 -> bn -> relu6",
        "input 3x4x2 -> fc 5 -> bn -> relu",
        "input 6x6x3 -> concat { | conv 4, 3x3 | conv 2, 1x1, bias=false } -> bn",
        "input 6x6x3 -> add { | conv 4, 3x3 | conv 4, 1x1 } -> bn",
        "input 6x6x3 -> conv 4, 3x3 -> avgpool 3x3, /2, pad=1 -> bn",
        "input 6x6x3 -> concat { | add { | conv 2, 3x3 | conv 2, 1x1 }"
        " | conv 3, 1x1 -> avgpool 3x3, /1, pad=1 } -> bn",
    ),
    leaves_alone=(
        "input 6x6x3 -> conv 4, 3x3 -> relu -> bn",
        "input 6x6x3 -> conv 4, 3x3 as a -> bn -> add { | identity | from a }",
        "input 6x6x3 -> concat { | conv 4, 3x3 | identity } -> bn",
        "input 6x6x3 -> conv 4, 3x3 -> avgpool 3x3, /1, pad=1, count_pad=true -> bn",
    ),
)
def fold_batchnorm(x: Value, bn_value: Value, **_: object) -> Value | Declined:
    """bn(f(x, w, b)) = f(x, w·s, b·s + t), where s = gamma / √(variance + ε), t = beta − mean·s.

    For f a convolution or fully connected. A concat passes s and t on to its parts, a sum s to
    every addend and t to one, an average pool both to what it averages. In inference alone, where
    the statistics are constant.
    """
    why = obstacle(x)
    if why is not None:
        return Declined(why)
    return absorbed(x, *affine(bn_value))


@rule(
    Scale.of("x", "factors"),
    fires_on=(
        "input 6x6x3 -> conv 4, 3x3 -> scale init=0.1",
        "input 6x6x3 -> concat { | conv 4, 3x3 | conv 2, 1x1, bias=false } -> scale",
        "input 6x6x3 -> conv 4, 3x3 -> avgpool 3x3, /1, pad=1 -> scale",
    ),
    leaves_alone=("input 6x6x3 -> relu -> scale",),
)
def fold_scale(x: Value, factors: Value, **_: object) -> Value | Declined:
    """scale(f(x, w, b), s) = f(x, w·s, b·s), through joins and pools as `fold_batchnorm`.

    The layer scale of a residual block vanishes in inference.
    """
    why = obstacle(x)
    if why is not None:
        return Declined(why)
    return absorbed(x, factors, None)


@rule(
    Pattern(
        LINEAR,
        (BatchNorm.of("x", "gamma", "beta", "mean", "variance"), "weight", "bias?"),
        "linear",
    ),
    fires_on=(
        "input 6x6x3 -> bn -> conv 4, 3x3, pad=0",
        "input 6x6x4 -> bn -> conv 6, 3x3, /2, pad=0, groups=2, bias=false",
        "input 6x6x4 -> bn -> dwconv 1x1",
        "input 6x5x3 -> bn -> fc 5",
        "input 7 -> bn -> fc 5, bias=false",
    ),
    leaves_alone=(
        "input 6x6x3 -> bn -> conv 4, 3x3",
        "input 6x6x3 -> bn -> concat { | conv 4, 1x1 | identity }",
        "input 6x6x3 -> conv 4, 1x1 -> bn -> conv 4, 3x3, pad=0",
    ),
)
def batchnorm_before_linear(
    x: Value,
    bn_value: Value,
    linear: Conv | FullyConnected,
    linear_value: Value,
    weight: Value,
    bias: Value | None,
    **_: object,
) -> Value | Declined:
    """f(bn(x), w, b) = f(x, w·s, b + Σ w·t), s and t going with the channels that w reads.

    For f a convolution without padding or fully connected, where `fold_batchnorm` has no layer
    before the batch norm to fold into. In inference alone.
    """
    if not only_reader(bn_value):
        return Declined("something else reads the batch norm")
    if obstacle(x) is None:
        return Declined("the batch norm goes into what is before it")
    if isinstance(linear, Conv) and any(map(sum, linear.pads(x.type))):
        return Declined("the convolution pads with zeros, which the batch norm would have shifted")
    groups = linear.groups if isinstance(linear, Conv) else 1
    scale, shift = affine(bn_value)
    scaled = apply(ScaleInputs(groups), weight, scale, like=weight)
    behind = [] if bias is None else [bias]
    total = apply(PassShift(groups), weight, shift, *behind, like=bias or weight)
    return apply(replace(linear, bias=True), x, scaled, total, like=linear_value)
