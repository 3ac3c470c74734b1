"""Kernels of operations with an epilogue: those of the operations, with what they finish by."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from cnndsl.backends.numpy import conv, dense, norm
from cnndsl.backends.numpy.finish import Finish
from cnndsl.graph.op import Op
from cnndsl.graph.types import Type
from cnndsl.ops.conv import Conv, ConvInputGradient
from cnndsl.ops.dense import FullyConnected
from cnndsl.ops.epilogue import Epilogue
from cnndsl.ops.norm import BatchNorm, BatchNormAgain, BatchNormTraining
from cnndsl.runtime.kernel import STRIDED, Array, Builders, Kernel

FIRST: dict[type[Op], Callable[..., Kernel]] = {
    Conv: conv.conv,
    FullyConnected: dense.fully_connected,
    BatchNorm: norm.batch_norm,
    BatchNormAgain: norm.batch_norm_again,
    BatchNormTraining: norm.batch_norm_training,
}


def epilogue(op: Epilogue, inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Kernel:
    if isinstance(op.first, ConvInputGradient):
        return _accumulated(op.first, inputs, outputs)
    strided = any(t.layout == STRIDED for t in inputs)
    finish = Finish(outputs[0], op.adds, op.activation, strided)
    builder = FIRST[type(op.first)]
    return builder(op.first, tuple(op.of_first(inputs)), outputs, finish)


def _accumulated(
    op: ConvInputGradient, inputs: tuple[Type, ...], outputs: tuple[Type, ...]
) -> Kernel:
    """The gradient of a convolution's input, and another that is added to it."""
    first = conv.KERNELS[type(op)](op, inputs[:-1], outputs)

    def run(weight: Array, dy: Array, addend: Array, dx: Array, *scratch: Array) -> None:
        first.run(weight, dy, dx, *scratch)
        np.add(dx, addend, out=dx)

    return Kernel(run, workspace=first.workspace)


KERNELS: Builders = {Epilogue: epilogue}
