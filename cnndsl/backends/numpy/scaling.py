"""Kernels of what watches over training steps."""

from __future__ import annotations

import numpy as np

from cnndsl.backends.numpy import norm, optimizer
from cnndsl.graph.types import Type
from cnndsl.ops.scaling import AllFinite, Clipping, Guarded, NextScale, Tally
from cnndsl.runtime.kernel import Array, Builders, Kernel
from cnndsl.runtime.memory import round_up

#: Kernels of what may be guarded.
UPDATES: Builders = {**optimizer.KERNELS, **norm.KERNELS}


def all_finite(op: AllFinite, inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Kernel:
    def run(*arrays: Array) -> None:
        *gradients, finite = arrays
        finite[...] = all(np.isfinite(each).all() for each in gradients)

    return Kernel(run)


def guarded(op: Guarded, inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Kernel:
    """The gradient divided by the scale is scratch before the operation's own."""
    own = op.own(inputs)
    inner = UPDATES[type(op.update)](op.update, own, outputs)
    gradient = inputs[1]
    divided = round_up(gradient.total_bytes) if op.scaled else 0
    kept = dict(inner.may_alias)

    def run(*arrays: Array) -> None:
        values, (*scale, finite), rest = (
            arrays[: len(own)],
            arrays[len(own) : len(inputs)],
            arrays[len(inputs) :],
        )
        results, scratch = rest[: len(outputs)], rest[len(outputs) :]
        if not finite:
            for place, result in enumerate(results):
                if result is not values[kept[place]]:
                    np.copyto(result, values[kept[place]])
            return
        if op.scaled:
            slope = scratch[0][: gradient.total_bytes].view(gradient.dtype)
            slope = slope.reshape(values[1].shape)
            np.divide(values[1], scale[0], out=slope)
            values = (values[0], slope, *values[2:])
        more = (scratch[0][divided:],) if inner.workspace else ()
        inner.run(*values, *results, *more)

    return Kernel(run, may_alias=inner.may_alias, workspace=divided + inner.workspace)


def clipping(op: Clipping, inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Kernel:
    def run(*arrays: Array) -> None:
        gradients, scale = arrays[:-1], 1.0
        if op.scaled:
            gradients, scale = arrays[:-2], float(arrays[-2])
        flat = (each.astype(np.float64).ravel() for each in gradients)
        norm = np.sqrt(sum(each @ each for each in flat)) / scale
        arrays[-1][...] = np.maximum(norm / op.most, 1) * scale

    return Kernel(run)


def tally(op: Tally, inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Kernel:
    def run(old: Array, loss: Array, correct: Array, new: Array) -> None:
        total, lost, right, steps = old
        more = loss - lost
        rounded = total + more
        new[...] = rounded, (rounded - total) - more, right + correct, steps + np.isfinite(rounded)

    return Kernel(run, may_alias=((0, 0),))


def next_scale(op: NextScale, inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Kernel:
    def run(scale: Array, steps: Array, finite: Array, larger: Array, more: Array) -> None:
        enough = finite and steps + 1 >= op.interval
        larger[...] = scale * (2.0 if enough else 1.0 if finite else 0.5)
        more[...] = steps + 1 if finite and not enough else 0

    return Kernel(run)


KERNELS: Builders = {
    AllFinite: all_finite,
    Guarded: guarded,
    Clipping: clipping,
    Tally: tally,
    NextScale: next_scale,
}
