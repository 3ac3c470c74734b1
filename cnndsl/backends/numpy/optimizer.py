"""Kernels of optimizers: one pass over parameter, gradient and moments, in place."""

from __future__ import annotations

import math

import numpy as np

from cnndsl.backends.numpy.blocks import Blocks
from cnndsl.graph.types import Type
from cnndsl.ops.optimizer import SGD, Adam, AdamW
from cnndsl.runtime.kernel import Array, Builders, Kernel


def sgd(op: SGD, inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Kernel:
    blocks = Blocks.of(inputs[0], temporaries=2)

    def plain(
        parameter: Array, gradient: Array, rate: Array, result: Array, *scratch: Array
    ) -> None:
        for w, g, new, step, spare in blocks.parts(scratch, parameter, gradient, result):
            np.multiply(_decayed(op.weight_decay, w, g, spare), float(rate), out=step)
            np.subtract(w, step, out=new)

    def with_momentum(
        parameter: Array, gradient: Array, velocity: Array, rate: Array, *rest: Array
    ) -> None:
        *results, scratch = rest
        for w, g, v, new, new_v, step, spare in blocks.parts(
            (scratch,), parameter, gradient, velocity, *results
        ):
            slope = _decayed(op.weight_decay, w, g, spare)
            np.multiply(v, op.momentum, out=new_v)
            np.add(new_v, slope, out=new_v)
            if op.nesterov:
                np.multiply(new_v, op.momentum, out=step)
                np.add(step, slope, out=step)
                np.multiply(step, float(rate), out=step)
            else:
                np.multiply(new_v, float(rate), out=step)
            np.subtract(w, step, out=new)

    if op.momentum:
        return Kernel(with_momentum, may_alias=((0, 0), (1, 2)), workspace=blocks.workspace)
    return Kernel(plain, may_alias=((0, 0),), workspace=blocks.workspace)


def adam(op: Adam | AdamW, inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Kernel:
    blocks = Blocks.of(inputs[0], temporaries=2)
    coupled = 0.0 if isinstance(op, AdamW) else op.weight_decay
    decoupled = op.weight_decay if isinstance(op, AdamW) else 0.0

    def run(*arrays: Array) -> None:
        *state, rate, step, parameter, first_moment, second_moment, scratch = arrays
        correction = 1 / math.sqrt(1 - op.beta2 ** int(step))
        length = float(rate) / (1 - op.beta1 ** int(step))
        for w, g, m, v, new, new_m, new_v, change, spare in blocks.parts(
            (scratch,), *state, parameter, first_moment, second_moment
        ):
            slope = _decayed(coupled, w, g, spare)
            np.multiply(m, op.beta1, out=new_m)
            np.multiply(slope, 1 - op.beta1, out=change)
            np.add(new_m, change, out=new_m)
            np.multiply(v, op.beta2, out=new_v)
            np.square(slope, out=change)
            np.multiply(change, 1 - op.beta2, out=change)
            np.add(new_v, change, out=new_v)
            np.sqrt(new_v, out=change)
            np.multiply(change, correction, out=change)
            np.add(change, op.epsilon, out=change)
            np.divide(new_m, change, out=change)
            np.multiply(change, length, out=change)
            np.multiply(w, 1 - float(rate) * decoupled, out=new)
            np.subtract(new, change, out=new)

    return Kernel(run, may_alias=((0, 0), (1, 2), (2, 3)), workspace=blocks.workspace)


def _decayed(decay: float, w: Array, g: Array, spare: Array) -> Array:
    """`g + decay · w`, in `spare`; g itself without decay."""
    if not decay:
        return g
    np.multiply(w, decay, out=spare)
    return np.add(spare, g, out=spare)


KERNELS: Builders = {SGD: sgd, Adam: adam, AdamW: adam}
