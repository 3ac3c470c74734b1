"""Fully connected layers."""

from __future__ import annotations

import math
from collections.abc import Sequence

from cnndsl.graph.graph import Value, apply
from cnndsl.graph.op import KW_ONLY, Initial, Mismatch, Op, Parameters, Weight, Window, op
from cnndsl.graph.types import Type
from cnndsl.ops.conv import BiasGradient


@op("fc")
class FullyConnected(Op):
    """Every output reads every input: `y = W x + b`. Flattens a map by itself.

    A map's elements are taken in the order channel, row, column, so that weights are those of other
    frameworks; W is `(features, inputs)`. A convolution's filters `(features, C, H, W)` are such a
    matrix too.
    """

    features: int
    _: KW_ONLY
    bias: bool = True

    examples = (
        "input 3x4x2 -> fc 5",
        "input 1x1x6 -> fc 4, bias=false",
        "input 2x2x3 -> fc 4 -> fc 3",
    )

    def infer(self, x: Type, weight: Type, bias: Type | None = None) -> Type:
        return x.like((x.shape[0], self.features))

    def parameters(self, x: Type) -> Parameters:
        if self.features < 1:
            raise Mismatch(
                f"a fully connected layer has at least one output, not {self.features}",
                argument="features",
            )
        initial = Initial("weights", fan_in=x.elements, fan_out=self.features)
        weights = {"weight": Weight((self.features, x.elements), initial)}
        if self.bias:
            weights["bias"] = Weight((self.features,), Initial(), decays=False)
        return weights

    def gradient(
        self, inputs: Sequence[Value], outputs: Sequence[Value], grads: Sequence[Value | None]
    ) -> Sequence[Value | None]:
        x, weight = inputs[:2]
        (dy,) = grads
        assert dy is not None
        dx = apply(FullyConnectedInputGradient(x.type), weight, dy, like=x)
        dw = apply(FullyConnectedWeightGradient(weight.type.widened), x, dy, like=outputs[0])
        db = [apply(BiasGradient(), dy, like=outputs[0])] if len(inputs) == 3 else []
        return [dx, dw, *db]

    def multiply_adds(self, outputs: Sequence[Type], *inputs: Type) -> int:
        return math.prod(inputs[1].features)

    def window(self, x: Type) -> Window:
        return Window(None)


@op("fc_input_gradient", registry=None)
class FullyConnectedInputGradient(Op):
    """The gradient of a fully connected layer's input. Inputs: weight, output gradient."""

    x: Type
    differentiable = False

    def infer(self, weight: Type, dy: Type) -> Type:
        return self.x

    def multiply_adds(self, outputs: Sequence[Type], *inputs: Type) -> int:
        return math.prod(inputs[0].features)


@op("fc_weight_gradient", registry=None)
class FullyConnectedWeightGradient(Op):
    """The gradient of a fully connected layer's weight. Inputs: input, output gradient."""

    weight: Type
    bias: bool = False
    differentiable = False

    def infer(self, x: Type, dy: Type) -> Type | tuple[Type, Type]:
        return (self.weight, BiasGradient().infer(dy)) if self.bias else self.weight

    def multiply_adds(self, outputs: Sequence[Type], *inputs: Type) -> int:
        return math.prod(outputs[0].features)
