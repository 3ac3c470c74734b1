"""The engine `cuda-sim`: every kernel is executed thread by thread on the CPU, and watched.

It shows without a GPU that kernels are right. Convolutions and matrix products, which are a
library's, are computed by the reference engine.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from cnndsl.backends import numpy as reference
from cnndsl.backends.cuda import simulator
from cnndsl.backends.cuda.apart import follows
from cnndsl.backends.cuda.cudnn import Convolution, Geometry, Operand, Product, operands, strict
from cnndsl.backends.cuda.engine import CudaEngine
from cnndsl.backends.cuda.launch import Addresses, Constant, Given, Launch, Recipe, Task
from cnndsl.backends.cuda.shape import are_filters, physical
from cnndsl.graph.op import Op
from cnndsl.graph.types import Batch, Size, Type
from cnndsl.ops.conv import Conv, ConvInputGradient, ConvWeightGradient
from cnndsl.runtime.kernel import Array, Peaks


class Engine(CudaEngine):
    """Arrays are NumPy's. What a step is to write holds NaN before it does."""

    name = "cuda-sim"

    def __init__(self) -> None:
        self._host = reference.Engine()
        self._launches = 0

    def unavailable(self) -> str | None:
        return simulator.unavailable()

    def bound(self, recipe: Recipe, inputs: int, arrays: Sequence[Array]) -> Callable[[], None]:
        run = super().bound(recipe, inputs, arrays)
        read = [array for array in arrays[:inputs] if array is not None]
        written = [
            array
            for array in arrays[inputs:]
            if array is not None and not any(np.may_share_memory(array, each) for each in read)
        ]

        def poisoned() -> None:
            for array in written:
                poison(array)
            run()

        return poisoned

    def bind(
        self, task: Task, arguments: Sequence[Given], scratch: Array | None
    ) -> Callable[[], None]:
        if not isinstance(task, Launch):
            assert all(array is not None for array in arguments)
            return lambda: compute(task.description, arguments)
        kernel = simulator.compiled(task.source.text, task.source.entry)
        given = list(map(_given, arguments))

        def run() -> None:
            self._launches += 1
            simulator.run(kernel, task.grid, task.block, 0, given, seed=self._launches)

        return run

    def allocate(self, nbytes: int) -> Array:
        return self._host.allocate(nbytes)

    def view(self, buffer: Array, offset: int, type: Type) -> Array:
        part = buffer[offset : offset + type.total_bytes].view(type.dtype)
        array = part.reshape(physical(type))
        return array.transpose(0, 3, 1, 2) if are_filters(type) else array

    def peaks(self) -> Peaks:
        return self._host.peaks()

    def free_bytes(self) -> int | None:
        return self._host.free_bytes()

    def upload(self, target: Array, type: Type, source: Any) -> None:
        self._host.upload(target, type, source)

    def download(self, source: Array, type: Type) -> Any:
        return source.copy(order="C")


def _given(argument: Given) -> Array | int | Addresses:
    """An argument as the simulator takes it."""
    if isinstance(argument, Constant):
        return np.array(argument.values, np.int32)
    return 0 if argument is None else argument


def poison(array: Array) -> None:
    """Fill an array with bytes that are NaN in every element type that has it."""
    array[...] = np.full(array.dtype.itemsize, 0xFF, np.uint8).view(array.dtype)[0]


def compute(description: Convolution | Product, arrays: Sequence[Array]) -> None:
    """A convolution or a product by the reference engine, in float32, rounded at the end.

    What need not be strict is of factors in tf32, as tensor cores read float32: cut off.
    """
    *given, result = (
        _seen_as(each, array) for each, array in zip(operands(description), arrays, strict=True)
    )
    numbers = [each.astype(np.float32) for each in given]
    first, second, *more = numbers
    if not strict(description):
        first, second = _in_tf32(first), _in_tf32(second)
    if isinstance(description, Product):
        total = first @ second
    else:
        total = _CONVOLUTIONS[description.kind](description.geometry, first, second)
    _, slope = follows(description)
    for addend in more[: len(more) - slope]:
        total = total + addend
    if slope:
        total = np.where(more[-1] > 0, total, 0)
    result[...] = np.maximum(total, 0) if description.relu else total


def _in_tf32(array: Array) -> Array:
    """Numbers of float32 without the last 13 bits of their fraction; shorter types have none."""
    return (np.ascontiguousarray(array).view(np.uint32) & 0xFFFFE000).view(np.float32)


def _seen_as(operand: Operand, array: Array) -> Array:
    """An array with the axes and the strides that the library gives an operand."""
    by_stride = sorted(range(array.ndim), key=lambda axis: -array.strides[axis])
    flat = array.transpose(by_stride).reshape(-1).view(operand.dtype)
    strides = [stride * flat.itemsize for stride in operand.strides]
    return np.lib.stride_tricks.as_strided(flat, operand.shape, strides)


def _forward(g: Geometry, image: Array, filters: Array) -> Array:
    op, x = _padded(g)
    y = x.like((x.shape[0], *g.output, g.filters))
    return _last_to_second(_run(op, (_padding(g, image), filters), y))


def _input_gradient(g: Geometry, loss: Array, filters: Array) -> Array:
    op, x = _padded(g)
    padded = _run(ConvInputGradient(op, x), (filters, _second_to_last(loss)), x)
    top, _, left, _ = g.pad
    return _last_to_second(padded[:, top : top + g.height, left : left + g.width])


def _weight_gradient(g: Geometry, image: Array, loss: Array) -> Array:
    op, _ = _padded(g)
    weight = Type((g.filters, g.channels // g.groups, *g.kernel))
    return _run(ConvWeightGradient(op, weight), (_padding(g, image), _second_to_last(loss)), weight)


_CONVOLUTIONS = {
    "forward": _forward,
    "input_gradient": _input_gradient,
    "weight_gradient": _weight_gradient,
}


def _padded(g: Geometry) -> tuple[Conv, Type]:
    """The convolution of a map that is padded already, and the type of that map."""
    op = Conv(
        g.filters,
        Size(*g.kernel),
        stride=g.stride[0],
        pad=0,
        groups=g.groups,
        dilation=g.dilation[0],
        bias=False,
    )
    high, wide = g.height + sum(g.pad[:2]), g.width + sum(g.pad[2:])
    return op, Type((Batch(g.images), high, wide, g.channels))


def _padding(g: Geometry, image: Array) -> Array:
    """An image (N, C, H, W) as a padded map (N, H, W, C)."""
    return np.pad(_second_to_last(image), ((0, 0), g.pad[:2], g.pad[2:], (0, 0)))


def _second_to_last(array: Array) -> Array:
    return array.transpose(0, 2, 3, 1)


def _last_to_second(array: Array) -> Array:
    return array.transpose(0, 3, 1, 2)


def _run(op: Op, arrays: tuple[Array, ...], y: Type) -> Array:
    """The only result of an operation by the reference engine."""
    filters = {Conv: 1, ConvInputGradient: 0}.get(type(op))
    inputs = tuple(np.ascontiguousarray(array) for array in arrays)
    types = tuple(
        Type(a.shape if place == filters else (Batch(len(a)), *a.shape[1:]))
        for place, a in enumerate(inputs)
    )
    kernel = reference.kernel_of(op, types, (y,))
    result = np.empty(y.concrete(), np.float32)
    scratch = (np.empty(kernel.workspace, np.uint8),) if kernel.workspace else ()
    kernel.run(*inputs, result, *scratch)
    return result
