"""Parallel linear branches that are added up become one convolution."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from cnndsl.graph.graph import Value, apply
from cnndsl.graph.leaves import Ones
from cnndsl.graph.op import Pattern
from cnndsl.graph.rewrite import Declined, only_reader, rule
from cnndsl.graph.types import Size, Type
from cnndsl.ops.conv import Conv
from cnndsl.ops.derived import DiagonalFilters, EmbedFilters
from cnndsl.ops.merge import Add
from cnndsl.ops.norm import BatchNorm
from cnndsl.passes.fold_batchnorm import affine
from cnndsl.passes.windows import before


def _source(branch: Value) -> Value:
    """The value that a branch is linear in: what its convolution or batch norm reads, or itself."""
    if isinstance(branch.op, Conv | BatchNorm) and only_reader(branch):
        return branch.graph.operands(branch.node)[0]
    return branch


def _as_conv(branch: Value, x: Value, groups: int) -> Conv:
    """The convolution of x that a branch is; for a batch norm or x itself a 1x1 in groups."""
    if branch != x and isinstance(branch.op, Conv):
        return branch.op
    return Conv(x.type.channels, Size(1, 1), groups=groups)


def _place(narrow: Conv, wide: Conv, x: Type) -> tuple[int, int] | Declined:
    """At which row and column of the wide kernel the narrow one lies."""
    if narrow.stride != wide.stride or narrow.groups != wide.groups:
        return Declined("the strides or the groups differ")
    if narrow.dilation != wide.dilation and narrow.kernel != Size(1, 1):
        return Declined("the dilations differ")
    place = []
    for first, start, small, large in zip(
        before(wide, x), before(narrow, x), narrow.kernel, wide.kernel, strict=True
    ):
        offset, rest = divmod(first - start, wide.dilation)
        if rest or not 0 <= offset <= large - small:
            return Declined("no window holds the others")
        place.append(offset)
    return place[0], place[1]


def _weights(branch: Value, x: Value, groups: int) -> tuple[Value, list[Value]]:
    """The filters of a branch as a convolution of x, and its bias if it has one."""
    if branch == x:
        ones = apply(Ones(x.type.like((x.type.channels,))), like=x)
        return apply(DiagonalFilters(groups), ones, like=x), []
    if isinstance(branch.op, BatchNorm):
        scale, shift = affine(branch)
        return apply(DiagonalFilters(groups), scale, like=scale), [shift]
    _, weight, *bias = branch.graph.operands(branch.node)
    return weight, bias


def _sum(values: Sequence[Value]) -> Value:
    return values[0] if len(values) == 1 else apply(Add(), *values, like=values[0])


@rule(
    Pattern(Add, None, "total"),
    fires_on=(
        "input 6x6x3 -> add { | conv 4, 3x3 | conv 4, 1x1, bias=false }",
        "input 7x7x3 -> add { | conv 3, 3x3 | conv 3, 1x1 | identity }",
        "input 7x7x3 -> relu -> add { | bn | conv 3, 3x3 | conv 3, 1x1 | identity }",
        "input 7x7x3 -> add { | conv 4, 3x3, /2 | conv 4, 1x1, /2 }",
        "input 6x6x4 -> add { | dwconv 3x3, bias=false | identity }",
        "input 6x6x4 -> add { | conv 4, 3x3, groups=2 | conv 4, 1x1, groups=2 | bn }",
        "input 9x9x3 -> add { | conv 4, 3x3, dilation=2 | conv 4, 1x3, dilation=2 | conv 4, 1x1 }",
        "input 6x6x3 -> add { | conv 4, 3x3 | conv 4, 1x1 | conv 4, 1x1 -> relu }",
    ),
    leaves_alone=(
        "input 6x6x3 -> add { | conv 4, 3x3 | conv 4, 1x1 -> relu }",
        "input 7x7x3 -> add { | conv 4, 3x3, /2 | conv 4, 1x1, /2 -> relu }",
        "input 6x6x3 -> add { | conv 4, 1x3 | conv 4, 3x1 }",
        "input 6x6x4 -> add { | conv 4, 3x3 | conv 4, 1x1, groups=2 }",
        "input 6x6x3 -> add { | conv 3, 3x3 -> relu | identity }",
        "input 7x7x3 -> add { | conv 4, 4x4, pad=0 | conv 4, 1x1, /2 }",
    ),
)
def merge_branches(total_value: Value, **_: object) -> Value | Declined | None:
    """conv(x, v, a) + conv(x, w, b) + s·x + t = conv(x, v + w₀ + s₀, a + b + t).

    w₀ is the smaller kernel w within zeros, as large as v; s₀ the filter that multiplies each
    channel by s, for a batch norm of x, or x itself. The windows have one stride and the smaller
    ones lie within the largest. Source: Ding et al., RepVGG, 2021.
    """
    graph = total_value.graph
    operands = graph.operands(total_value.node)
    branches: dict[Value, list[Value]] = {}
    for value in operands:
        branches.setdefault(_source(value), []).append(value)
    why: Declined | None = None
    for x, members in branches.items():
        convs = [v for v in members if v != x and isinstance(v.op, Conv)]
        if not convs or len(members) == 1:
            continue
        wide = max((_as_conv(v, x, 1) for v in convs), key=lambda conv: math.prod(conv.kernel))
        places = [_place(_as_conv(v, x, wide.groups), wide, x.type) for v in members]
        merged = [
            (v, p) for v, p in zip(members, places, strict=True) if not isinstance(p, Declined)
        ]
        if len(merged) == 1:
            why = next(place for place in places if isinstance(place, Declined))
            continue
        filters, biases = [], []
        for branch, (top, left) in merged:
            weight, bias = _weights(branch, x, wide.groups)
            filters.append(apply(EmbedFilters(wide.kernel, top, left), weight, like=weight))
            biases += bias
        one = replace(wide, bias=bool(biases))
        bias = [_sum(biases)] if biases else []
        result = apply(one, x, _sum(filters), *bias, like=total_value)
        done = [branch for branch, _ in merged]
        return _sum([result, *(v for v in operands if v not in done)])
    return why
