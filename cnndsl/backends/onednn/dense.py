"""Fully connected layers, on maps as vectors in the order of their weights, which stay as they are.

Blocked weights would be reordered for every direction, and plain ones are as fast.
"""

from __future__ import annotations

import math
from dataclasses import replace

from cnndsl.backends.onednn.api import Argument, Handle, Propagation, engine
from cnndsl.backends.onednn.memory import (
    DATA,
    Layout,
    canonical,
    descriptor,
    layout_of,
    sizes,
    with_strides,
)
from cnndsl.backends.onednn.primitive import (
    Choice,
    Choosers,
    Description,
    Elementwise,
    Role,
    attributes,
    kernel,
)
from cnndsl.graph.types import Type
from cnndsl.ops.dense import (
    FullyConnected,
    FullyConnectedInputGradient,
    FullyConnectedWeightGradient,
)
from cnndsl.runtime.kernel import Kernel


def fully_connected(
    op: FullyConnected,
    inputs: tuple[Type, ...],
    outputs: tuple[Type, ...],
    then: Elementwise | None = None,
) -> Choice:
    x, weight, *bias = inputs
    description = _forward(x, weight, bias[0] if bias else None, outputs[0], then)
    wanted = channels_first(x), None

    def make(inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Kernel:
        roles: list[Role] = [
            (Argument.SOURCE, _vectors(x)),
            (Argument.WEIGHTS, _matrix(weight)),
            *((Argument.BIAS, descriptor(each)) for each in bias),
            (Argument.RESULT, descriptor(outputs[0])),
        ]
        return kernel(description, *roles)

    return Choice((*wanted, *(None,) * len(bias)), (None,), make)


def input_gradient(
    op: FullyConnectedInputGradient, inputs: tuple[Type, ...], outputs: tuple[Type, ...]
) -> Choice:
    weight, dy = inputs
    (dx,) = outputs
    hint = _forward(dx, weight, None, dy)
    arguments = engine(), _vectors(dx), _matrix(weight), canonical(dy)
    description = Description("inner_product_backward_data", *arguments, hint.handle, attributes())

    def make(inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Kernel:
        return kernel(
            description,
            (Argument.WEIGHTS, _matrix(weight)),
            (Argument.RESULT_GRADIENT, descriptor(inputs[1])),
            (Argument.SOURCE_GRADIENT, _vectors(dx)),
        )

    return Choice((None, None), (channels_first(dx),), make)


def weight_gradient(
    op: FullyConnectedWeightGradient, inputs: tuple[Type, ...], outputs: tuple[Type, ...]
) -> Choice:
    x, dy = inputs
    weight, *bias = outputs
    hint = _forward(x, replace(weight, dtype=x.dtype), None, dy)
    vector = descriptor(bias[0]) if bias else None
    arguments = engine(), _vectors(x), _matrix(weight), vector, canonical(dy)
    description = Description(
        "inner_product_backward_weights", *arguments, hint.handle, attributes()
    )

    def make(inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Kernel:
        roles: list[Role] = [
            (Argument.SOURCE, _vectors(x)),
            (Argument.RESULT_GRADIENT, descriptor(inputs[1])),
            (Argument.WEIGHTS_GRADIENT, _matrix(weight)),
        ]
        if vector is not None:
            roles.append((Argument.BIAS_GRADIENT, vector))
        return kernel(description, *roles)

    return Choice((channels_first(x), None), (None,) * len(outputs), make)


def _forward(
    x: Type, weight: Type, bias: Type | None, y: Type, then: Elementwise | None = None
) -> Description:
    vector = descriptor(bias) if bias is not None else None
    values = _vectors(x), _matrix(weight), vector, canonical(y)
    return Description(
        "inner_product_forward",
        *(engine(), Propagation.TRAINING, *values),
        attributes([then] if then else []),
    )


def channels_first(x: Type) -> Layout | None:
    """The layout in which a map is a vector in the order channel, row, column."""
    if not x.is_map:
        return None
    n, channels, height, width = sizes(x)
    strides = channels * height * width, height * width, width, 1
    return layout_of(with_strides((n, channels, height, width), strides, DATA[x.dtype]), x)


def _vectors(x: Type) -> Handle:
    """The descriptor of a value as vectors."""
    n, *rest = x.concrete()
    return with_strides((n, math.prod(rest)), (math.prod(rest), 1), DATA[x.dtype])


def _matrix(weight: Type) -> Handle:
    """The descriptor of weights as a matrix: filters of a convolution are one too."""
    features, *rest = weight.concrete()
    return canonical(weight, (features, math.prod(rest)))


CHOOSERS: Choosers = {
    FullyConnected: fully_connected,
    FullyConnectedInputGradient: input_gradient,
    FullyConnectedWeightGradient: weight_gradient,
}
