"""Kernels of operations with an epilogue: those of the operations, with what they finish by."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from cnndsl.backends.numpy import activation, conv, dense, norm
from cnndsl.backends.numpy.finish import Finish
from cnndsl.graph.op import Op
from cnndsl.graph.types import Type
from cnndsl.ops.activation import ActivationGradient
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
        return _gradient(op, op.first, inputs, outputs)
    strided = any(t.layout == STRIDED for t in inputs)
    finish = Finish(outputs[0], op.adds, op.activation, strided)
    builder = FIRST[type(op.first)]
    return builder(op.first, tuple(op.of_first(inputs)), outputs, finish)


def _gradient(
    op: Epilogue, first: ConvInputGradient, inputs: tuple[Type, ...], outputs: tuple[Type, ...]
) -> Kernel:
    """The gradient of a convolution's input, and what is done to it where it is."""
    own = len(op.of_first(inputs))
    inner = conv.KERNELS[type(first)](first, inputs[:own], outputs)
    back = None
    if op.slope is not None:
        slope = ActivationGradient(op.slope)
        back = activation.KERNELS[type(slope)](slope, (inputs[-1], outputs[0]), outputs)
    workspace = max(inner.workspace, back.workspace if back else 0)

    def run(*arrays: Array) -> None:
        dx, scratch = arrays[len(inputs)], arrays[len(inputs) + 1 :]
        inner.run(*arrays[:own], dx, *scratch[: bool(inner.workspace)])
        if op.adds:
            np.add(dx, arrays[own], out=dx)
        if back is not None:
            back.run(arrays[len(inputs) - 1], dx, dx, *scratch[: bool(back.workspace)])

    return Kernel(run, workspace=workspace)


KERNELS: Builders = {Epilogue: epilogue}
