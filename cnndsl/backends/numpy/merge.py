"""Kernels of joins."""

from __future__ import annotations

import numpy as np

from cnndsl.graph.op import Op
from cnndsl.graph.types import Type
from cnndsl.ops.merge import Add, Concat, Gate, GateGradient, Multiply
from cnndsl.runtime.kernel import Array, Builder, Builders, Kernel


def fold(function: np.ufunc) -> Builder:
    """The builder of a kernel that folds its inputs, element by element."""

    def build(op: Op, inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Kernel:
        def run(first: Array, *arrays: Array) -> None:
            *rest, y = arrays
            if not rest:
                np.copyto(y, first)
                return
            function(first, rest[0], out=y)
            for x in rest[1:]:
                function(y, x, out=y)

        return Kernel(run, may_alias=((0, 0),))

    return build


def concat(op: Concat, inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Kernel:
    def run(*arrays: Array) -> None:
        *parts, y = arrays
        np.concatenate(parts, axis=-1, out=y)

    return Kernel(run)


def gate(op: Gate, inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Kernel:
    x, factors = inputs
    shape = factors.concrete()
    if len(shape) < len(x.shape):
        images, channels = shape
        shape = (images, 1, 1, channels)
    return Kernel(
        lambda x, gate, y: np.multiply(x, gate.reshape(shape), out=y), may_alias=((0, 0),)
    )


def gate_gradient(op: GateGradient, inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Kernel:
    images, _, _, channels = inputs[0].concrete()

    def run(x: Array, dy: Array, dgate: Array) -> None:
        np.einsum("nhwc,nhwc->nc", x, dy, out=dgate.reshape(images, channels))

    return Kernel(run)


KERNELS: Builders = {
    Add: fold(np.add),
    Concat: concat,
    Multiply: fold(np.multiply),
    Gate: gate,
    GateGradient: gate_gradient,
}
