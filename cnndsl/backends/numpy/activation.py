"""Kernels of activations, a block at a time."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from cnndsl.backends.numpy.blocks import Blocks
from cnndsl.backends.numpy.normal import cumulative
from cnndsl.graph.op import Op
from cnndsl.graph.types import Type
from cnndsl.ops.activation import (
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
    Softmax,
    SoftmaxGradient,
    Tanh,
)
from cnndsl.runtime.kernel import Array, Builders, Kernel

#: `function(op, x, y, temporary, temporary)` computes one block; `y` may be `x`.
Forward = Callable[[Any, Array, Array, Array, Array], None]
#: `function(op, saved, dy, dx, temporary, temporary)` computes one block; `dx` may be `dy`.
Backward = Callable[[Any, Array, Array, Array, Array, Array], None]


def activation(function: Forward) -> Callable[..., Kernel]:
    """The builder of a kernel that applies a function block by block, in place where it may."""

    def build(op: Op, inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Kernel:
        blocks = Blocks.of(inputs[0], temporaries=2)

        def run(x: Array, y: Array, *scratch: Array) -> None:
            for part in blocks.parts(scratch, x, y):
                function(op, *part)

        return Kernel(run, may_alias=((0, 0),), workspace=blocks.workspace)

    return build


def activation_gradient(
    op: ActivationGradient, inputs: tuple[Type, ...], outputs: tuple[Type, ...]
) -> Kernel:
    blocks = Blocks.of(inputs[0], temporaries=2)
    function = GRADIENTS[type(op.activation)]

    def run(saved: Array, dy: Array, dx: Array, *scratch: Array) -> None:
        for part in blocks.parts(scratch, saved, dy, dx):
            function(op.activation, *part)

    return Kernel(run, may_alias=((0, 1),), workspace=blocks.workspace)


def sigmoid_of(x: Array, y: Array) -> None:
    """`1 / (1 + exp(−x))`, without overflow."""
    lowest = -87.0 if y.dtype == np.float32 else -708.0
    np.maximum(x, lowest, out=y)
    np.negative(y, out=y)
    np.exp(y, out=y)
    np.add(y, 1, out=y)
    np.reciprocal(y, out=y)


def _relu(op: Relu, x: Array, y: Array, first: Array, second: Array) -> None:
    np.maximum(x, 0, out=y)


def _relu_gradient(op: Relu, y: Array, dy: Array, dx: Array, first: Array, second: Array) -> None:
    np.multiply(dy, y > 0, out=dx)


def _relu6(op: Relu6, x: Array, y: Array, first: Array, second: Array) -> None:
    np.clip(x, 0, 6, out=y)


def _relu6_gradient(op: Relu6, y: Array, dy: Array, dx: Array, first: Array, second: Array) -> None:
    np.multiply(dy, (y > 0) & (y < 6), out=dx)


def _leaky_relu(op: LeakyRelu, x: Array, y: Array, first: Array, second: Array) -> None:
    np.multiply(x, op.slope, out=first)
    (np.maximum if op.slope <= 1 else np.minimum)(x, first, out=y)


def _leaky_relu_gradient(
    op: LeakyRelu, y: Array, dy: Array, dx: Array, first: Array, second: Array
) -> None:
    np.copyto(first, y > 0)
    np.multiply(first, 1 - op.slope, out=first)
    np.add(first, op.slope, out=first)
    np.multiply(dy, first, out=dx)


def _elu(op: Elu, x: Array, y: Array, first: Array, second: Array) -> None:
    np.minimum(x, 0, out=first)
    np.expm1(first, out=first)
    np.multiply(first, op.alpha, out=first)
    np.maximum(x, 0, out=y)
    np.add(y, first, out=y)


def _elu_gradient(op: Elu, y: Array, dy: Array, dx: Array, first: Array, second: Array) -> None:
    np.minimum(y, 0, out=first)
    np.add(first, op.alpha, out=first)
    np.copyto(first, 1, where=y > 0)
    np.multiply(dy, first, out=dx)


def _sigmoid(op: Sigmoid, x: Array, y: Array, first: Array, second: Array) -> None:
    sigmoid_of(x, y)


def _sigmoid_gradient(
    op: Sigmoid, y: Array, dy: Array, dx: Array, first: Array, second: Array
) -> None:
    np.subtract(1, y, out=first)
    np.multiply(first, y, out=first)
    np.multiply(dy, first, out=dx)


def _tanh(op: Tanh, x: Array, y: Array, first: Array, second: Array) -> None:
    np.tanh(x, out=y)


def _tanh_gradient(op: Tanh, y: Array, dy: Array, dx: Array, first: Array, second: Array) -> None:
    np.multiply(y, y, out=first)
    np.subtract(1, first, out=first)
    np.multiply(dy, first, out=dx)


def _silu(op: Silu, x: Array, y: Array, first: Array, second: Array) -> None:
    sigmoid_of(x, first)
    np.multiply(x, first, out=y)


def _silu_gradient(op: Silu, x: Array, dy: Array, dx: Array, first: Array, second: Array) -> None:
    """The slope is `s · (1 + x · (1 − s))`, with `s = σ(x)`."""
    sigmoid_of(x, first)
    np.subtract(1, first, out=second)
    np.multiply(second, x, out=second)
    np.add(second, 1, out=second)
    np.multiply(second, first, out=second)
    np.multiply(dy, second, out=dx)


def _gelu(op: Gelu, x: Array, y: Array, first: Array, second: Array) -> None:
    cumulative(x, first, second)
    np.multiply(x, first, out=y)


def _gelu_gradient(op: Gelu, x: Array, dy: Array, dx: Array, first: Array, second: Array) -> None:
    """The slope is `Φ(x) + x · exp(−x²/2) / √(2π)`; `cumulative` leaves the exponential."""
    cumulative(x, first, second)
    np.multiply(second, x, out=second)
    np.multiply(second, 1 / math.sqrt(2 * math.pi), out=second)
    np.add(first, second, out=first)
    np.multiply(dy, first, out=dx)


def _hardswish(op: HardSwish, x: Array, y: Array, first: Array, second: Array) -> None:
    _hardsigmoid(op, x, first, first, second)
    np.multiply(x, first, out=y)


def _hardswish_gradient(
    op: HardSwish, x: Array, dy: Array, dx: Array, first: Array, second: Array
) -> None:
    """The slope is `hardsigmoid(x)`, and `x / 6` more between −3 and 3."""
    _hardsigmoid(op, x, first, first, second)
    np.divide(x, 6, out=second)
    np.multiply(second, np.abs(x) < 3, out=second)
    np.add(first, second, out=first)
    np.multiply(dy, first, out=dx)


def _hardsigmoid(op: Op, x: Array, y: Array, first: Array, second: Array) -> None:
    np.add(x, 3, out=y)
    np.clip(y, 0, 6, out=y)
    np.divide(y, 6, out=y)


def _hardsigmoid_gradient(
    op: HardSigmoid, y: Array, dy: Array, dx: Array, first: Array, second: Array
) -> None:
    np.multiply(dy, (y > 0) & (y < 1), out=dx)
    np.divide(dx, 6, out=dx)


def softmax_rows(x: Array, y: Array) -> None:
    """The softmax of every row of a matrix; `y` may be `x`."""
    np.subtract(x, x.max(axis=1, keepdims=True), out=y)
    np.exp(y, out=y)
    np.divide(y, y.sum(axis=1, keepdims=True), out=y)


def softmax(op: Softmax, inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Kernel:
    channels = inputs[0].channels
    blocks = Blocks.of(inputs[0], row=channels)

    def run(x: Array, y: Array) -> None:
        for source, target in blocks.parts((), x, y):
            softmax_rows(source.reshape(-1, channels), target.reshape(-1, channels))

    return Kernel(run, may_alias=((0, 0),))


def softmax_gradient(
    op: SoftmaxGradient, inputs: tuple[Type, ...], outputs: tuple[Type, ...]
) -> Kernel:
    channels = inputs[0].channels
    blocks = Blocks.of(inputs[0], row=channels)

    def run(y: Array, dy: Array, dx: Array) -> None:
        for part in blocks.parts((), y, dy, dx):
            rows, grads, target = (a.reshape(-1, channels) for a in part)
            mean = np.einsum("nc,nc->n", rows, grads)[:, None]
            np.subtract(grads, mean, out=target)
            np.multiply(target, rows, out=target)

    return Kernel(run, may_alias=((0, 1),))


GRADIENTS: dict[type[Op], Backward] = {
    Relu: _relu_gradient,
    Relu6: _relu6_gradient,
    LeakyRelu: _leaky_relu_gradient,
    Elu: _elu_gradient,
    Sigmoid: _sigmoid_gradient,
    Tanh: _tanh_gradient,
    Silu: _silu_gradient,
    Gelu: _gelu_gradient,
    HardSwish: _hardswish_gradient,
    HardSigmoid: _hardsigmoid_gradient,
}

FORWARD: dict[type[Op], Forward] = {
    Relu: _relu,
    Relu6: _relu6,
    LeakyRelu: _leaky_relu,
    Elu: _elu,
    Sigmoid: _sigmoid,
    Tanh: _tanh,
    Silu: _silu,
    Gelu: _gelu,
    HardSwish: _hardswish,
    HardSigmoid: _hardsigmoid,
}

#: Those that need no temporaries to work in place.
DIRECT = (Relu, Relu6, Sigmoid, Tanh, HardSigmoid)

KERNELS: Builders = {
    **{kind: activation(function) for kind, function in FORWARD.items()},
    ActivationGradient: activation_gradient,
    Softmax: softmax,
    SoftmaxGradient: softmax_gradient,
}
