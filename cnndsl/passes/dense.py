"""What reads a whole map is fully connected, and takes the map as it is."""

from __future__ import annotations

from cnndsl.graph.graph import Value, apply
from cnndsl.graph.op import Pattern
from cnndsl.graph.rewrite import Declined, rule
from cnndsl.ops.conv import Conv
from cnndsl.ops.dense import FullyConnected
from cnndsl.ops.derived import Reshape
from cnndsl.ops.geometry import dilated
from cnndsl.ops.shape import Flatten, Unflatten
from cnndsl.passes.windows import is_padded


@rule(
    Conv.of("x", "weight", "bias?"),
    fires_on=(
        "input 3x4x2 -> conv 5, 3x4, pad=0 -> relu",
        "input 4x4x2 -> avgpool global -> conv 5, 1x1, bias=false -> relu -> conv 3, 1x1",
    ),
    leaves_alone=(
        "input 3x4x2 -> conv 5, 3x3, pad=0",
        "input 3x3x2 -> conv 5, 3x3",
        "input 1x1x4 -> conv 6, 1x1, groups=2",
    ),
)
def conv_of_all(
    x: Value, conv: Conv, conv_value: Value, weight: Value, bias: Value | None, **_: object
) -> Value | Declined:
    """conv(x, w, b) = fc(x, w, b) where the kernel is the whole map, with no padding.

    The weights (O, C, H, W) are read as (O, C·H·W), the vector as a map of 1x1. In training too.
    A classifier of 1x1 convolutions on a 1x1 map becomes the fully connected one that it was.
    """
    if dilated(conv.kernel, conv.dilation) != x.type.extent or is_padded(conv, x.type):
        return Declined("the kernel is not the whole map")
    if x.type.extent != conv.kernel:
        return Declined("the kernel skips elements")
    if conv.groups > 1:
        return Declined("a convolution in groups reads a part of the channels")
    matrix = apply(Reshape((conv.filters, x.type.elements)), weight, like=weight)
    behind = [] if bias is None else [bias]
    vector = apply(
        FullyConnected(conv.filters, bias=bool(behind)), x, matrix, *behind, like=conv_value
    )
    return apply(Unflatten(conv_value.type), vector, like=conv_value)


@rule(
    FullyConnected.of(Pattern((Flatten, Unflatten), ("x",), "shaped"), "weight", "bias?"),
    fires_on=("input 3x4x2 -> relu -> flatten -> fc 5", "input 7 -> flatten -> fc 5, bias=false"),
    leaves_alone=("input 3x4x2 -> flatten -> relu -> fc 5",),
)
def flatten_before_fc(
    x: Value, fc: FullyConnected, fc_value: Value, weight: Value, bias: Value | None, **_: object
) -> Value | Declined:
    """fc(flatten(x)) = fc(x): it reads a map in the order in which `flatten` leaves it."""
    behind = [] if bias is None else [bias]
    return apply(fc, x, weight, *behind, like=fc_value)


@rule(
    Flatten.of("x"),
    fires_on=("input 7 -> fc 5 -> flatten", "input 3x4x2 -> flatten -> flatten"),
    leaves_alone=("input 3x4x2 -> flatten",),
)
def flatten_of_vector(x: Value, **_: object) -> Value | Declined:
    """flatten(x) = x for a vector x, and for a map that was made of the vector x."""
    if isinstance(x.op, Unflatten):
        (vector,) = x.graph.operands(x.node)
        return vector
    return Declined("a map is flattened") if x.type.is_map else x
