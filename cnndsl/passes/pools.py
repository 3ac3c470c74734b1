"""Pools of pools, pools of the whole map, and pools that only take every n-th element."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

from cnndsl.graph.graph import Value, apply
from cnndsl.graph.op import Pattern
from cnndsl.graph.rewrite import Declined, only_reader, rule
from cnndsl.graph.types import Size
from cnndsl.ops.conv import Conv
from cnndsl.ops.pool import GLOBAL, AveragePool, MaxPool, Pool
from cnndsl.passes.windows import Span, before, is_padded, padded, spans


@rule(
    Pattern(Pool, (Pattern(Pool, ("x",), "inner"),), "outer"),
    fires_on=(
        "input 8x8x3 -> maxpool 2x2, /2 -> maxpool 2x2, /2",
        "input 9x9x3 -> maxpool 3x3, /2, pad=1 -> maxpool 2x2, /2",
        "input 8x8x3 -> maxpool 3x3, /2, ceil=true -> maxpool 2x2, /2",
        "input 7x9x3 -> maxpool 3x3, /2 -> maxpool global",
        "input 8x12x3 -> avgpool 2x2, /2 -> avgpool 2x2, /2",
        "input 7x9x3 -> avgpool 2x3, /3 -> avgpool 1x1, /2",
        "input 8x9x3 -> avgpool 2x2, /2 -> avgpool global",
        "input 32x32x3 -> avgpool 2x2, /2, count_pad=true -> avgpool 2x2, /2, pad=1",
        "input 8x8x3 -> maxpool 3x3, /1, pad=1 -> avgpool 1x1, /2",
    ),
    leaves_alone=(
        "input 8x8x3 -> maxpool 5x5, /1, pad=2 -> maxpool 5x5, /1, pad=2",
        "input 7x7x3 -> maxpool 2x2, /2 -> maxpool 3x3, /2, pad=1",
        "input 9x9x3 -> maxpool 2x2, /3 -> maxpool 2x2, /1",
        "input 9x9x3 -> avgpool 3x3, /2 -> avgpool 2x2, /2",
        "input 9x9x3 -> avgpool 3x3, /3 -> avgpool 3x3, /1, pad=1, count_pad=true",
        "input 8x8x3 -> maxpool 2x2, /2 -> avgpool 2x2, /2",
        "input 8x8x3 -> maxpool 2x2, /2 as a -> maxpool 2x2, /2 -> upsample 2"
        " -> add { | from a | identity }",
    ),
)
def pool_of_pool(
    x: Value,
    inner: AveragePool | MaxPool,
    inner_value: Value,
    outer: AveragePool | MaxPool,
    outer_value: Value,
    **_: object,
) -> Value | Declined:
    """A pool of k₂ by s₂ of a pool of k₁ by s₁ is a pool of (k₂ − 1)·s₁ + k₁ by s₁·s₂.

    For the largest where windows leave no gaps; for means where they tile; and where the outer one
    takes single elements. In training too; where several elements are equally large, another of
    them may get the gradient.
    """
    middle = inner_value.type
    size, stride = outer.size(middle), inner.step()
    if type(inner) is not type(outer) and size != Size(1, 1):
        return Declined("one takes the largest, the other the mean")
    if not only_reader(inner_value):
        return Declined("something else reads the pool")
    for pool, on in ((inner, x.type), (outer, middle)):
        if isinstance(pool, AveragePool) and pool.count_pad and is_padded(pool, on):
            return Declined("padding is averaged in")
    if means := isinstance(inner, AveragePool):
        inner = replace(inner, count_pad=False)
    axes = zip(spans(outer, middle), spans(inner, x.type), strict=True)
    read = tuple(_composed(*axis, means) for axis in axes)
    if None in read:
        return Declined("windows overlap or end early" if means else "windows leave gaps")
    wide = Size(*((n - 1) * stride + k for n, k in zip(size, inner.size(x.type), strict=True)))
    firsts = zip(before(outer, middle), before(inner, x.type), strict=True)
    top, left = (n * stride + k for n, k in firsts)
    for ceil in (False, True):
        pool = replace(inner, kernel=wide, stride=stride * outer.step(), ceil=ceil)
        found = padded(pool, x.type, (top, left), outer_value.type.extent)
        if found is not None and spans(found, x.type) == read:
            break
    else:
        return Declined("no one window reads the same elements")
    work = inner.flops([middle], x.type) + outer.flops([outer_value.type], middle)
    if found.flops([outer_value.type], x.type) > work:
        return Declined("the one window would look at more elements than the two")
    return apply(found, x, like=outer_value)


def _composed(outer: Sequence[Span], inner: Sequence[Span], means: bool) -> list[Span] | None:
    """What windows of windows read along an axis.

    None if an element between is missed or, for `means`, does not count as much as its neighbours.
    """
    read = []
    for first, last in outer:
        windows = inner[first:last]
        if any(a[1] < b[0] or (means and a[1] > b[0]) for a, b in pairwise(windows)):
            return None
        if means and len({end - start for start, end in windows}) > 1:
            return None
        read.append((windows[0][0], windows[-1][1]))
    return read


@rule(
    Pattern(Pool, ("x",), "pool"),
    fires_on=(
        "input 7x7x3 -> avgpool 7x7, /1 -> flatten",
        "input 4x5x3 -> maxpool 4x5, /4",
    ),
    leaves_alone=(
        "input 7x7x3 -> avgpool 5x5, /5 -> flatten",
        "input 4x4x3 -> maxpool 4x4, /4, pad=1",
        "input 4x4x3 -> avgpool global",
    ),
)
def pool_of_all(
    x: Value, pool: AveragePool | MaxPool, pool_value: Value, **_: object
) -> Value | None:
    """A pool whose window is the whole map is the global pool."""
    whole = pool.size(x.type) == x.type.extent and not is_padded(pool, x.type)
    if pool.kernel == GLOBAL or not whole:
        return None
    return apply(replace(pool, kernel=GLOBAL, stride=None, pad=0, ceil=False), x, like=pool_value)


@rule(
    Conv.of(Pattern(Pool, ("x",), "pool"), "weight", "bias?"),
    fires_on=(
        "input 6x6x3 -> maxpool 1x1, /2 -> conv 4, 1x1",
        "input 9x7x4 -> avgpool 1x1, /2, ceil=true -> conv 4, 1x1, /2, groups=2, bias=false",
    ),
    leaves_alone=(
        "input 6x6x3 -> maxpool 1x1, /2 -> conv 4, 3x3",
        "input 6x6x3 -> maxpool 2x2, /2 -> conv 4, 1x1",
    ),
)
def stride_of_stride(
    x: Value,
    pool: AveragePool | MaxPool,
    conv: Conv,
    conv_value: Value,
    weight: Value,
    bias: Value | None,
    **_: object,
) -> Value | Declined | None:
    """conv1x1(pool1x1(x)) by strides s₁ and s₂ = conv1x1(x) by s₁·s₂: it skips what was dropped."""
    if pool.size(x.type) != Size(1, 1):
        return None
    if conv.kernel != Size(1, 1):
        return Declined("the convolution looks at more than one element")
    skipping = replace(conv, stride=pool.step() * conv.stride, pad=0)
    behind = [] if bias is None else [bias]
    return apply(skipping, x, weight, *behind, like=conv_value)
