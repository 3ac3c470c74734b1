"""Weights that rewrites derive from others: computed once where their leaves are constant."""

from __future__ import annotations

from cnndsl.graph.op import Mismatch, Op, op
from cnndsl.graph.types import Type


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
    """`beta + (b − mean) · s`: what batch normalisation adds behind a bias b (none: 0).

    Inputs: beta, mean, s and the bias if there is one.
    """

    differentiable = False

    def infer(self, beta: Type, mean: Type, scale: Type, bias: Type | None = None) -> Type:
        return beta
