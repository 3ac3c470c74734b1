"""Kernels of losses."""

from __future__ import annotations

import math

import numpy as np

from cnndsl.backends.numpy.blocks import Blocks
from cnndsl.graph.types import Type
from cnndsl.ops.loss import (
    Correct,
    CrossEntropy,
    CrossEntropyGradient,
    CrossEntropyWithGradient,
    MeanSquaredError,
    MeanSquaredErrorGradient,
    WeightedSum,
)
from cnndsl.runtime.kernel import Array, Builders, Kernel


def cross_entropy(op: CrossEntropy, inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Kernel:
    images, classes = outputs[1].concrete()
    every = np.arange(images)

    def run(logits: Array, labels: Array, loss: Array, probabilities: Array, s: Array) -> None:
        shifted = s[: inputs[0].total_bytes].view(logits.dtype).reshape(images, classes)
        rows = logits.reshape(images, classes)
        np.subtract(rows, rows.max(axis=1, keepdims=True), out=shifted)
        exponentials = np.exp(shifted, out=probabilities)
        total = exponentials.sum(axis=1, keepdims=True)
        losses = np.log(total[:, 0]) - (1 - op.label_smoothing) * shifted[every, labels]
        if op.label_smoothing:
            losses -= op.label_smoothing * shifted.mean(axis=1)
        loss[...] = losses.mean(dtype=np.float64)
        np.divide(exponentials, total, out=exponentials)

    return Kernel(run, workspace=inputs[0].total_bytes)


def cross_entropy_gradient(
    op: CrossEntropyGradient, inputs: tuple[Type, ...], outputs: tuple[Type, ...]
) -> Kernel:
    images, classes = inputs[0].concrete()
    every = np.arange(images)
    smoothing = op.loss.label_smoothing

    def run(probabilities: Array, labels: Array, dloss: Array, dx: Array) -> None:
        share = float(dloss) / images
        rows = dx.reshape(images, classes)
        np.multiply(probabilities, share, out=rows)
        if smoothing:
            np.subtract(rows, share * smoothing / classes, out=rows)
        rows[every, labels] -= share * (1 - smoothing)

    return Kernel(run, may_alias=((0, 0),))


def cross_entropy_with_gradient(
    op: CrossEntropyWithGradient, inputs: tuple[Type, ...], outputs: tuple[Type, ...]
) -> Kernel:
    """The two kernels, one after the other: probabilities stand where the gradient will."""
    logits, labels, dloss = inputs
    loss, probabilities = op.loss.infer(logits, labels)
    forward = cross_entropy(op.loss, (logits, labels), (loss, probabilities))
    gradient = CrossEntropyGradient(op.loss, logits)
    backward = cross_entropy_gradient(gradient, (probabilities, labels, dloss), (logits,))

    def run(x: Array, labels: Array, dloss: Array, loss: Array, dx: Array, s: Array) -> None:
        rows = dx.reshape(probabilities.concrete())
        forward.run(x, labels, loss, rows, s)
        backward.run(rows, labels, dloss, dx)

    return Kernel(run, workspace=forward.workspace)


def mean_squared_error(
    op: MeanSquaredError, inputs: tuple[Type, ...], outputs: tuple[Type, ...]
) -> Kernel:
    blocks = Blocks.of(inputs[0], temporaries=1)

    def run(prediction: Array, target: Array, loss: Array, *scratch: Array) -> None:
        total = 0.0
        for a, b, difference in blocks.parts(scratch, prediction, target):
            np.subtract(a, b, out=difference)
            total += float(np.vdot(difference, difference))
        loss[...] = total / blocks.count

    return Kernel(run, workspace=blocks.workspace)


def mean_squared_error_gradient(
    op: MeanSquaredErrorGradient, inputs: tuple[Type, ...], outputs: tuple[Type, ...]
) -> Kernel:
    count = math.prod(inputs[0].concrete())

    def run(a: Array, b: Array, dloss: Array, da: Array) -> None:
        np.subtract(a, b, out=da)
        np.multiply(da, 2 * float(dloss) / count, out=da)

    return Kernel(run, may_alias=((0, 0),))


def correct(op: Correct, inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Kernel:
    def run(logits: Array, labels: Array, hits: Array) -> None:
        best = logits.reshape(len(logits), -1).argmax(axis=1)
        wanted = labels if labels.ndim == 1 else labels.reshape(len(labels), -1).argmax(axis=1)
        hits[...] = np.count_nonzero(best == wanted)

    return Kernel(run)


def weighted_sum(op: WeightedSum, inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Kernel:
    def run(*scalars: Array) -> None:
        *parts, total = scalars
        pairs = zip(op.weights, parts, strict=True)
        total[...] = sum(weight * float(part) for weight, part in pairs)

    return Kernel(run)


KERNELS: Builders = {
    CrossEntropy: cross_entropy,
    CrossEntropyGradient: cross_entropy_gradient,
    CrossEntropyWithGradient: cross_entropy_with_gradient,
    MeanSquaredError: mean_squared_error,
    MeanSquaredErrorGradient: mean_squared_error_gradient,
    Correct: correct,
    WeightedSum: weighted_sum,
}
