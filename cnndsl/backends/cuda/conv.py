"""Convolutions: the library's, and what it does not do behind them."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from cnndsl.backends.cuda.cudnn import Convolution, Description, Geometry
from cnndsl.backends.cuda.formula import activation
from cnndsl.backends.cuda.launch import (
    Argument,
    Builders,
    LibraryCall,
    Recipe,
    Scratch,
    Task,
)
from cnndsl.backends.cuda.norm import bias_gradient
from cnndsl.backends.cuda.pointwise import launch, same
from cnndsl.graph.types import Type
from cnndsl.ops.activation import Activation, Relu
from cnndsl.ops.cast import Cast
from cnndsl.ops.conv import BiasGradient, Conv, ConvInputGradient, ConvWeightGradient
from cnndsl.runtime.memory import round_up


def geometry(op: Conv, x: Type) -> Geometry:
    """The numbers of a convolution of a map."""
    images, height, width, channels = x.concrete()
    (top, bottom), (left, right) = op.pads(x)
    return Geometry(
        images,
        height,
        width,
        channels,
        op.filters,
        (op.kernel[0], op.kernel[1]),
        (op.stride, op.stride),
        (op.dilation, op.dilation),
        op.groups,
        (top, bottom, left, right),
    )


def _described(
    kind: Literal["forward", "input_gradient", "weight_gradient"],
    op: Conv,
    x: Type,
    result: Type,
) -> Convolution:
    return Convolution(kind, geometry(op, x), x.dtype, result.dtype)


def convolution(
    op: Conv,
    inputs: tuple[Type, ...],
    outputs: tuple[Type, ...],
    adds: bool = False,
    then: Activation | None = None,
) -> Recipe:
    """Inputs: x, weight, the bias if there is one, the addend if it `adds`."""
    (y,) = outputs
    relu = isinstance(then, Relu)
    bias = len(inputs) - adds == 3
    plain = _described("forward", op, inputs[0], y)
    description = replace(
        plain, bias=bias, add=adds, relu=relu, bias_dtype=inputs[2].dtype if bias else "float32"
    )
    here = len(inputs)
    tasks: list[Task] = [LibraryCall(description, (*range(here), here))]
    if then is not None and not relu:
        tasks.append(launch(activation(then, (y,), (y,)), (y,), (y,), (here, here)))
    return Recipe(tuple(tasks))


def input_gradient(
    op: ConvInputGradient,
    inputs: tuple[Type, ...],
    outputs: tuple[Type, ...],
    adds: bool = False,
    slope: bool = False,
) -> Recipe:
    """Inputs: weight, dy, the addend if it `adds`, what a relu saved if it goes through its slope;
    the library wants dy first."""
    (dx,) = outputs
    description = replace(_described("input_gradient", op.conv, dx, dx), add=adds, slope=slope)
    return Recipe((LibraryCall(description, (1, 0, *range(2, len(inputs) + 1))),))


def weight_gradient(
    op: ConvWeightGradient, inputs: tuple[Type, ...], outputs: tuple[Type, ...]
) -> Recipe:
    """Inputs: x, dy. Results: that of the weight, and of a bias."""
    x, dw = inputs[0], outputs[0]
    short = _described("weight_gradient", op.conv, x, replace(dw, dtype=x.dtype))
    return with_bias(in_own_type(short, (0, 1), dw, 2), op.bias, inputs, outputs)


def in_own_type(
    description: Description, operands: tuple[Argument, ...], result: Type, place: int
) -> Recipe:
    """A weight's gradient in the element type of what it is computed from, of which cuDNN has most
    plans, and a cast where the result is to be longer."""
    if description.result == result.dtype:
        return Recipe((LibraryCall(description, (*operands, place)),))
    short = replace(result, dtype=description.result)
    made = Scratch(0, short.total_bytes)
    cast = launch(same(Cast(result.dtype), (short,), (result,)), (short,), (result,), (made, place))
    return Recipe((LibraryCall(description, (*operands, made)), cast), made.nbytes)


def with_bias(
    weight: Recipe, bias: bool, inputs: tuple[Type, ...], outputs: tuple[Type, ...]
) -> Recipe:
    """The gradient of a weight, and if it is wanted that of a bias: of x and dy both results."""
    if not bias:
        return weight
    sums = bias_gradient(BiasGradient(), inputs[1:], outputs[1:])
    sums = sums.moved((1, 3), round_up(weight.workspace))
    return Recipe((*weight.tasks, *sums.tasks), sums.workspace)


BUILDERS: Builders = {
    Conv: convolution,
    ConvInputGradient: input_gradient,
    ConvWeightGradient: weight_gradient,
}
