"""Kernels of normalisation over the batch, of local response and of scales."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from cnndsl.backends.numpy import activation, image_norm
from cnndsl.backends.numpy.blocks import Blocks
from cnndsl.backends.numpy.channels import Channels
from cnndsl.backends.numpy.finish import Finish
from cnndsl.graph.op import Op
from cnndsl.graph.types import Type
from cnndsl.ops.activation import ActivationGradient, Relu
from cnndsl.ops.norm import (
    BatchNorm,
    BatchNormActivationGradient,
    BatchNormAgain,
    BatchNormInputGradient,
    BatchNormReluGradient,
    BatchNormReluTraining,
    BatchNormScaleGradient,
    BatchNormTraining,
    BatchNormTrainingGradient,
    LocalResponseNorm,
    LocalResponseNormGradient,
    RunningAverage,
    Scale,
    ScaleGradient,
)
from cnndsl.runtime.kernel import Array, Builders, Kernel
from cnndsl.runtime.memory import round_up


def by_statistics(factor: Callable[[Any, Array], Array]) -> Callable[..., Kernel]:
    """The builder of a norm by known means; `factor(op, spread)` is what gamma is multiplied by."""

    def build(
        op: Op, inputs: tuple[Type, ...], outputs: tuple[Type, ...], finish: Finish | None = None
    ) -> Kernel:
        finish = finish or Finish(outputs[0])
        rows = Channels.of(inputs[0], outputs[0])

        def run(*arrays: Array) -> None:
            x, gamma, beta, mean, spread, *rest = arrays
            addend = rest[0] if finish.adds else None
            scale = gamma * factor(op, spread)
            _normalise(rows, x, mean, scale, beta, rest[finish.adds], finish, addend, rest[-1])

        return Kernel(run, may_alias=((0, 0),), workspace=finish.workspace)

    return build


def inverse_deviation(op: BatchNorm, variance: Array) -> Array:
    result: Array = 1 / np.sqrt(variance + op.epsilon)
    return result


batch_norm = by_statistics(inverse_deviation)
batch_norm_again = by_statistics(lambda op, inverse: inverse)


def _normalise(
    rows: Channels,
    x: Array,
    mean: Array,
    scale: Array,
    shift: Array,
    y: Array,
    finish: Finish,
    addend: Array | None,
    scratch: Array,
) -> None:
    """`(x − mean) · scale + shift`, finished; y may be x."""
    mean, scale, shift = (rows.along(a) for a in (mean, scale, shift))
    for part in rows.parts((), x, y, *([] if addend is None else [addend])):
        source, target, *more = part
        np.subtract(source, mean, out=target)
        np.multiply(target, scale, out=target)
        np.add(target, shift, out=target)
        finish(target, None, more[0] if more else None, scratch)


def batch_norm_input_gradient(
    op: BatchNormInputGradient, inputs: tuple[Type, ...], outputs: tuple[Type, ...]
) -> Kernel:
    rows = Channels.of(inputs[2], outputs[0])

    def run(gamma: Array, variance: Array, dy: Array, dx: Array) -> None:
        scale = rows.along(gamma / np.sqrt(variance + op.epsilon))
        for grads, target in rows.parts((), dy, dx):
            np.multiply(grads, scale, out=target)

    return Kernel(run, may_alias=((0, 2),))


def batch_norm_scale_gradient(
    op: BatchNormScaleGradient, inputs: tuple[Type, ...], outputs: tuple[Type, ...]
) -> Kernel:
    rows = Channels.of(inputs[0], inputs[3], temporaries=1)

    def run(
        x: Array, mean: Array, variance: Array, dy: Array, dgamma: Array, *scratch: Array
    ) -> None:
        _, products = _sums(rows, x, mean, dy, scratch)
        dgamma[...] = products / np.sqrt(variance.astype(np.float64) + op.epsilon)

    return Kernel(run, workspace=rows.workspace)


def _sums(
    rows: Channels, x: Array, mean: Array, dy: Array, scratch: tuple[Array, ...]
) -> tuple[Array, Array]:
    """Per channel `Σ dy` and `Σ dy · (x − mean)`."""
    centre = rows.along(mean)
    grads, products = rows.sums(), rows.sums()
    for source, slopes, spare in rows.parts(scratch, x, dy):
        rows.add(grads, slopes)
        np.subtract(source, centre, out=spare)
        np.multiply(spare, slopes, out=spare)
        rows.add(products, spare)
    return rows.total(grads), rows.total(products)


def batch_norm_training(
    op: BatchNormTraining,
    inputs: tuple[Type, ...],
    outputs: tuple[Type, ...],
    finish: Finish | None = None,
) -> Kernel:
    finish = finish or Finish(outputs[0])
    rows = Channels.of(inputs[0], outputs[0], temporaries=1)
    count = rows.positions

    def run(x: Array, gamma: Array, beta: Array, *rest: Array) -> None:
        addend = rest[0] if finish.adds else None
        y, mean, inverse, unbiased, *scratch = rest[finish.adds :]
        sums = rows.sums()
        for source, _ in rows.parts(tuple(scratch), x):
            rows.add(sums, source)
        centre = rows.total(sums) / count
        centre_row = rows.along(centre)
        squares = rows.sums()
        for source, spare in rows.parts(tuple(scratch), x):
            np.subtract(source, centre_row, out=spare)
            np.square(spare, out=spare)
            rows.add(squares, spare)
        variance = rows.total(squares) / count
        deviation = (1 / np.sqrt(variance + op.epsilon)).astype(x.dtype)
        if mean is not None:
            mean[...] = centre
        if inverse is not None:
            inverse[...] = deviation
        if unbiased is not None:
            unbiased[...] = variance * (count / max(1, count - 1))
        if y is not None:
            scale = gamma * deviation
            _normalise(rows, x, centre, scale, beta, y, finish, addend, scratch[0])

    return Kernel(run, may_alias=((0, 0),), workspace=rows.workspace + finish.workspace)


def batch_norm_training_gradient(
    op: BatchNormTrainingGradient, inputs: tuple[Type, ...], outputs: tuple[Type, ...]
) -> Kernel:
    rows = Channels.of(inputs[0], inputs[4], outputs[0], temporaries=1)
    count = rows.positions

    def run(*arrays: Array) -> None:
        x, gamma, mean, inverse, dy, dx, dgamma, dbeta, *scratch = arrays
        grads, products = _sums(rows, x, mean, dy, tuple(scratch))
        inverse = inverse.astype(np.float64)
        if dgamma is not None:
            dgamma[...] = products * inverse
        if dbeta is not None:
            dbeta[...] = grads
        if dx is None:
            return
        centre, scale = rows.along(mean), rows.along(gamma * inverse)
        slope, shift = rows.along(products * inverse**2 / count), rows.along(grads / count)
        for source, slopes, target, spare in rows.parts(tuple(scratch), x, dy, dx):
            np.subtract(source, centre, out=spare)
            np.multiply(spare, slope, out=spare)
            np.add(spare, shift, out=spare)
            np.subtract(slopes, spare, out=target)
            np.multiply(target, scale, out=target)

    return Kernel(run, may_alias=((0, 4),), workspace=rows.workspace)


def batch_norm_relu_training(
    op: BatchNormReluTraining, inputs: tuple[Type, ...], outputs: tuple[Type, ...]
) -> Kernel:
    finish = Finish(outputs[0], activation=Relu())
    norm = batch_norm_training(BatchNormTraining(op.epsilon), inputs, outputs[:4], finish)

    def run(*arrays: Array) -> None:
        *values, positive, scratch = arrays
        norm.run(*values, scratch)
        if positive is not None:
            np.greater(values[3], 0, out=positive.view(bool))

    return replace(norm, run=run)


def batch_norm_relu_gradient(
    op: BatchNormReluGradient, inputs: tuple[Type, ...], outputs: tuple[Type, ...]
) -> Kernel:
    """The relu's gradient is written over the output gradient's place in the scratch."""
    own = (*inputs[:4], inputs[5])
    norm = batch_norm_training_gradient(BatchNormTrainingGradient(op.epsilon), own, outputs)
    dy = inputs[5]
    nbytes = round_up(dy.total_bytes)

    def run(*arrays: Array) -> None:
        *values, positive, slopes, dx, dgamma, dbeta, scratch = arrays
        through = scratch[: dy.total_bytes].view(dy.dtype).reshape(slopes.shape)
        np.multiply(slopes, positive.view(bool), out=through)
        norm.run(*values, through, dx, dgamma, dbeta, scratch[nbytes:])

    return Kernel(run, may_alias=((0, 5),), workspace=nbytes + norm.workspace)


def batch_norm_activation_gradient(
    op: BatchNormActivationGradient, inputs: tuple[Type, ...], outputs: tuple[Type, ...]
) -> Kernel:
    """What the norm gave, or the activation of that, is scratch; so is the gradient of it."""
    x, _, _, _, _, dy = inputs
    norm = batch_norm_training_gradient(
        BatchNormTrainingGradient(op.epsilon), (*inputs[:4], dy), outputs
    )
    forward = activation.KERNELS[type(op.activation)](op.activation, (x,), (x,))
    back = activation.KERNELS[ActivationGradient](ActivationGradient(op.activation), (x, dy), (dy,))
    sizes = x.total_bytes, dy.total_bytes, max(each.workspace for each in (norm, forward, back))

    def run(*arrays: Array) -> None:
        x, gamma, mean, inverse, beta, slopes, dx, dgamma, dbeta, scratch = arrays
        given, through, rest = _cut(scratch, sizes)
        given = given.view(x.dtype).reshape(x.shape)
        through = through.view(slopes.dtype).reshape(slopes.shape)
        np.subtract(x, mean, out=given)
        np.multiply(given, gamma * inverse, out=given)
        np.add(given, beta, out=given)
        if op.activation.saves == "output":
            forward.run(given, given, *(rest,) * bool(forward.workspace))
        back.run(given, slopes, through, *(rest,) * bool(back.workspace))
        norm.run(x, gamma, mean, inverse, through, dx, dgamma, dbeta, rest)

    return Kernel(run, may_alias=((0, 5),), workspace=sum(map(round_up, sizes)))


def _cut(scratch: Array, sizes: Sequence[int]) -> list[Array]:
    """Parts of scratch of so many bytes."""
    ends = itertools.accumulate(map(round_up, sizes))
    return [scratch[end - round_up(size) :][:size] for size, end in zip(sizes, ends, strict=True)]


def running_average(
    op: RunningAverage, inputs: tuple[Type, ...], outputs: tuple[Type, ...]
) -> Kernel:
    def run(running: Array, batch: Array, new: Array) -> None:
        share = (1 - op.momentum) * batch
        np.multiply(running, op.momentum, out=new)
        np.add(new, share, out=new)

    return Kernel(run, may_alias=((0, 0),))


def local_response_norm(
    op: LocalResponseNorm, inputs: tuple[Type, ...], outputs: tuple[Type, ...]
) -> Kernel:
    channels = inputs[0].channels
    blocks = Blocks.of(inputs[0], temporaries=2, row=channels)
    offsets = range(-(op.size // 2), (op.size - 1) // 2 + 1)

    def run(x: Array, y: Array, *scratch: Array) -> None:
        for part in blocks.parts(scratch, x, y):
            source, target, squares, sums = (a.reshape(-1, channels) for a in part)
            np.square(source, out=squares)
            _neighbours(squares, offsets, sums)
            _power(op, sums, squares)
            np.multiply(source, squares, out=target)

    return Kernel(run, may_alias=((0, 0),), workspace=blocks.workspace)


def local_response_norm_gradient(
    op: LocalResponseNormGradient, inputs: tuple[Type, ...], outputs: tuple[Type, ...]
) -> Kernel:
    norm = op.norm
    channels = inputs[0].channels
    blocks = Blocks.of(inputs[0], temporaries=3, row=channels)
    offsets = range(-(norm.size // 2), (norm.size - 1) // 2 + 1)
    reverse = range(-((norm.size - 1) // 2), norm.size // 2 + 1)

    def run(x: Array, dy: Array, dx: Array, *scratch: Array) -> None:
        for part in blocks.parts(scratch, x, dy, dx):
            source, grads, target, terms, sums, power = (a.reshape(-1, channels) for a in part)
            np.square(source, out=terms)
            _neighbours(terms, offsets, sums)
            _power(norm, sums, power)
            np.multiply(grads, source, out=terms)
            np.multiply(terms, power, out=terms)
            np.divide(terms, sums, out=terms)
            _neighbours(terms, reverse, sums)
            np.multiply(sums, source, out=sums)
            np.multiply(sums, 2 * norm.factor * norm.beta, out=sums)
            np.multiply(grads, power, out=target)
            np.subtract(target, sums, out=target)

    return Kernel(run, may_alias=((0, 1),), workspace=blocks.workspace)


def _neighbours(terms: Array, offsets: range, sums: Array) -> None:
    """For every channel the sum of the terms at the given offsets from it, where they exist."""
    channels = terms.shape[1]
    np.copyto(sums, terms)
    for offset in offsets:
        if offset == 0 or abs(offset) >= channels:
            continue
        near, far = max(0, -offset), max(0, offset)
        place = sums[:, near : channels - far]
        np.add(place, terms[:, far : channels - near], out=place)


def _power(op: LocalResponseNorm, sums: Array, power: Array) -> None:
    """Turn sums of squares into `s = k + a · sum`, and set `power` to `s ^ −beta`."""
    np.multiply(sums, op.factor, out=sums)
    np.add(sums, op.k, out=sums)
    np.log(sums, out=power)
    np.multiply(power, -op.beta, out=power)
    np.exp(power, out=power)


def scale(op: Scale, inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Kernel:
    rows = Channels.of(inputs[0], outputs[0])

    def run(x: Array, factors: Array, y: Array) -> None:
        along = rows.along(factors)
        for source, target in rows.parts((), x, y):
            np.multiply(source, along, out=target)

    return Kernel(run, may_alias=((0, 0),))


def scale_gradient(
    op: ScaleGradient, inputs: tuple[Type, ...], outputs: tuple[Type, ...]
) -> Kernel:
    rows = Channels.of(*inputs, temporaries=1)

    def run(x: Array, dy: Array, dscale: Array, *scratch: Array) -> None:
        sums = rows.sums()
        for source, grads, spare in rows.parts(scratch, x, dy):
            np.multiply(source, grads, out=spare)
            rows.add(sums, spare)
        dscale[...] = rows.total(sums)

    return Kernel(run, workspace=rows.workspace)


KERNELS: Builders = {
    **image_norm.KERNELS,
    BatchNorm: batch_norm,
    BatchNormInputGradient: batch_norm_input_gradient,
    BatchNormScaleGradient: batch_norm_scale_gradient,
    BatchNormAgain: batch_norm_again,
    BatchNormTraining: batch_norm_training,
    BatchNormReluTraining: batch_norm_relu_training,
    BatchNormReluGradient: batch_norm_relu_gradient,
    BatchNormTrainingGradient: batch_norm_training_gradient,
    BatchNormActivationGradient: batch_norm_activation_gradient,
    RunningAverage: running_average,
    LocalResponseNorm: local_response_norm,
    LocalResponseNormGradient: local_response_norm_gradient,
    Scale: scale,
    ScaleGradient: scale_gradient,
}
