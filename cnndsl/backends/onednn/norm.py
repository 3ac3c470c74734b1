"""Normalisation over the batch, and by known statistics."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from cnndsl.backends.onednn.api import (
    Argument,
    Normalization,
    Propagation,
    Query,
    engine,
)
from cnndsl.backends.onednn.memory import Layout, descriptor, workspace_of
from cnndsl.backends.onednn.primitive import (
    Choice,
    Choosers,
    Description,
    Elementwise,
    attributes,
    kernel,
)
from cnndsl.graph.types import Type
from cnndsl.ops.norm import (
    BatchNorm,
    BatchNormAgain,
    BatchNormReluGradient,
    BatchNormReluTraining,
    BatchNormTraining,
    BatchNormTrainingGradient,
)
from cnndsl.runtime.kernel import Array, Composed, Kernel

STATISTICS = (Argument.SCALE, Argument.SHIFT, Argument.MEAN, Argument.VARIANCE)
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
    """What the gradient gets for the inverse deviation is the biased variance, as it is."""
    relu = isinstance(op, BatchNormReluTraining)
    forward = _training(inputs[0], op.epsilon, relu)
    mask = _workspace(forward) if relu else None
    count = inputs[0].concrete()[0] * inputs[0].elements // inputs[0].channels
    correction = count / (count - 1) if count > 1 else 0.0

    def make(inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Kernel:
        x, vector = descriptor(inputs[0]), descriptor(inputs[1])

        def bind(*arrays: Array) -> Callable[[], None]:
            source, gamma, beta, y, *rest = arrays
            mean, variance, unbiased = (
                np.empty_like(gamma) if array is None else array for array in rest[:3]
            )
            memories = [
                (Argument.SOURCE, x, source),
                (Argument.SCALE, vector, gamma),
                (Argument.SHIFT, vector, beta),
                (Argument.RESULT, x, y),
                (Argument.MEAN, vector, mean),
                (Argument.VARIANCE, vector, variance),
            ]
            if mask is not None:
                memories.append((Argument.WORKSPACE, mask.descriptor, rest[3]))
            execute = forward.on(memories, rest[-1] if forward.scratch_bytes else None)

            def run() -> None:
                execute()
                np.multiply(variance, correction, out=unbiased)

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
    """Inputs: x, gamma, mean, variance, the mask behind a relu, dy."""
    relu = isinstance(op, BatchNormReluGradient)
    layout = inputs[0].layout
    forward = _training(inputs[0], op.epsilon, relu)
    mask = _workspace(forward) if relu else None

    def make(inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Kernel:
        x, vector = descriptor(inputs[0]), descriptor(inputs[1])
        flags = AFFINE | Normalization.RELU if relu else AFFINE
        way = engine(), Propagation.BACKWARD, x, x, x, op.epsilon, flags
        backward = Description("batch_normalization_backward", *way, forward.handle, attributes())

        def bind(*arrays: Array) -> Callable[[], None]:
            source, gamma, mean, variance, *rest = arrays
            masks, (dy, dx, dgamma, dbeta, *scratch) = rest[:relu], rest[relu:]
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
            return backward.on(memories, scratch[0] if backward.scratch_bytes else None)

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
    """By statistics that are known."""
    layout = inputs[0].layout

    def make(inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Kernel:
        x, vector = descriptor(inputs[0]), descriptor(inputs[1])
        flags = AFFINE | Normalization.GLOBAL_STATISTICS
        way = engine(), Propagation.INFERENCE, x, x, op.epsilon, flags
        description = Description(
            "batch_normalization_forward", *way, attributes([then] if then else [])
        )

        return kernel(
            description,
            (Argument.SOURCE, x),
            *((role, vector) for role in STATISTICS),
            (Argument.RESULT, x),
            may_alias=((0, 0),),
        )

    return Choice((layout, *(None,) * 4), (layout,), make)


CHOOSERS: Choosers = {
    BatchNorm: batch_norm,
    BatchNormAgain: batch_norm,
    BatchNormTraining: batch_norm_training,
    BatchNormReluTraining: batch_norm_training,
    BatchNormTrainingGradient: batch_norm_training_gradient,
    BatchNormReluGradient: batch_norm_training_gradient,
}
