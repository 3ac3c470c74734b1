"""Batch normalisation disappears into the layer before it."""

from __future__ import annotations

from dataclasses import replace

from cnndsl.graph.graph import Value, apply
from cnndsl.graph.rewrite import Declined, only_reader, rule
from cnndsl.ops.conv import Conv
from cnndsl.ops.dense import FullyConnected
from cnndsl.ops.derived import NormalScale, NormalShift, ScaleFilters
from cnndsl.ops.norm import BatchNorm


def _folded(
    layer: Conv | FullyConnected,
    value: Value,
    bn: BatchNorm,
    x: Value,
    operands: tuple[Value, Value | None],
    statistics: tuple[Value, Value, Value, Value],
) -> Value | Declined:
    if not only_reader(value):
        return Declined("something else reads the layer before the batch norm")
    weight, bias = operands
    gamma, beta, mean, variance = statistics
    scale = apply(NormalScale(bn.epsilon), gamma, variance, like=gamma)
    scaled = apply(ScaleFilters(), weight, scale, like=weight)
    shift = [bias] if bias is not None else []
    shifted = apply(NormalShift(), beta, mean, scale, *shift, like=beta)
    return apply(replace(layer, bias=True), x, scaled, shifted, like=value)


@rule(
    BatchNorm.of(Conv.of("x", "weight", "bias?"), "gamma", "beta", "mean", "variance"),
    fires_on=(
        "input 6x6x3 -> conv 4, 3x3 -> bn -> relu",
        "input 6x6x4 -> conv 4, 3x3, groups=2, bias=true -> bn",
        "input 6x6x3 -> dwconv 3x3, /2 -> bn -> relu6",
    ),
    leaves_alone=(
        "input 6x6x3 -> conv 4, 3x3 -> relu -> bn",
        "input 6x6x3 -> conv 4, 3x3 as a -> bn -> add { | identity | from a }",
    ),
)
def fold_batchnorm(
    x: Value,
    conv: Conv,
    conv_value: Value,
    weight: Value,
    bias: Value | None,
    bn: BatchNorm,
    gamma: Value,
    beta: Value,
    mean: Value,
    variance: Value,
    **_: object,
) -> Value | Declined:
    """bn(conv(x, w, b)) = conv(x, w·s, beta + (b − mean)·s), where s = gamma / √(variance + ε).

    In inference alone, where the statistics are constant.
    """
    statistics = (gamma, beta, mean, variance)
    return _folded(conv, conv_value, bn, x, (weight, bias), statistics)


@rule(
    BatchNorm.of(FullyConnected.of("x", "weight", "bias?"), "gamma", "beta", "mean", "variance"),
    fires_on=("input 3x4x2 -> fc 5 -> bn -> relu",),
    leaves_alone=("input 3x4x2 -> fc 5 -> relu -> bn",),
)
def fold_batchnorm_into_fc(
    x: Value,
    fc: FullyConnected,
    fc_value: Value,
    weight: Value,
    bias: Value | None,
    bn: BatchNorm,
    gamma: Value,
    beta: Value,
    mean: Value,
    variance: Value,
    **_: object,
) -> Value | Declined:
    """bn(fc(x, W, b)) = fc(x, W·s, beta + (b − mean)·s), with s as above; in inference alone."""
    return _folded(fc, fc_value, bn, x, (weight, bias), (gamma, beta, mean, variance))
