"""Batch normalisation disappears into the layer before it."""

from __future__ import annotations

from dataclasses import replace

from cnndsl.graph.graph import Value, apply
from cnndsl.graph.op import Pattern
from cnndsl.graph.rewrite import Declined, only_reader, rule
from cnndsl.ops.conv import Conv
from cnndsl.ops.dense import FullyConnected
from cnndsl.ops.derived import NormalScale, NormalShift, ScaleFilters
from cnndsl.ops.norm import BatchNorm

LINEAR = Pattern((Conv, FullyConnected), ("x", "weight", "bias?"), "linear")


@rule(
    BatchNorm.of(LINEAR, "gamma", "beta", "mean", "variance"),
    fires_on=(
        "input 6x6x3 -> conv 4, 3x3 -> bn -> relu",
        "input 6x6x4 -> conv 4, 3x3, groups=2, bias=true -> bn",
        "input 6x6x3 -> dwconv 3x3, /2 -> bn -> relu6",
        "input 3x4x2 -> fc 5 -> bn -> relu",
    ),
    leaves_alone=(
        "input 6x6x3 -> conv 4, 3x3 -> relu -> bn",
        "input 6x6x3 -> conv 4, 3x3 as a -> bn -> add { | identity | from a }",
    ),
)
def fold_batchnorm(
    x: Value,
    linear: Conv | FullyConnected,
    linear_value: Value,
    weight: Value,
    bias: Value | None,
    bn: BatchNorm,
    gamma: Value,
    beta: Value,
    mean: Value,
    variance: Value,
    **_: object,
) -> Value | Declined:
    """bn(f(x, w, b)) = f(x, w·s, beta + (b − mean)·s), where s = gamma / √(variance + ε).

    For f a convolution or fully connected; in inference alone, where the statistics are constant.
    """
    if not only_reader(linear_value):
        return Declined("something else reads the layer before the batch norm")
    scale = apply(NormalScale(bn.epsilon), gamma, variance, like=gamma)
    scaled = apply(ScaleFilters(), weight, scale, like=weight)
    behind = [] if bias is None else [bias]
    shifted = apply(NormalShift(), beta, mean, scale, *behind, like=beta)
    return apply(replace(linear, bias=True), x, scaled, shifted, like=linear_value)
