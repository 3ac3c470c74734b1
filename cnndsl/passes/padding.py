"""Explicit padding becomes that of the window which reads it."""

from __future__ import annotations

from dataclasses import replace

from cnndsl.graph.graph import Value, apply
from cnndsl.graph.op import Pattern
from cnndsl.graph.rewrite import Declined, rule
from cnndsl.ops.activation import HardSigmoid, Relu, Relu6, Sigmoid
from cnndsl.ops.conv import Conv
from cnndsl.ops.pool import GLOBAL, AveragePool, MaxPool
from cnndsl.ops.shape import Pad
from cnndsl.passes.windows import before, is_padded, padded

#: Activations that are never less than the zeros of padding, and flat where they equal them.
NOT_NEGATIVE = (Relu, Relu6, Sigmoid, HardSigmoid)


@rule(
    Pattern((Conv, MaxPool, AveragePool), (Pad.of("x"), "weight?", "bias?"), "window"),
    fires_on=(
        "input 6x6x3 -> pad 1 -> conv 4, 3x3, pad=0",
        "input 6x6x3 -> pad bottom=1, right=1 -> conv 4, 3x3, /2, pad=0",
        "input 6x6x4 -> pad 1 -> dwconv 5x5, pad=1, bias=false",
        "input 6x6x3 -> pad 1 -> avgpool 3x3, /2",
        "input 6x6x3 -> relu -> pad 1 -> maxpool 3x3, /2",
    ),
    leaves_alone=(
        "input 6x6x3 -> pad 1 -> conv 4, 1x1",
        "input 6x6x3 -> pad top=1 -> conv 4, 3x3, pad=0",
        "input 6x6x3 -> pad 1, channels=2 -> conv 4, 3x3, pad=0",
        "input 6x6x3 -> pad 1 -> avgpool 3x3, /2, pad=1",
        "input 6x6x3 -> tanh -> pad 1 -> maxpool 3x3, /2",
        "input 6x6x3 -> pad 1 -> avgpool global",
    ),
)
def fold_padding(
    x: Value,
    pad: Pad,
    pad_value: Value,
    window: Conv | MaxPool | AveragePool,
    window_value: Value,
    weight: Value | None,
    bias: Value | None,
    **_: object,
) -> Value | Declined:
    """window(pad(x)) = window(x) with as much more padding of its own.

    For a convolution, a mean that counts padding in, and the largest of what is never negative.
    """
    if pad.channels:
        return Declined("channels are added too")
    if not isinstance(window, Conv) and (window.kernel == GLOBAL or window.ceil):
        return Declined("the pool has no padding of its own to add to")
    if isinstance(window, MaxPool) and not isinstance(x.op, NOT_NEGATIVE):
        return Declined("zeros may be larger than what they surround")
    if isinstance(window, AveragePool):
        if is_padded(window, pad_value.type) and not window.count_pad:
            return Declined("the pool does not count its own padding in")
        window = replace(window, count_pad=True)
    top, left = pad.sides()[::2]
    first_row, first_column = before(window, pad_value.type)
    start = (first_row + top, first_column + left)
    found = padded(window, x.type, start, window_value.type.extent)
    if found is None:
        return Declined("no `pad=` says as much")
    weights = [v for v in (weight, bias) if v is not None]
    return apply(found, x, *weights, like=window_value)
