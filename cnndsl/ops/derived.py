"""Weights that rewrites derive from others: computed once where their leaves are constant."""

from __future__ import annotations

from itertools import zip_longest

from cnndsl.graph.op import Mismatch, Op, op
from cnndsl.graph.types import Size, Type


@op("scale_filters", registry=None)
class ScaleFilters(Op):
    """`w · s`: every filter (the first axis) times its own factor. Inputs: w, s."""

    differentiable = False

    def infer(self, weight: Type, scale: Type) -> Type:
        if scale.shape != weight.shape[:1]:
            raise Mismatch(f"{scale} factors for filters of {weight}")
        return weight


@op("normal_scale", registry=None)
class NormalScale(Op):
    """`gamma / √(variance + epsilon)`: what batch normalisation multiplies by."""

    epsilon: float
    differentiable = False

    def infer(self, gamma: Type, variance: Type) -> Type:
        return gamma


@op("normal_shift", registry=None)
class NormalShift(Op):
    """`beta − mean · s`: what batch normalisation adds. Inputs: beta, mean, s."""

    differentiable = False

    def infer(self, beta: Type, mean: Type, scale: Type) -> Type:
        return beta


@op("scale_inputs", registry=None)
class ScaleInputs(Op):
    """Filters in `groups`, what they read of each channel times its own factor. Inputs: w, s.

    w is (filters, channels a group, …), or the (filters, channels · positions) of an `fc` on a map.
    """

    groups: int
    differentiable = False

    def infer(self, weight: Type, scale: Type) -> Type:
        return weight


@op("pass_shift", registry=None)
class PassShift(Op):
    """`b + Σ w · shift`: the bias behind filters in `groups` that read a constant a channel.

    Inputs: w as in `scale_inputs`, the shift, and the bias b if there is one. The sum is over
    channels and positions.
    """

    groups: int
    differentiable = False

    def infer(self, weight: Type, shift: Type, bias: Type | None = None) -> Type:
        return weight.like(weight.shape[:1])


@op("compose_filters", registry=None)
class ComposeFilters(Op):
    """`Σ w₂ · w₁` over the channels between: the filters of w₂ behind those of w₁.

    Inputs: w₂ (O, M, …) and w₁ (M, I, …), one of them 1x1 or a matrix.
    """

    differentiable = False

    def infer(self, second: Type, first: Type) -> Type:
        kernel = map(max, zip_longest(second.features[2:], first.features[2:], fillvalue=1))
        return first.like((second.features[0], first.features[1], *kernel))


@op("embed_filters", registry=None)
class EmbedFilters(Op):
    """Filters (O, I, h, w) within zeros as (O, I, *kernel), from row `top` and column `left` on."""

    kernel: Size
    top: int
    left: int
    differentiable = False

    def infer(self, weight: Type) -> Type:
        return weight.like((*weight.features[:2], *self.kernel))


@op("diagonal_filters", registry=None)
class DiagonalFilters(Op):
    """The 1x1 filters (C, C / groups, 1, 1) that multiply each channel by its own factor.

    Input: the factors, (C).
    """

    groups: int
    differentiable = False

    def infer(self, scale: Type) -> Type:
        (channels,) = scale.features
        return scale.like((channels, channels // self.groups, 1, 1))
