"""Normalisation of single images: over groups of channels, over the channels of a position."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from cnndsl.graph.graph import Value, apply
from cnndsl.graph.op import KW_ONLY, Mismatch, Op, Parameters, Window, op
from cnndsl.graph.types import Type
from cnndsl.ops.norm import affine_weights, check_epsilon


class Normalization(Op, ABC):
    """What norms of single images share: statistics in the forward pass, and the gradient."""

    epsilon: float

    @abstractmethod
    def statistics(self, x: Type) -> Type:
        """The type of the mean and of the inverse deviation."""

    def infer(self, x: Type, gamma: Type, beta: Type) -> tuple[Type, Type, Type]:
        statistics = self.statistics(x).widened
        return x, statistics, statistics

    def parameters(self, x: Type) -> Parameters:
        check_epsilon(self.name, self.epsilon)
        return affine_weights(x.channels)

    def gradient(
        self, inputs: Sequence[Value], outputs: Sequence[Value], grads: Sequence[Value | None]
    ) -> Sequence[Value | None]:
        x, gamma, _ = inputs
        _, mean, inverse = outputs
        dy = grads[0]
        assert dy is not None
        first = apply(NormalizationGradient(self), x, gamma, mean, inverse, dy, like=x)
        return [Value(first.graph, first.node, slot) for slot in range(3)]

    def flops(self, outputs: Sequence[Type], *inputs: Type) -> int:
        return 7 * outputs[0].elements


@op("groupnorm")
class GroupNorm(Normalization):
    """Each image's channels in `groups` equal parts, each brought to mean 0 and variance 1.

    `gamma · (x − mean) / √(variance + epsilon) + beta`, with the mean and the biased variance over
    the part's channels at all positions, and gamma and beta per channel. The further results are
    mean and inverse deviation, (N, groups), for the gradient.

    Source: Wu & He, Group normalization, 2018.
    """

    groups: int
    _: KW_ONLY
    epsilon: float = 1e-5

    examples = (
        "input 4x5x6 -> groupnorm 2",
        "input 4x3x4 -> groupnorm 4",
        "input 3x3x5 -> groupnorm 1, epsilon=1e-3",
        "input 8 -> groupnorm 2",
    )

    def parameters(self, x: Type) -> Parameters:
        if self.groups < 1 or x.channels % self.groups:
            raise Mismatch(f"{x.channels} channels cannot be split into {self.groups} equal groups")
        return super().parameters(x)

    def statistics(self, x: Type) -> Type:
        return x.like((x.shape[0], self.groups))

    def window(self, x: Type) -> Window:
        return Window(None)


@op("layernorm")
class LayerNorm(Normalization):
    """The channels at each position brought to mean 0 and variance 1.

    `gamma · (x − mean) / √(variance + epsilon) + beta`, with the mean and the biased variance over
    the channels, at every position of a map by itself, and gamma and beta per channel. epsilon is
    ConvNeXt's, 1e-6 (PyTorch's default is 1e-5). The further results are mean and inverse
    deviation, one a position, for the gradient.

    Source: Ba et al., Layer normalization, 2016; Liu et al., A ConvNet for the 2020s, 2022.
    """

    _: KW_ONLY
    epsilon: float = 1e-6

    examples = ("input 4x5x6 -> layernorm", "input 7 -> layernorm epsilon=1e-3")

    def statistics(self, x: Type) -> Type:
        return x.like((*x.shape[:-1], 1))


@op("normalization_gradient", registry=None)
class NormalizationGradient(Op):
    """The gradients of x, gamma and beta of a norm of single images.

    Inputs: x, gamma, mean, inverse deviation, output gradient. With x̂ the normalised x,
    g = gamma · dy, and means over what one statistic covers: `dx = inverse · (g − mean(g) − x̂ ·
    mean(g · x̂))`, `dgamma = Σ dy · x̂`, `dbeta = Σ dy`, over images and positions.
    """

    norm: Normalization
    differentiable = False

    def infer(
        self, x: Type, gamma: Type, mean: Type, inverse: Type, dy: Type
    ) -> tuple[Type, Type, Type]:
        return x, gamma, gamma

    def flops(self, outputs: Sequence[Type], *inputs: Type) -> int:
        return 10 * outputs[0].elements

    def spell(self, *inputs: Type) -> str:
        return f"{self.norm.name}_gradient"
