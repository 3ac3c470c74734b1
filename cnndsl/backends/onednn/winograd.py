"""3x3 convolutions by Winograd's minimal filtering, F(4x4, 3x3): a quarter of the multiplications.

The library has none on processors with AVX2. An output is cut into tiles of 4x4; each is made from
6x6 inputs, whose transform is multiplied by that of the filters at 36 points: 36 products of
matrices, tiles by channels and channels by filters, which NumPy's BLAS does. Threads take turns at
pieces of some 200 tiles, whose transforms stay in the cache.

Source: Lavin & Gray, Fast algorithms for convolutional neural networks, 2016.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial

import numpy as np

from cnndsl.backends.onednn.api import Algorithm, Argument
from cnndsl.backends.onednn.copying import copy
from cnndsl.backends.onednn.memory import DATA, Transformed, descriptor, layout_of, with_strides
from cnndsl.backends.onednn.parallel import parts_of, together
from cnndsl.backends.onednn.preferred import block, has_short_registers
from cnndsl.backends.onednn.primitive import Choice, Elementwise
from cnndsl.backends.onednn.tiles import OUT, POINTS, Convolution, Finish, Gradient
from cnndsl.graph.types import Type
from cnndsl.ops.conv import Conv, ConvWeightGradient
from cnndsl.runtime.kernel import Array, Composed, Kernel, in_turn
from cnndsl.runtime.memory import round_up

#: What transforms the filters: at the points 0, 1, -1, 2, -2 and infinity.
FILTERS = np.array(
    [
        [1 / 4, 0, 0],
        [-1 / 6, -1 / 6, -1 / 6],
        [-1 / 6, 1 / 6, -1 / 6],
        [1 / 24, 1 / 12, 1 / 6],
        [1 / 24, -1 / 12, 1 / 6],
        [0, 0, 1],
    ]
)
#: What a number costs, in multiply-adds of a convolution, as was measured: in a tile among many,
#: and more where there are few; in a filter; in a map that is reordered. It has to pay by a margin.
A_TILE, FEW_TILES, A_FILTER, A_REORDER, MARGIN = 90, 9_000, 27, 100, 1.2
#: At what part of the processor's rate the library's gradients of 3x3 filters run.
OF_FILTERS = 0.6


_allowed: ContextVar[bool] = ContextVar("winograd", default=True)


@contextmanager
def none() -> Iterator[None]:
    """Within, no convolution is done so."""
    token = _allowed.set(False)
    try:
        yield
    finally:
        _allowed.reset(token)


def transformed(weight: Type, turned: bool = False) -> Transformed:
    """The layout of the transforms of filters, of which there are 36 matrices."""
    filters, channels = weight.features[:2]
    return Transformed(POINTS * filters * channels * 4, turned)


def reorder(layout: Transformed, inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Choice:
    """Filters (O, I, 3, 3) in whatever layout become their transforms, (36, I, O)."""

    def make(inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Kernel:
        (weight,) = inputs
        filters, channels, *_ = weight.concrete()
        count = channels * filters
        there = with_strides(
            (filters, channels, 3, 3), (1, filters, 3 * count, count), DATA[weight.dtype]
        )
        here = descriptor(weight)
        moved = copy(here, there)
        nbytes = round_up(weight.total_bytes)

        def bind(source: Array, target: Array, scratch: Array) -> Callable[[], None]:
            by_place = scratch[: weight.total_bytes].view(np.float32)
            roles = (Argument.SOURCE, here, source), (Argument.RESULT, there, by_place)
            columns, result = by_place.reshape(9, count), target.reshape(POINTS, count)
            product = _product(_both(layout.turned), columns, result)
            return in_turn(moved.on(roles, scratch[nbytes:]), product)

        return Composed(
            workspace=nbytes + moved.scratch_bytes, implementation="winograd", binder=bind
        )

    return Choice((inputs[0].layout,), (layout,), make)


def _both(turned: bool = False) -> Array:
    """What transforms a filter's nine numbers to its 36 points."""
    matrix = FILTERS[:, ::-1] if turned else FILTERS
    return np.einsum("ir,js->ijrs", matrix, matrix).reshape(POINTS, 9).astype(np.float32)


def _product(matrix: Array, columns: Array, result: Array) -> Callable[[], None]:
    """What computes the product of a small matrix and a wide one, columns on every thread."""
    count = columns.shape[1]
    length = math.ceil(count / parts_of(count))
    pieces = [slice(first, first + length) for first in range(0, count, length)]
    return together(
        [partial(np.matmul, matrix, columns[:, each], out=result[:, each]) for each in pieces]
    )


def pays(op: Conv, x: Type, y: Type, then: Elementwise | None = None, rate: float = 1.0) -> bool:
    """Whether a convolution, or a gradient of it, is faster so.

    `rate` is that of the library's own, as a part of what the processor can do.
    """
    if not _allowed.get():
        return False
    relu = then is None or (then.algorithm == Algorithm.RELU and not then.alpha)
    plain = op.kernel == (3, 3) and (op.stride, op.groups, op.dilation) == (1, 1, 1)
    pads = [each for pair in op.pads(x) for each in pair] if plain else []
    if not (plain and relu and max(pads) <= 2 and x.dtype == "float32" and has_short_registers()):
        return False
    images, height, width, filters = y.concrete()
    positions, channels = images * height * width, x.channels
    tiles = images * math.ceil(height / OUT) * math.ceil(width / OUT)
    number = A_TILE + FEW_TILES / tiles
    product = tiles * channels * filters / 0.75
    transforms = number * tiles * (channels + filters) + A_FILTER * channels * filters
    reorders = A_REORDER * positions * (channels + filters) if block() is not None else 0
    direct = 9 * positions * channels * filters / rate
    return MARGIN * (POINTS * (product + transforms) + reorders) < direct


def convolution(
    op: Conv, inputs: Sequence[Type], outputs: Sequence[Type], adds: bool, relu: bool
) -> Choice:
    """`relu(conv(x, w, b) + addend)`, all in the canonical layout."""
    x, weight, *rest = inputs
    wanted = (None, transformed(weight), *(None,) * len(rest))
    tiles = Convolution(x.concrete(), outputs[0].concrete(), op.pads(x))

    def make(inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Kernel:
        biased = len(rest) > adds

        def bind(*arrays: Array) -> Callable[[], None]:
            source, filters, *others, y, scratch = arrays
            bias = others[0] if biased else None
            addend = others[-1] if adds else None
            matrices = filters.reshape(POINTS, x.channels, -1)
            return tiles.bind(source, matrices, y, scratch, Finish(bias, addend, relu))

        return Composed(
            may_alias=((0, len(inputs) - 1),) if adds else (),
            workspace=tiles.workspace,
            implementation="winograd",
            binder=bind,
        )

    return Choice(wanted, (None,), make)


def input_gradient(op: Conv, inputs: Sequence[Type], outputs: Sequence[Type]) -> Choice:
    """The convolution of the output's gradient with the filters turned, over what was padded."""
    weight, dy = inputs
    (dx,) = outputs
    (top, bottom), (left, right) = op.pads(dx)
    pads = ((2 - top, 2 - bottom), (2 - left, 2 - right))
    tiles = Convolution(dy.concrete(), dx.concrete(), pads)

    def make(inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Kernel:
        def bind(filters: Array, dy: Array, dx: Array, scratch: Array) -> Callable[[], None]:
            matrices = filters.reshape(POINTS, dx.shape[-1], -1).transpose(0, 2, 1)
            return tiles.bind(dy, matrices, dx, scratch, Finish())

        return Composed(workspace=tiles.workspace, implementation="winograd", binder=bind)

    return Choice((transformed(weight, turned=True), None), (None,), make)


def weight_gradient(
    op: ConvWeightGradient, inputs: Sequence[Type], outputs: Sequence[Type]
) -> Choice:
    """The gradient at the 36 points, brought back to the nine places of a filter."""
    x, dy = inputs
    weight, *bias = outputs
    filters, channels = weight.features[:2]
    count = channels * filters
    tiles = Gradient(x.concrete(), dy.concrete(), op.conv.pads(x))
    there = with_strides((filters, channels, 3, 3), (1, filters, 3 * count, count), DATA["float32"])

    def make(inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Kernel:
        def bind(x: Array, dy: Array, *results: Array) -> Callable[[], None]:
            dw, *db, scratch = results
            places = dw.reshape(9, count)
            points, run = tiles.bind(x, dy, scratch, db[0] if db else None)
            return in_turn(run, _product(_both().T, points.reshape(POINTS, count), places))

        return Composed(workspace=tiles.workspace, implementation="winograd", binder=bind)

    return Choice((None, None), (layout_of(there, weight), *(None,) * len(bias)), make)
