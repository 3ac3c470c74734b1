"""Operations with an epilogue: what is added and the activation go into their kernels."""

from __future__ import annotations

from cnndsl.backends.cuda import conv, dense, formula, norm
from cnndsl.backends.cuda.formula import Formula
from cnndsl.backends.cuda.launch import Builders, Recipe
from cnndsl.backends.cuda.pointwise import pointwise
from cnndsl.graph.types import Type
from cnndsl.ops.conv import Conv, ConvInputGradient
from cnndsl.ops.dense import FullyConnected
from cnndsl.ops.epilogue import Epilogue
from cnndsl.ops.norm import BatchNorm, BatchNormTraining


def epilogue(op: Epilogue, inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Recipe:
    more = op.adds, op.activation
    if isinstance(op.first, Conv):
        return conv.convolution(op.first, inputs, outputs, *more)
    if isinstance(op.first, ConvInputGradient):
        return conv.input_gradient(op.first, inputs, outputs, op.adds, op.slope is not None)
    if isinstance(op.first, FullyConnected):
        return dense.fully_connected(op.first, inputs, outputs, *more)
    if isinstance(op.first, BatchNormTraining):
        return norm.batch_norm_training(op.first, inputs, outputs, *more)
    return pointwise(by_known_statistics)(op, inputs, outputs)


def by_known_statistics(
    op: Epilogue, inputs: tuple[Type, ...], outputs: tuple[Type, ...]
) -> Formula:
    if isinstance(op.first, BatchNorm):
        first = norm.by_statistics(op.first, inputs, outputs)
    else:
        first = norm.again(op.first, inputs, outputs)
    return formula.epilogue(first, op.adds, op.activation)


BUILDERS: Builders = {Epilogue: epilogue}
