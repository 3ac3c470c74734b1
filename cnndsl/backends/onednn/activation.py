"""Activations, on a value in whatever layout it is."""

from __future__ import annotations

from dataclasses import replace

from cnndsl.backends.onednn.api import Algorithm, Argument, Propagation, engine
from cnndsl.backends.onednn.memory import descriptor
from cnndsl.backends.onednn.primitive import (
    Choice,
    Choosers,
    Description,
    Elementwise,
    attributes,
    kernel,
)
from cnndsl.backends.onednn.reference import reference
from cnndsl.graph.types import Type
from cnndsl.ops.activation import (
    Activation,
    ActivationGradient,
    Elu,
    Gelu,
    HardSigmoid,
    HardSwish,
    LeakyRelu,
    Relu,
    Relu6,
    Sigmoid,
    Silu,
    Tanh,
)
from cnndsl.runtime.kernel import Kernel

#: The algorithms whose gradient is computed from the result.
BY_RESULT = {
    Algorithm.RELU: Algorithm.RELU_BY_RESULT,
    Algorithm.ELU: Algorithm.ELU_BY_RESULT,
    Algorithm.LOGISTIC: Algorithm.LOGISTIC_BY_RESULT,
    Algorithm.TANH: Algorithm.TANH_BY_RESULT,
    Algorithm.CLIP: Algorithm.CLIP_BY_RESULT,
}


def elementwise(op: Activation) -> Elementwise:
    """The library's algorithm of an activation, and its two numbers."""
    match op:
        case Relu():
            return Elementwise(Algorithm.RELU)
        case LeakyRelu(slope):
            return Elementwise(Algorithm.RELU, slope)
        case Relu6():
            return Elementwise(Algorithm.CLIP, 0.0, 6.0)
        case Elu(alpha):
            return Elementwise(Algorithm.ELU, alpha)
        case Sigmoid():
            return Elementwise(Algorithm.LOGISTIC)
        case Tanh():
            return Elementwise(Algorithm.TANH)
        case Silu():
            return Elementwise(Algorithm.SWISH, 1.0)
        case Gelu():
            return Elementwise(Algorithm.GELU)
        case HardSwish():
            return Elementwise(Algorithm.HARDSWISH, 1 / 6, 0.5)
        case HardSigmoid():
            return Elementwise(Algorithm.HARDSIGMOID, 1 / 6, 0.5)
    raise KeyError(op.name)


def activation(op: Activation, inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Choice:
    function = elementwise(op)

    def make(inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Kernel:
        x = descriptor(inputs[0])
        way = Propagation.INFERENCE, function.algorithm, x, x, function.alpha, function.beta
        description = Description("eltwise_forward", engine(), *way, attributes())
        roles = (Argument.SOURCE, x), (Argument.RESULT, x)
        return kernel(description, *roles, may_alias=((0, 0),))

    layout = inputs[0].layout
    return Choice((layout,), (layout,), make)


def gradient(op: ActivationGradient, inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Choice:
    """Inputs: what the activation saves, output gradient."""
    function = elementwise(op.activation)
    by_result = op.activation.saves == "output"
    if by_result and function.algorithm not in BY_RESULT:
        return reference(op, inputs, outputs)
    if by_result:
        function = replace(function, algorithm=BY_RESULT[function.algorithm])
    saved, dy = inputs
    layout = saved.layout or dy.layout

    def make(inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Kernel:
        x = descriptor(inputs[0])
        numbers = function.alpha, function.beta
        forward = Description(
            "eltwise_forward",
            *(engine(), Propagation.TRAINING, function.algorithm, x, x, *numbers),
            attributes(),
        )
        backward = Description(
            "eltwise_backward",
            *(engine(), function.algorithm, x, x, x, *numbers),
            *(forward.handle, attributes()),
        )
        role = Argument.RESULT if by_result else Argument.SOURCE
        return kernel(
            backward,
            (role, x),
            (Argument.RESULT_GRADIENT, x),
            (Argument.SOURCE_GRADIENT, x),
            may_alias=((0, 1),),
        )

    return Choice((layout, layout), (layout,), make)


ACTIVATIONS = (Relu, Relu6, LeakyRelu, Elu, Sigmoid, Tanh, Silu, Gelu, HardSwish, HardSigmoid)
CHOOSERS: Choosers = {
    **dict.fromkeys(ACTIVATIONS, activation),
    ActivationGradient: gradient,
}
