"""Weights that rewrites derive from others: computed once where their leaves are constant."""

from __future__ import annotations

from collections.abc import Sequence

from cnndsl.graph.graph import Value, apply
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


@op("concat_filters", registry=None)
class ConcatFilters(Op):
    """Weights or biases one behind the other along the first axis."""

    def infer(self, *parts: Type) -> Type:
        if len({p.shape[1:] for p in parts}) != 1:
            raise Mismatch("filters of different shapes: " + ", ".join(map(str, parts)))
        return parts[0].like((sum(p.features[0] for p in parts), *parts[0].shape[1:]))

    def gradient(
        self, inputs: Sequence[Value], outputs: Sequence[Value], grads: Sequence[Value | None]
    ) -> Sequence[Value | None]:
        (grad,) = grads
        assert grad is not None
        parts, start = [], 0
        for value in inputs:
            stop = start + value.type.features[0]
            parts.append(apply(SliceFilters(range(start, stop)), grad, like=value))
            start = stop
        return parts


@op("slice_filters", registry=None)
class SliceFilters(Op):
    """Some of the filters (the first axis)."""

    filters: range
    differentiable = False

    def infer(self, weight: Type) -> Type:
        return weight.like((len(self.filters), *weight.shape[1:]))
