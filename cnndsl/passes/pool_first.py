"""Pooling goes before what it commutes with, which then has fewer elements to work on."""

from __future__ import annotations

from cnndsl.graph.graph import Value, apply
from cnndsl.graph.op import Pattern
from cnndsl.graph.rewrite import Declined, only_reader, rule
from cnndsl.graph.types import Size
from cnndsl.ops.activation import (
    Activation,
    Elu,
    HardSigmoid,
    LeakyRelu,
    Relu,
    Relu6,
    Sigmoid,
    Tanh,
)
from cnndsl.ops.conv import Conv
from cnndsl.ops.pool import AveragePool, MaxPool

#: Activations that never decrease, so that the largest stays the largest.
MONOTONE = (Relu, Relu6, LeakyRelu, Elu, Sigmoid, Tanh, HardSigmoid)


def _shrinks(pooled: Value, x: Value) -> bool:
    """Whether fewer positions are left than there were."""
    return pooled.type.elements * x.type.channels < x.type.elements * pooled.type.channels


@rule(
    AveragePool.of(Conv.of("x", "weight", "bias?")),
    fires_on=(
        "input 6x6x3 -> conv 4, 1x1 -> avgpool 2x2, /2",
        "input 6x6x3 -> conv 4, 1x1, bias=false -> avgpool 3x3, /2, pad=1",
        "input 6x6x4 -> conv 4, 1x1, groups=2 -> avgpool global",
    ),
    leaves_alone=(
        "input 6x6x3 -> conv 4, 3x3 -> avgpool 2x2, /2",
        "input 6x6x3 -> conv 4, 1x1 -> avgpool 3x3, /1, pad=1",
        "input 6x6x3 -> conv 4, 1x1 -> avgpool 3x3, /2, pad=1, count_pad=true",
        "input 4x4x3 -> conv 4, 1x1 as a -> avgpool 2x2, /2 -> upsample 2"
        " -> add { | from a | identity }",
    ),
)
def average_before_pointwise(
    x: Value,
    conv: Conv,
    conv_value: Value,
    weight: Value,
    bias: Value | None,
    avgpool: AveragePool,
    avgpool_value: Value,
    **_: object,
) -> Value | Declined | None:
    """avgpool(conv1x1(x)) = conv1x1(avgpool(x)): the mean of a sum is the sum of the means.

    In training too. With stride 2, DenseNet's transitions, a quarter of the multiply-adds is left.
    """
    if conv.kernel != Size(1, 1) or conv.stride != 1 or any(map(sum, conv.pads(x.type))):
        return None
    if not only_reader(conv_value):
        return Declined("something else reads the convolution")
    if avgpool.count_pad and bias is not None and any(map(sum, avgpool.pads(x.type))):
        return Declined("the pool averages padding in, which has no bias")
    if not _shrinks(avgpool_value, conv_value):
        return Declined("the pool leaves as many positions as it reads")
    pooled = apply(avgpool, x, like=avgpool_value)
    operands = [weight] if bias is None else [weight, bias]
    return apply(conv, pooled, *operands, like=conv_value)


@rule(
    MaxPool.of(Pattern(Activation, ("x",), "activation")),
    fires_on=(
        "input 6x6x3 -> relu -> maxpool 2x2, /2",
        "input 7x7x3 -> tanh -> maxpool 3x3, /2, pad=1",
        "input 7x7x3 -> leaky_relu 0.1 -> maxpool global",
    ),
    leaves_alone=(
        "input 6x6x3 -> gelu -> maxpool 2x2, /2",
        "input 6x6x3 -> relu -> maxpool 3x3, /1, pad=1",
        "input 6x6x3 -> relu as a -> maxpool 3x3, /1, pad=1 -> add { | identity | from a }",
    ),
)
def maximum_before_activation(
    x: Value,
    activation: Activation,
    activation_value: Value,
    maxpool: MaxPool,
    maxpool_value: Value,
    **_: object,
) -> Value | Declined:
    """maxpool(f(x)) = f(maxpool(x)) for every f that never decreases: relu, sigmoid, tanh, …

    In training too: where several elements are equal after f and were not before, f is flat.
    """
    if not isinstance(activation, MONOTONE):
        return Declined(f"`{activation.name}` decreases somewhere")
    if not only_reader(activation_value):
        return Declined("something else reads the activation")
    if not _shrinks(maxpool_value, x):
        return Declined("the pool leaves as many positions as it reads")
    pooled = apply(maxpool, x, like=maxpool_value)
    return apply(activation, pooled, like=activation_value)
