"""Activations: functions of one element, and the softmax over channels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from cnndsl.graph.graph import Value, apply
from cnndsl.graph.op import Mismatch, Op, op
from cnndsl.graph.types import Type


class Activation(Op):
    """What all functions of one element share: shape, gradient and costs."""

    #: What the gradient is computed from: "input", or "output", which lets a kernel work in place.
    saves: ClassVar[str] = "output"
    #: Floating-point operations an element; an exponential, a tanh or an erf counts as one.
    operations: ClassVar[int] = 1

    def infer(self, x: Type) -> Type:
        return x

    def gradient(
        self, inputs: Sequence[Value], outputs: Sequence[Value], grads: Sequence[Value | None]
    ) -> Sequence[Value | None]:
        (dy,) = grads
        assert dy is not None
        saved = inputs[0] if self.saves == "input" else outputs[0]
        return [apply(ActivationGradient(self), saved, dy, like=inputs[0])]

    def elementwise(self, *inputs: Type) -> tuple[int, ...]:
        return (0,)

    def flops(self, outputs: Sequence[Type], *inputs: Type) -> int:
        return outputs[0].elements * self.operations


@op("relu")
class Relu(Activation):
    """`max(x, 0)`; the slope at 0 is 0.

    Source: Nair & Hinton, Rectified linear units improve restricted Boltzmann machines, 2010.
    """

    examples = ("input 5x4x3 -> relu", "input 7 -> relu")


@op("relu6")
class Relu6(Activation):
    """`min(max(x, 0), 6)`; the slope at 0 and 6 is 0.

    Source: Krizhevsky, Convolutional deep belief networks on CIFAR-10, 2010.
    """

    operations = 2

    examples = ("input 5x4x3 -> relu6", "input 7 -> relu6")


@op("leaky_relu")
class LeakyRelu(Activation):
    """`x` where it is positive, `slope · x` elsewhere.

    Source: Maas et al., Rectifier nonlinearities improve neural network acoustic models, 2013.
    """

    slope: float = 0.01

    operations = 2

    examples = (
        "input 5x4x3 -> leaky_relu",
        "input 5x4x3 -> leaky_relu 0.1",
        "input 7 -> leaky_relu 1.5",
    )

    def infer(self, x: Type) -> Type:
        if self.slope < 0:
            raise Mismatch(f"the slope of `leaky_relu` is not negative, this is {self.slope:g}")
        return x


@op("elu")
class Elu(Activation):
    """`x` where it is positive, `alpha · (exp(x) − 1)` elsewhere.

    Source: Clevert et al., Fast and accurate deep network learning by exponential linear units,
    2016.
    """

    alpha: float = 1.0

    operations = 4

    examples = ("input 5x4x3 -> elu", "input 5x4x3 -> elu 0.5", "input 7 -> elu")

    def infer(self, x: Type) -> Type:
        if self.alpha < 0:
            raise Mismatch(f"the alpha of `elu` is not negative, this is {self.alpha:g}")
        return x


@op("sigmoid")
class Sigmoid(Activation):
    """`σ(x) = 1 / (1 + exp(−x))`."""

    operations = 4

    examples = ("input 5x4x3 -> sigmoid", "input 7 -> sigmoid")


@op("tanh")
class Tanh(Activation):
    """The hyperbolic tangent."""

    examples = ("input 5x4x3 -> tanh", "input 7 -> tanh")


@op("silu")
class Silu(Activation):
    """`x · σ(x)`, also called swish.

    Source: Elfwing et al., Sigmoid-weighted linear units, 2018; Ramachandran et al., 2017.
    """

    saves = "input"
    operations = 5

    examples = ("input 5x4x3 -> silu", "input 7 -> silu")


@op("gelu")
class Gelu(Activation):
    """`x · Φ(x) = x · (1 + erf(x / √2)) / 2`: exact, not the approximation by tanh.

    Source: Hendrycks & Gimpel, Gaussian error linear units, 2016.
    """

    saves = "input"
    operations = 5

    examples = ("input 5x4x3 -> gelu", "input 7 -> gelu")


@op("hardswish")
class HardSwish(Activation):
    """`x · min(max(x + 3, 0), 6) / 6`.

    Source: Howard et al., Searching for MobileNetV3, 2019.
    """

    saves = "input"
    operations = 5

    examples = ("input 5x4x3 -> hardswish", "input 7 -> hardswish")


@op("hardsigmoid")
class HardSigmoid(Activation):
    """`min(max(x + 3, 0), 6) / 6`.

    Source: Howard et al., Searching for MobileNetV3, 2019, which takes slope 1/6, not 1/5.
    """

    operations = 4

    examples = ("input 5x4x3 -> hardsigmoid", "input 7 -> hardsigmoid")


@op("activation_gradient", registry=None)
class ActivationGradient(Op):
    """The gradient of an activation's input: its slope times the output's gradient.

    Inputs: what the activation saves (its input or its output), output gradient.
    """

    activation: Activation
    differentiable = False

    def infer(self, saved: Type, dy: Type) -> Type:
        return dy

    def elementwise(self, *inputs: Type) -> tuple[int, ...]:
        return 0, 1

    def flops(self, outputs: Sequence[Type], *inputs: Type) -> int:
        return outputs[0].elements * (self.activation.operations + 1)

    def spell(self, *inputs: Type) -> str:
        return f"{self.activation.name}_gradient"


@op("softmax")
class Softmax(Op):
    """`exp(x) / Σ exp(x)` over the channels, at every position of a map by itself.

    Source: Bridle, Training stochastic model recognition algorithms as networks, 1990.
    """

    examples = ("input 7 -> softmax", "input 3x4x5 -> softmax", "input 2x2x1 -> softmax")

    def infer(self, x: Type) -> Type:
        return x

    def gradient(
        self, inputs: Sequence[Value], outputs: Sequence[Value], grads: Sequence[Value | None]
    ) -> Sequence[Value | None]:
        (dy,) = grads
        assert dy is not None
        return [apply(SoftmaxGradient(), outputs[0], dy, like=inputs[0])]

    def flops(self, outputs: Sequence[Type], *inputs: Type) -> int:
        return outputs[0].elements * 5


@op("softmax_gradient", registry=None)
class SoftmaxGradient(Op):
    """The gradient of a softmax's input: `y · (dy − Σ y·dy)`. Inputs: output, output gradient."""

    differentiable = False

    def infer(self, y: Type, dy: Type) -> Type:
        return dy

    def flops(self, outputs: Sequence[Type], *inputs: Type) -> int:
        return outputs[0].elements * 4
