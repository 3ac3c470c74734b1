"""Normalisation over the batch, by neighbouring channels, and learned scales."""

from __future__ import annotations

import math
from collections.abc import Sequence

from cnndsl.graph.graph import Value, apply
from cnndsl.graph.op import KW_ONLY, Initial, Mismatch, Op, Parameters, Weight, op
from cnndsl.graph.types import Type
from cnndsl.ops.activation import Activation, Relu
from cnndsl.ops.conv import BiasGradient
from cnndsl.ops.epilogue import Epilogue


def check_epsilon(name: str, epsilon: float) -> None:
    """Raise a Mismatch unless what a norm adds to variances is positive."""
    if epsilon <= 0:
        raise Mismatch(f"the epsilon of `{name}` is positive, this is {epsilon:g}")


def affine_weights(channels: int) -> Parameters:
    """The learned scale and shift of a norm, at first 1 and 0."""
    return {
        "gamma": Weight((channels,), Initial(value=1.0), decays=False),
        "beta": Weight((channels,), Initial(), decays=False),
    }


@op("bn")
class BatchNorm(Op):
    """`gamma · (x − mean) / √(variance + epsilon) + beta` per channel, with running statistics.

    Of maps and of vectors. In training, mean and variance are those of the batch (over
    images and positions, the variance biased), and the running ones become
    `momentum · running + (1 − momentum) · batch`, with the unbiased variance. (What PyTorch calls
    momentum is 1 − this one.)

    Source: Ioffe & Szegedy, Batch normalization, 2015.
    """

    _: KW_ONLY
    epsilon: float = 1e-5
    momentum: float = 0.9

    examples = (
        "input 5x4x3 -> bn",
        "input 7 -> bn epsilon=1e-3, momentum=0.99",
        "input 6x6x2 -> conv 4, 3x3, bias=false -> bn -> relu",
    )

    def infer(self, x: Type, gamma: Type, beta: Type, mean: Type, variance: Type) -> Type:
        return x

    def parameters(self, x: Type) -> Parameters:
        check_epsilon(self.name, self.epsilon)
        if not 0 <= self.momentum <= 1:
            raise Mismatch(f"the momentum of `bn` is between 0 and 1, this is {self.momentum:g}")
        return affine_weights(x.channels)

    def buffers(self, x: Type) -> Parameters:
        return {
            "mean": Weight((x.channels,), Initial(), decays=False),
            "variance": Weight((x.channels,), Initial(value=1.0), decays=False),
        }

    def gradient(
        self, inputs: Sequence[Value], outputs: Sequence[Value], grads: Sequence[Value | None]
    ) -> Sequence[Value | None]:
        """The gradient with the statistics as constants."""
        x, gamma, beta, mean, variance = inputs
        (dy,) = grads
        assert dy is not None
        dx = apply(BatchNormInputGradient(self.epsilon), gamma, variance, dy, like=x)
        dgamma = apply(BatchNormScaleGradient(self.epsilon), x, mean, variance, dy, like=gamma)
        return [dx, dgamma, apply(BiasGradient(), dy, like=beta), None, None]

    def elementwise(self, *inputs: Type) -> tuple[int, ...]:
        return (0,)

    def flops(self, outputs: Sequence[Type], *inputs: Type) -> int:
        return 2 * outputs[0].elements


@op("bn_input_gradient", registry=None)
class BatchNormInputGradient(Op):
    """`dy · gamma / √(variance + epsilon)`. Inputs: gamma, variance, output gradient."""

    epsilon: float
    differentiable = False

    def infer(self, gamma: Type, variance: Type, dy: Type) -> Type:
        return dy

    def elementwise(self, *inputs: Type) -> tuple[int, ...]:
        return (2,)


@op("bn_scale_gradient", registry=None)
class BatchNormScaleGradient(Op):
    """The gradient of gamma, `Σ dy · (x − mean) / √(variance + epsilon)` over images and positions.

    Inputs: x, mean, variance, output gradient.
    """

    epsilon: float
    differentiable = False

    def infer(self, x: Type, mean: Type, variance: Type, dy: Type) -> Type:
        return mean

    def flops(self, outputs: Sequence[Type], *inputs: Type) -> int:
        return 3 * inputs[0].elements


@op("bn_training", registry=None)
class BatchNormTraining(Op):
    """Batch normalisation by the batch's own statistics. Inputs: x, gamma, beta.

    Results: y; per channel the mean, the inverse deviation `1 / √(variance + epsilon)` that y is
    made with (or what an engine would rather give its gradient), and the unbiased variance (of a
    single element: 0) for the running average. Only y has a gradient.
    """

    epsilon: float

    def infer(self, x: Type, gamma: Type, beta: Type) -> tuple[Type, Type, Type, Type]:
        return x, gamma, gamma, gamma

    def gradient(
        self, inputs: Sequence[Value], outputs: Sequence[Value], grads: Sequence[Value | None]
    ) -> Sequence[Value | None]:
        x, gamma, _ = inputs
        _, mean, inverse, _ = outputs
        dy = grads[0]
        assert dy is not None
        first = apply(BatchNormTrainingGradient(self.epsilon), x, gamma, mean, inverse, dy, like=x)
        return [Value(first.graph, first.node, slot) for slot in range(3)]

    def again(
        self, inputs: Sequence[Value], outputs: Sequence[Value]
    ) -> tuple[Op, Sequence[Value]]:
        return BatchNormAgain(self.epsilon), (*inputs, *outputs[1:3])

    def flops(self, outputs: Sequence[Type], *inputs: Type) -> int:
        return 7 * outputs[0].elements


@op("bn_again", registry=None)
class BatchNormAgain(Op):
    """`gamma · (x − mean) · inverse + beta`: batch normalisation by statistics that are known.

    Inputs: x, gamma, beta, mean, inverse deviation.
    """

    epsilon: float
    differentiable = False

    def infer(self, x: Type, gamma: Type, beta: Type, mean: Type, inverse: Type) -> Type:
        return x

    def elementwise(self, *inputs: Type) -> tuple[int, ...]:
        return (0,)

    def flops(self, outputs: Sequence[Type], *inputs: Type) -> int:
        return 2 * outputs[0].elements


@op("bn_training_gradient", registry=None)
class BatchNormTrainingGradient(Op):
    """The gradients of x, gamma and beta. Inputs: x, gamma, mean, inverse deviation, dy.

    With x̂ the normalised x and means over images and positions:
    `dx = gamma · inverse · (dy − mean(dy) − x̂ · mean(dy · x̂))`, `dgamma = Σ dy · x̂` and
    `dbeta = Σ dy`.
    """

    epsilon: float
    differentiable = False

    def infer(
        self, x: Type, gamma: Type, mean: Type, inverse: Type, dy: Type
    ) -> tuple[Type, Type, Type]:
        return x, gamma, gamma

    def flops(self, outputs: Sequence[Type], *inputs: Type) -> int:
        return 9 * outputs[0].elements


@op("bn_relu_training", registry=None)
class BatchNormReluTraining(Op):
    """`relu(bn(x))` by the batch's own statistics. Inputs: x, gamma, beta.

    Results: those of `bn_training`, the first behind the relu, and where that is positive. It
    stands in graphs whose gradients are there already.
    """

    epsilon: float
    differentiable = False

    def infer(self, x: Type, gamma: Type, beta: Type) -> tuple[Type, ...]:
        return x, gamma, gamma, gamma, Type(x.shape, "uint8")

    def again(
        self, inputs: Sequence[Value], outputs: Sequence[Value]
    ) -> tuple[Op, Sequence[Value]]:
        return Epilogue(BatchNormAgain(self.epsilon), activation=Relu()), (*inputs, *outputs[1:3])

    def flops(self, outputs: Sequence[Type], *inputs: Type) -> int:
        return 8 * outputs[0].elements

    def spell(self, *inputs: Type) -> str:
        return "bn_training + relu"


@op("bn_relu_gradient", registry=None)
class BatchNormReluGradient(Op):
    """The gradients of x, gamma and beta, through a relu.

    Inputs: x, gamma, mean, inverse deviation, where the relu's result is positive, its gradient.
    """

    epsilon: float
    differentiable = False

    def infer(
        self, x: Type, gamma: Type, mean: Type, inverse: Type, positive: Type, dy: Type
    ) -> tuple[Type, Type, Type]:
        return x, gamma, gamma

    def flops(self, outputs: Sequence[Type], *inputs: Type) -> int:
        return 10 * outputs[0].elements


@op("bn_activation_gradient", registry=None)
class BatchNormActivationGradient(Op):
    """The gradients of x, gamma and beta, through an activation of what the norm gives.

    Inputs: x, gamma, mean, inverse deviation, beta, the gradient of the activation's result: what
    the norm gave is computed again.
    """

    epsilon: float
    activation: Activation
    differentiable = False

    def infer(
        self, x: Type, gamma: Type, mean: Type, inverse: Type, beta: Type, dy: Type
    ) -> tuple[Type, Type, Type]:
        return x, gamma, gamma

    def flops(self, outputs: Sequence[Type], *inputs: Type) -> int:
        return 13 * outputs[0].elements + self.activation.flops(outputs, inputs[0])


@op("running_average", registry=None)
class RunningAverage(Op):
    """`momentum · running + (1 − momentum) · batch`. Inputs: running, batch."""

    momentum: float
    differentiable = False

    def infer(self, running: Type, batch: Type) -> Type:
        return running

    def flops(self, outputs: Sequence[Type], *inputs: Type) -> int:
        return 3 * outputs[0].elements


@op("lrn")
class LocalResponseNorm(Op):
    """`x / (k + a · Σ x²) ^ beta`, the sum over `size` neighbouring channels at the same position.

    The neighbours of channel c are c − size/2 … c + (size − 1)/2, each half rounded down, as far as
    they exist. a is `alpha`, as in the AlexNet paper; with `average=true` it is `alpha / size`, as
    in Caffe and PyTorch.

    Source: Krizhevsky et al., ImageNet classification with deep convolutional neural networks,
    2012.
    """

    size: int = 5
    _: KW_ONLY
    alpha: float = 1e-4
    beta: float = 0.75
    k: float = 2.0
    average: bool = False

    examples = (
        "input 3x4x7 -> lrn 5",
        "input 3x4x7 -> lrn 3, alpha=0.5, beta=0.6, k=1.5",
        "input 2x2x6 -> lrn 4, alpha=0.8, average=true",
        "input 2x2x2 -> lrn 9, alpha=0.3",
    )

    def infer(self, x: Type) -> Type:
        if self.size < 1:
            raise Mismatch(f"`lrn` looks at 1 channel or more, this is {self.size}")
        if self.k <= 0 or self.alpha < 0:
            raise Mismatch(
                f"`lrn` wants a positive k and an alpha that is not negative, "
                f"these are {self.k:g} and {self.alpha:g}"
            )
        return x

    def gradient(
        self, inputs: Sequence[Value], outputs: Sequence[Value], grads: Sequence[Value | None]
    ) -> Sequence[Value | None]:
        (x,) = inputs
        (dy,) = grads
        assert dy is not None
        return [apply(LocalResponseNormGradient(self), x, dy, like=x)]

    @property
    def factor(self) -> float:
        """What the sum of squares is multiplied by."""
        return self.alpha / self.size if self.average else self.alpha

    def flops(self, outputs: Sequence[Type], *inputs: Type) -> int:
        return outputs[0].elements * (min(self.size, outputs[0].channels) + 5)


@op("lrn_gradient", registry=None)
class LocalResponseNormGradient(Op):
    """The gradient of local response normalisation's input. Inputs: x, output gradient.

    With `s = k + a · Σ x²`: `dx = dy · s^−beta − 2 · a · beta · x · Σ dy · x · s^(−beta − 1)`, the
    sum over the channels whose neighbour this one is.
    """

    norm: LocalResponseNorm
    differentiable = False

    def infer(self, x: Type, dy: Type) -> Type:
        return dy

    def flops(self, outputs: Sequence[Type], *inputs: Type) -> int:
        return 2 * self.norm.flops(outputs)


@op("scale")
class Scale(Op):
    """Every channel times a learned factor, at first `init`.

    Source: the layer scale of Touvron et al., Going deeper with image transformers, 2021, as in Liu
    et al., A ConvNet for the 2020s, 2022 (there `init=1e-6`).
    """

    _: KW_ONLY
    init: float = 1.0

    examples = ("input 4x5x3 -> scale", "input 7 -> scale init=0.1")

    def infer(self, x: Type, scale: Type) -> Type:
        return x

    def parameters(self, x: Type) -> Parameters:
        if not math.isfinite(self.init):
            raise Mismatch("the `init` of `scale` is a finite number")
        return {"scale": Weight((x.channels,), Initial(value=self.init), decays=False)}

    def gradient(
        self, inputs: Sequence[Value], outputs: Sequence[Value], grads: Sequence[Value | None]
    ) -> Sequence[Value | None]:
        x, scale = inputs
        (dy,) = grads
        assert dy is not None
        return [apply(self, dy, scale, like=x), apply(ScaleGradient(), x, dy, like=scale)]

    def elementwise(self, *inputs: Type) -> tuple[int, ...]:
        return (0,)


@op("scale_gradient", registry=None)
class ScaleGradient(Op):
    """The gradient of a scale, `Σ x · dy` over images and positions. Inputs: x, output gradient."""

    differentiable = False

    def infer(self, x: Type, dy: Type) -> Type:
        return x.like((x.channels,)).widened

    def flops(self, outputs: Sequence[Type], *inputs: Type) -> int:
        return 2 * inputs[0].elements
