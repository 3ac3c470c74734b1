"""Kernels of loss scaling."""

from __future__ import annotations

import numpy as np

from cnndsl.backends.numpy.optimizer import KERNELS as OPTIMIZERS
from cnndsl.graph.types import Type
from cnndsl.ops.scaling import AllFinite, Guarded, NextScale
from cnndsl.runtime.kernel import Array, Builders, Kernel
from cnndsl.runtime.memory import round_up


def all_finite(op: AllFinite, inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Kernel:
    def run(*arrays: Array) -> None:
        *gradients, finite = arrays
        finite[...] = all(np.isfinite(each).all() for each in gradients)

    return Kernel(run)


def guarded(op: Guarded, inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Kernel:
    """The gradient divided by the scale is scratch before the optimizer's own."""
    inner = OPTIMIZERS[type(op.optimizer)](op.optimizer, inputs[:-2], outputs)
    gradient = inputs[1]
    own = round_up(gradient.total_bytes)
    kept = dict(inner.may_alias)

    def run(*arrays: Array) -> None:
        values, scale, finite = arrays[: len(inputs) - 2], *arrays[len(inputs) - 2 : len(inputs)]
        *results, scratch = arrays[len(inputs) :]
        if not finite:
            for place, result in enumerate(results):
                if result is not values[kept[place]]:
                    np.copyto(result, values[kept[place]])
            return
        slope = scratch[: gradient.total_bytes].view(gradient.dtype).reshape(values[1].shape)
        np.divide(values[1], scale, out=slope)
        more = (scratch[own : own + inner.workspace],) if inner.workspace else ()
        inner.run(values[0], slope, *values[2:], *results, *more)

    return Kernel(run, may_alias=inner.may_alias, workspace=own + inner.workspace)


def next_scale(op: NextScale, inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Kernel:
    def run(scale: Array, steps: Array, finite: Array, larger: Array, more: Array) -> None:
        enough = finite and steps + 1 >= op.interval
        larger[...] = scale * (2.0 if enough else 1.0 if finite else 0.5)
        more[...] = steps + 1 if finite and not enough else 0

    return Kernel(run)


KERNELS: Builders = {AllFinite: all_finite, Guarded: guarded, NextScale: next_scale}
