"""Normalisation over the batch, by known statistics, and of local response."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from cnndsl.backends.onednn.api import (
    Algorithm,
    Argument,
    Normalization,
    Propagation,
    Query,
    engine,
)
from cnndsl.backends.onednn.memory import Layout, descriptor, workspace_of
from cnndsl.backends.onednn.preferred import preferred
from cnndsl.backends.onednn.primitive import (
    Choice,
    Choosers,
    Composed,
    Description,
    Elementwise,
    attributes,
    is_slow,
    kernel,
)
from cnndsl.backends.onednn.reference import reference
from cnndsl.graph.types import Type
from cnndsl.ops.norm import (
    BatchNorm,
    BatchNormAgain,
    BatchNormReluGradient,
    BatchNormReluTraining,
    BatchNormTraining,
    BatchNormTrainingGradient,
    LocalResponseNorm,
    LocalResponseNormGradient,
)
from cnndsl.runtime.kernel import Array, Kernel

AFFINE = Normalization.SCALE | Normalization.SHIFT


def _training(x: Type, epsilon: float, relu: bool) -> Description:
    here = descriptor(x)
    flags = AFFINE | Normalization.RELU if relu else AFFINE
    way = engine(), Propagation.TRAINING, here, here, epsilon, flags, attributes()
    return Description("batch_normalization_forward", *way)


def _workspace(description: Description) -> Layout | None:
    found = description.layout(Query.WORKSPACE)
    return workspace_of(found) if found is not None else None


def batch_norm_training(
    op: BatchNormTraining | BatchNormReluTraining,
    inputs: tuple[Type, ...],
    outputs: tuple[Type, ...],
) -> Choice:
    """The library's variance is the biased one; the results are made from it in place."""
    relu = isinstance(op, BatchNormReluTraining)
    forward = _training(inputs[0], op.epsilon, relu)
    mask = _workspace(forward) if relu else None
    count = inputs[0].concrete()[0] * inputs[0].elements // inputs[0].channels
    correction = count / (count - 1) if count > 1 else 0.0

    def make(inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Kernel:
        x, vector = descriptor(inputs[0]), descriptor(inputs[1])

        def bind(*arrays: Array) -> Callable[[], None]:
            source, gamma, beta, y, *rest = arrays
            mean, inverse, unbiased = (
                np.empty_like(gamma) if array is None else array for array in rest[:3]
            )
            memories = [
                (Argument.SOURCE, x, source),
                (Argument.SCALE, vector, gamma),
                (Argument.SHIFT, vector, beta),
                (Argument.RESULT, x, y),
                (Argument.MEAN, vector, mean),
                (Argument.VARIANCE, vector, inverse),
            ]
            if mask is not None:
                memories.append((Argument.WORKSPACE, mask.descriptor, rest[3]))
            execute = forward.on(memories, rest[-1] if forward.scratch_bytes else None)

            def run() -> None:
                execute()
                np.multiply(inverse, correction, out=unbiased)
                np.add(inverse, op.epsilon, out=inverse)
                np.sqrt(inverse, out=inverse)
                np.divide(1, inverse, out=inverse)

            return run

        return Composed(
            may_alias=((0, 0),),
            workspace=forward.scratch_bytes,
            implementation=forward.implementation,
            binder=bind,
        )

    layout = inputs[0].layout
    masks = (mask,) if relu else ()
    return Choice((layout, None, None), (layout, None, None, None, *masks), make)


def batch_norm_training_gradient(
    op: BatchNormTrainingGradient | BatchNormReluGradient,
    inputs: tuple[Type, ...],
    outputs: tuple[Type, ...],
) -> Choice:
    """Inputs: x, gamma, mean, inverse deviation, the mask behind a relu, dy."""
    relu = isinstance(op, BatchNormReluGradient)
    layout = inputs[0].layout
    forward = _training(inputs[0], op.epsilon, relu)
    mask = _workspace(forward) if relu else None

    def make(inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Kernel:
        x, vector = descriptor(inputs[0]), descriptor(inputs[1])
        flags = AFFINE | Normalization.RELU if relu else AFFINE
        way = engine(), Propagation.BACKWARD, x, x, x, op.epsilon, flags
        backward = Description(
            "batch_normalization_backward", *way, forward.handle, attributes()
        )

        def bind(*arrays: Array) -> Callable[[], None]:
            source, gamma, mean, inverse, *rest = arrays
            masks, (dy, dx, dgamma, dbeta, *scratch) = rest[:relu], rest[relu:]
            variance = np.empty_like(inverse)
            spare = [np.empty_like(gamma) if a is None else a for a in (dgamma, dbeta)]
            memories = [
                (Argument.SOURCE, x, source),
                (Argument.SCALE, vector, gamma),
                (Argument.MEAN, vector, mean),
                (Argument.VARIANCE, vector, variance),
                (Argument.RESULT_GRADIENT, x, dy),
                (Argument.SOURCE_GRADIENT, x, dx if dx is not None else dy),
                (Argument.SCALE_GRADIENT, vector, spare[0]),
                (Argument.SHIFT_GRADIENT, vector, spare[1]),
            ]
            if mask is not None:
                memories.append((Argument.WORKSPACE, mask.descriptor, masks[0]))
            execute = backward.on(memories, scratch[0] if backward.scratch_bytes else None)

            def run() -> None:
                np.square(inverse, out=variance)
                np.divide(1, variance, out=variance)
                np.subtract(variance, op.epsilon, out=variance)
                execute()

            return run

        return Composed(
            may_alias=((0, 4 + relu),),
            workspace=backward.scratch_bytes,
            implementation=backward.implementation,
            binder=bind,
        )

    masks = (mask,) if relu else ()
    return Choice((layout, None, None, None, *masks, layout), (layout, None, None), make)


def batch_norm(
    op: BatchNorm | BatchNormAgain,
    inputs: tuple[Type, ...],
    outputs: tuple[Type, ...],
    then: Elementwise | None = None,
) -> Choice:
    """By statistics that are known: the variance, or the inverse deviation of `bn_again`."""
    layout = inputs[0].layout

    def make(inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Kernel:
        x, vector = descriptor(inputs[0]), descriptor(inputs[1])
        epsilon = op.epsilon if isinstance(op, BatchNorm) else 0.0
        flags = AFFINE | Normalization.GLOBAL_STATISTICS
        way = engine(), Propagation.INFERENCE, x, x, epsilon, flags
        description = Description(
            "batch_normalization_forward", *way, attributes([then] if then else [])
        )

        def bind(*arrays: Array) -> Callable[[], None]:
            source, gamma, beta, mean, spread, y, *scratch = arrays
            variance = spread if isinstance(op, BatchNorm) else np.empty_like(spread)
            memories = [
                (Argument.SOURCE, x, source),
                (Argument.SCALE, vector, gamma),
                (Argument.SHIFT, vector, beta),
                (Argument.MEAN, vector, mean),
                (Argument.VARIANCE, vector, variance),
                (Argument.RESULT, x, y),
            ]
            execute = description.on(memories, scratch[0] if scratch else None)
            if isinstance(op, BatchNorm):
                return execute

            def run() -> None:
                np.square(spread, out=variance)
                np.divide(1, variance, out=variance)
                execute()

            return run

        return Composed(
            may_alias=((0, 0),),
            workspace=description.scratch_bytes,
            implementation=description.implementation,
            binder=bind,
        )

    return Choice((layout, *(None,) * 4), (layout,), make)


def _response(op: LocalResponseNorm, x: Type, way: Propagation) -> Description:
    here = descriptor(x)
    numbers = op.size, op.factor * op.size, op.beta, op.k
    algorithm = Algorithm.LRN_ACROSS_CHANNELS
    return Description("lrn_forward", engine(), way, algorithm, here, here, *numbers, attributes())


def _response_gradient(op: LocalResponseNorm, x: Type, forward: Description) -> Description:
    here = descriptor(x)
    numbers = op.size, op.factor * op.size, op.beta, op.k
    way = engine(), Algorithm.LRN_ACROSS_CHANNELS, here, here, here, *numbers
    return Description("lrn_backward", *way, forward.handle, attributes())


def _both_ways(op: LocalResponseNorm, x: Type) -> tuple[Description, Description] | None:
    """The norm and its gradient, if the library has fast ones for this window."""
    if op.size % 2 == 0:
        return None
    forward = _response(op, x, Propagation.TRAINING)
    backward = _response_gradient(op, x, forward)
    slow = any(is_slow(each.implementation) for each in (forward, backward))
    return None if slow else (forward, backward)


def local_response_norm(
    op: LocalResponseNorm, inputs: tuple[Type, ...], outputs: tuple[Type, ...]
) -> Choice:
    """Results: y, and what the gradient needs."""
    layout = preferred(inputs[0])
    both = _both_ways(op, replace(inputs[0], layout=layout))
    if both is None:
        return reference(op, inputs, outputs)
    training, _ = both
    saved = _workspace(training)

    def make(inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Kernel:
        x = descriptor(inputs[0])
        source, result = (Argument.SOURCE, x), (Argument.RESULT, x)
        inference = _response(op, inputs[0], Propagation.INFERENCE)
        alone = kernel(inference, source, result, (None, x))
        both = alone
        if saved is not None:
            both = kernel(training, source, result, (Argument.WORKSPACE, saved.descriptor))

        def bind(*arrays: Array) -> Callable[[], None]:
            return (alone if arrays[2] is None else both).bind(*arrays)

        return Composed(
            workspace=max(alone.workspace, both.workspace),
            implementation=training.implementation,
            binder=bind,
        )

    return Choice((layout,), (layout, saved), make)


def local_response_norm_gradient(
    op: LocalResponseNormGradient, inputs: tuple[Type, ...], outputs: tuple[Type, ...]
) -> Choice:
    layout = preferred(inputs[0])
    both = _both_ways(op.norm, replace(inputs[0], layout=layout))
    if both is None:
        return reference(op, inputs, outputs)
    forward, backward = both
    saved = _workspace(forward)

    def make(inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Kernel:
        x = descriptor(inputs[0])
        role = (Argument.WORKSPACE, saved.descriptor) if saved else (None, x)
        gradients = (Argument.RESULT_GRADIENT, x), (Argument.SOURCE_GRADIENT, x)
        return kernel(backward, (Argument.SOURCE, x), role, *gradients)

    return Choice((layout, saved, layout), (layout,), make)


CHOOSERS: Choosers = {
    BatchNorm: batch_norm,
    BatchNormAgain: batch_norm,
    BatchNormTraining: batch_norm_training,
    BatchNormReluTraining: batch_norm_training,
    BatchNormTrainingGradient: batch_norm_training_gradient,
    BatchNormReluGradient: batch_norm_training_gradient,
    LocalResponseNorm: local_response_norm,
    LocalResponseNormGradient: local_response_norm_gradient,
}
