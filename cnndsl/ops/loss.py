"""Losses: how far an output is from what is wanted, as one number for the batch."""

from __future__ import annotations

from collections.abc import Sequence

from cnndsl.graph.graph import Value, apply
from cnndsl.graph.op import KW_ONLY, LOSSES, Mismatch, Op, op
from cnndsl.graph.types import Type


def classes_of(logits: Type, reader: str) -> int:
    """The number of classes that logits speak of: a vector of K, or a map 1x1xK.

    Raises:
        Mismatch: not one logit a class.
    """
    if not logits.batched or logits.extent != (1, 1) or len(logits.shape) not in (2, 4):
        raise Mismatch(
            f"`{reader}` wants a vector of one logit a class; the value here is {logits}",
            help="end the network with `avgpool global` and `fc classes`",
        )
    return logits.channels


@op("cross_entropy", registry=LOSSES)
class CrossEntropy(Op):
    """The mean over the batch of `−Σ q · log softmax(x)`.

    The target q is 1 at the image's label; with `label_smoothing` s it is `(1 − s)` there plus
    `s / K` at each of the K classes. Inputs: logits (a vector of K, or 1x1xK), labels (int64, 0 to
    K−1). Results: the loss, a scalar, and the probabilities, (N, K), which have no gradient.

    Source: smoothing: Szegedy et al., Rethinking the inception architecture, 2016.
    """

    _: KW_ONLY
    label_smoothing: float = 0.0

    def infer(self, logits: Type, labels: Type) -> tuple[Type, Type]:
        if not 0 <= self.label_smoothing < 1:
            raise Mismatch(
                f"label smoothing is at least 0 and less than 1, this is {self.label_smoothing:g}"
            )
        classes = classes_of(logits, self.name)
        if labels.features or labels.dtype != "int64":
            raise Mismatch(
                f"`{self.name}` wants one whole number an image as its labels, not {labels}"
            )
        return logits.like(()), logits.like((logits.shape[0], classes))

    def gradient(
        self, inputs: Sequence[Value], outputs: Sequence[Value], grads: Sequence[Value | None]
    ) -> Sequence[Value | None]:
        logits, labels = inputs
        dloss = grads[0]
        assert dloss is not None
        of_logits = CrossEntropyGradient(self, logits.type)
        return [apply(of_logits, outputs[1], labels, dloss, like=logits), None]

    def flops(self, outputs: Sequence[Type], *inputs: Type) -> int:
        return 5 * inputs[0].elements


@op("cross_entropy_gradient", registry=None)
class CrossEntropyGradient(Op):
    """The gradient of the logits: `(softmax(x) − q) / N`. Inputs: probabilities, labels, dloss."""

    loss: CrossEntropy
    logits: Type
    differentiable = False

    def infer(self, probabilities: Type, labels: Type, dloss: Type) -> Type:
        return self.logits

    def flops(self, outputs: Sequence[Type], *inputs: Type) -> int:
        return 2 * outputs[0].elements


@op("cross_entropy_with_gradient", registry=None)
class CrossEntropyWithGradient(Op):
    """The loss and the gradient of the logits at once.

    Inputs: logits, labels, dloss, which is known before the loss. Results: the loss, a scalar, and
    the gradient, of the logits' shape.
    """

    loss: CrossEntropy
    differentiable = False

    def infer(self, logits: Type, labels: Type, dloss: Type) -> tuple[Type, Type]:
        return self.loss.infer(logits, labels)[0], logits

    def flops(self, outputs: Sequence[Type], *inputs: Type) -> int:
        return 7 * inputs[0].elements


@op("mse", registry=LOSSES)
class MeanSquaredError(Op):
    """The mean over all elements of all images of `(prediction − target)²`, a scalar."""

    def infer(self, prediction: Type, target: Type) -> Type:
        if prediction.shape != target.shape:
            raise Mismatch(
                f"`{self.name}` compares values of one shape; "
                f"the prediction is {prediction}, the target {target}"
            )
        return prediction.like(())

    def gradient(
        self, inputs: Sequence[Value], outputs: Sequence[Value], grads: Sequence[Value | None]
    ) -> Sequence[Value | None]:
        prediction, target = inputs
        (dloss,) = grads
        assert dloss is not None
        slope = MeanSquaredErrorGradient()
        return [
            apply(slope, prediction, target, dloss, like=prediction),
            apply(slope, target, prediction, dloss, like=target),
        ]

    def flops(self, outputs: Sequence[Type], *inputs: Type) -> int:
        return 3 * inputs[0].elements


@op("mse_gradient", registry=None)
class MeanSquaredErrorGradient(Op):
    """`2 (a − b) / elements`, the gradient of the mean squared error by a. Inputs: a, b, dloss."""

    differentiable = False

    def infer(self, a: Type, b: Type, dloss: Type) -> Type:
        return a

    def elementwise(self, *inputs: Type) -> tuple[int, ...]:
        return 0, 1

    def flops(self, outputs: Sequence[Type], *inputs: Type) -> int:
        return 2 * outputs[0].elements


@op("correct", registry=None)
class Correct(Op):
    """How many images of the batch have their largest logit (the first of equals) at the label.

    Inputs: logits, labels; a label that is no class, such as −1, is never hit. Instead of labels
    there may be a target of the logits' shape, whose largest element is the label. Result: a
    scalar.
    """

    differentiable = False

    def infer(self, logits: Type, labels: Type) -> Type:
        if labels.shape != logits.shape:
            classes_of(logits, self.name)
        return logits.like(())

    def flops(self, outputs: Sequence[Type], *inputs: Type) -> int:
        return inputs[0].elements


@op("weighted_sum", registry=None)
class WeightedSum(Op):
    """`Σ weight · scalar`: the network's loss and those of its side heads as one."""

    weights: tuple[float, ...]

    def infer(self, *scalars: Type) -> Type:
        if any(scalar.shape for scalar in scalars) or len(scalars) != len(self.weights):
            raise Mismatch(f"{len(self.weights)} weights for " + ", ".join(map(str, scalars)))
        return scalars[0]

    def gradient(
        self, inputs: Sequence[Value], outputs: Sequence[Value], grads: Sequence[Value | None]
    ) -> Sequence[Value | None]:
        (dy,) = grads
        assert dy is not None
        pairs = zip(self.weights, inputs, strict=True)
        return [apply(WeightedSum((weight,)), dy, like=value) for weight, value in pairs]

    def flops(self, outputs: Sequence[Type], *inputs: Type) -> int:
        return 2 * len(inputs)
