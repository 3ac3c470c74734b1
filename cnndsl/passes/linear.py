"""Layers with nothing between them become one."""

from __future__ import annotations

from dataclasses import replace

from cnndsl.graph.graph import Value, apply
from cnndsl.graph.rewrite import Declined, only_reader, rule
from cnndsl.graph.types import Size
from cnndsl.ops.conv import Conv
from cnndsl.ops.dense import FullyConnected
from cnndsl.ops.derived import ComposeFilters, PassShift
from cnndsl.passes.windows import before, is_padded, padded


def _composed(op: Conv | FullyConnected, inner: Value, outer: Value) -> Value | Declined:
    """`op` in place of two layers, if it has no more multiply-adds than the two."""
    if not only_reader(inner):
        return Declined("something else reads the first layer")
    graph = outer.graph
    x, first, *first_bias = graph.operands(inner.node)
    _, second, *second_bias = graph.operands(outer.node)
    of_first = inner.op.multiply_adds([inner.type], x.type, first.type)
    of_second = outer.op.multiply_adds([outer.type], inner.type, second.type)
    filters = ComposeFilters().infer(second.type, first.type)
    if op.multiply_adds([outer.type], x.type, filters) > of_first + of_second:
        return Declined("one layer would have more multiply-adds than the two")
    weight = apply(ComposeFilters(), second, first, like=second)
    bias = second_bias
    if first_bias:
        bias = [apply(PassShift(1), second, *first_bias, *second_bias, like=first_bias[0])]
    return apply(replace(op, bias=bool(bias)), x, weight, *bias, like=outer)


@rule(
    Conv.of(Conv.of("x", "first", "first_bias?").named("inner"), "second", "second_bias?").named(
        "outer"
    ),
    fires_on=(
        "input 6x6x3 -> conv 8, 1x1 -> conv 4, 1x1",
        "input 6x6x3 -> conv 8, 3x3 -> conv 4, 1x1",
        "input 7x7x3 -> conv 8, 3x3, /2, bias=false -> conv 4, 1x1, /2",
        "input 6x6x3 -> conv 8, 1x1, bias=false -> conv 4, 3x3",
        "input 7x7x3 -> conv 8, 1x1 -> conv 4, 3x3, /2, dilation=2, pad=0, bias=false",
    ),
    leaves_alone=(
        "input 6x6x3 -> conv 8, 1x1 -> conv 4, 3x3",
        "input 6x6x3 -> conv 8, 1x1 -> relu -> conv 4, 1x1",
        "input 6x6x8 -> conv 2, 1x1 -> conv 8, 1x1",
        "input 6x6x8 -> conv 2, 1x1, bias=false -> conv 4, 3x3, /2",
        "input 6x6x3 -> conv 4, 3x3 -> conv 4, 3x3",
        "input 6x6x4 -> dwconv 3x3 -> conv 4, 1x1",
        "input 6x6x3 -> conv 8, 1x1, /2, bias=false -> conv 4, 3x3",
    ),
)
def conv_of_conv(
    x: Value, inner: Conv, inner_value: Value, outer: Conv, outer_value: Value, **_: object
) -> Value | Declined | None:
    """conv(conv(x, v, a), w, b) = conv(x, w·v, b + Σ w·a) where one of the two is 1x1.

    w·v sums over the channels between. With a 1x1 first, where it skips nothing and the second
    pads no bias in. Only where the multiply-adds do not rise: low rank stays low rank.
    """
    if inner.groups > 1 or outer.groups > 1:
        return Declined("a convolution in groups")
    if outer.kernel == Size(1, 1):
        wide, on = inner, x.type
    elif inner.kernel != Size(1, 1):
        return None
    elif inner.stride > 1:
        return Declined("the 1x1 convolution skips elements")
    elif inner_value.graph.operands(inner_value.node)[2:] and is_padded(outer, inner_value.type):
        return Declined("the second convolution pads with zeros, which have no bias")
    else:
        wide, on = outer, inner_value.type
    one = replace(wide, filters=outer.filters, stride=inner.stride * outer.stride)
    found = padded(one, x.type, before(wide, on), outer_value.type.extent)
    if found is None:
        return Declined("no `pad=` says where the windows start")
    return _composed(found, inner_value, outer_value)


@rule(
    FullyConnected.of(
        FullyConnected.of("x", "first", "first_bias?").named("inner"), "second", "second_bias?"
    ).named("outer"),
    fires_on=(
        "input 3x4x2 -> fc 30 -> fc 5",
        "input 7 -> fc 6, bias=false -> fc 5",
        "input 7 -> fc 6 -> fc 5, bias=false",
    ),
    leaves_alone=(
        "input 7 -> fc 6 -> relu -> fc 5",
        "input 30 -> fc 2 -> fc 30",
    ),
)
def fc_of_fc(
    inner_value: Value, outer: FullyConnected, outer_value: Value, **_: object
) -> Value | Declined:
    """fc(fc(x, v, a), w, b) = fc(x, w·v, b + w·a) where the multiply-adds do not rise."""
    return _composed(outer, inner_value, outer_value)
