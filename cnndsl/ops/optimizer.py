"""Optimizers: a parameter after one step, from its gradient and what the optimizer remembers."""

from __future__ import annotations

from collections.abc import Sequence

from cnndsl.graph.op import KW_ONLY, OPTIMIZERS, Mismatch, Op, op
from cnndsl.graph.types import Type


class Optimizer(Op):
    """What all optimizers share: one step on one parameter, element by element.

    Inputs: parameter, gradient, the moments in order, learning rate (a scalar), and where
    `needs_step` the number of the step (int64, the first is 1). Results: the new parameter, the new
    moments in the same order.
    """

    differentiable = False

    weight_decay: float

    #: Whether the number of the step is an input.
    needs_step = False
    #: Floating-point operations an element.
    operations = 2

    def moments(self, parameter: Type) -> dict[str, Type]:
        """What the optimizer remembers of a parameter, by name, in the order of inputs; at first
        zeros."""
        return {}

    def infer(self, parameter: Type, gradient: Type, *state: Type) -> tuple[Type, ...]:
        self.check()
        moments = tuple(self.moments(parameter).values())
        if gradient.shape != parameter.shape:
            raise Mismatch(f"a gradient of {gradient} for a parameter of {parameter}")
        if len(state) != len(moments) + 1 + self.needs_step:
            raise Mismatch(f"`{self.name}` takes {len(moments)} moments and the learning rate")
        return (parameter, *moments)

    def check(self) -> None:
        """Whether the settings make sense.

        Raises:
            Mismatch: one is out of its range.
        """
        if self.weight_decay < 0:
            raise Mismatch(f"weight decay is not negative, this is {self.weight_decay:g}")

    def flops(self, outputs: Sequence[Type], *inputs: Type) -> int:
        return outputs[0].elements * self.operations


def _fraction(name: str, value: float) -> None:
    if not 0 <= value < 1:
        raise Mismatch(f"{name} is at least 0 and less than 1, this is {value:g}")


@op("sgd", registry=OPTIMIZERS)
class SGD(Optimizer):
    """Stochastic gradient descent: `v = momentum · v + g`, `w −= rate · v`.

    With `weight_decay` d, `g += d · w` before all else; without momentum v is g; with `nesterov`
    the step is `g + momentum · v`, v being the new one.

    Source: Polyak, 1964; Nesterov, 1983; as in Sutskever et al., On the importance of
    initialization and momentum, 2013, with the rate outside the velocity.
    """

    _: KW_ONLY
    momentum: float = 0.0
    nesterov: bool = False
    weight_decay: float = 0.0

    operations = 6

    def moments(self, parameter: Type) -> dict[str, Type]:
        return {"velocity": parameter} if self.momentum else {}

    def check(self) -> None:
        super().check()
        _fraction("momentum", self.momentum)
        if self.nesterov and not self.momentum:
            raise Mismatch("`nesterov` needs a momentum", help="add `momentum=0.9`")


class _Adaptive(Optimizer):
    """What Adam and AdamW share."""

    beta1: float
    beta2: float
    epsilon: float

    needs_step = True
    operations = 14

    def moments(self, parameter: Type) -> dict[str, Type]:
        return {"first_moment": parameter, "second_moment": parameter}

    def check(self) -> None:
        super().check()
        _fraction("beta1", self.beta1)
        _fraction("beta2", self.beta2)
        if self.epsilon <= 0:
            raise Mismatch(f"epsilon is positive, this is {self.epsilon:g}")


@op("adam", registry=OPTIMIZERS)
class Adam(_Adaptive):
    """Adam, at step t: `m = β₁·m + (1 − β₁)·g`, `v = β₂·v + (1 − β₂)·g²`,
    `w −= rate · m̂ / (√v̂ + epsilon)`, with `m̂ = m / (1 − β₁ᵗ)`, `v̂ = v / (1 − β₂ᵗ)`.

    With `weight_decay` d, `g += d · w` before all else (an L2 penalty; `adamw` decouples it).

    Source: Kingma & Ba, Adam: a method for stochastic optimization, 2015, algorithm 1.
    """

    _: KW_ONLY
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    weight_decay: float = 0.0


@op("adamw", registry=OPTIMIZERS)
class AdamW(_Adaptive):
    """Adam with decoupled weight decay d: `w −= rate · d · w` first, then Adam's step.

    Source: Loshchilov & Hutter, Decoupled weight decay regularization, 2019 (with the schedule's
    factor in the rate).
    """

    _: KW_ONLY
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    weight_decay: float = 0.01
