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
from dataclasses import dataclass
from functools import partial

import numpy as np

from cnndsl.backends.onednn.api import Algorithm, Argument
from cnndsl.backends.onednn.copying import copy
from cnndsl.backends.onednn.library import threads
from cnndsl.backends.onednn.memory import DATA, Transformed, descriptor, with_strides
from cnndsl.backends.onednn.parallel import parts_of, together
from cnndsl.backends.onednn.preferred import block, has_short_registers
from cnndsl.backends.onednn.primitive import Choice, Composed, Elementwise, in_turn
from cnndsl.graph.types import Type
from cnndsl.ops.conv import Conv
from cnndsl.ops.geometry import Pads
from cnndsl.runtime.kernel import Array, Kernel
from cnndsl.runtime.memory import round_up

#: The outputs of a tile along an axis, its inputs, and its points.
OUT, IN = 4, 6
POINTS = IN * IN
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
#: About so many tiles are worked on at once.
TILES = 196
#: What the transforms cost, in multiply-adds of a convolution, as was measured: a number of a tile
#: where there are few and where there are many, a filter's, a reorder's of a number of a map. It
#: has to pay by a margin.
FEW_TILES, MANY_TILES, FEW, A_FILTER, A_REORDER, MARGIN = 170, 95, 2000, 27, 100, 1.1


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
        matrix = FILTERS[:, ::-1] if layout.turned else FILTERS
        both = np.einsum("ir,js->ijrs", matrix, matrix).reshape(POINTS, 9).astype(np.float32)

        def bind(source: Array, target: Array, scratch: Array) -> Callable[[], None]:
            by_place = scratch[: weight.total_bytes].view(np.float32)
            roles = (Argument.SOURCE, here, source), (Argument.RESULT, there, by_place)
            many = parts_of(count)
            length = math.ceil(count / many)
            pieces = [slice(first, first + length) for first in range(0, count, length)]
            columns, result = by_place.reshape(9, count), target.reshape(POINTS, count)
            products = [
                partial(np.matmul, both, columns[:, piece], out=result[:, piece])
                for piece in pieces
            ]
            return in_turn(moved.on(roles, scratch[nbytes:]), together(products))

        return Composed(
            workspace=nbytes + moved.scratch_bytes, implementation="winograd", binder=bind
        )

    return Choice((inputs[0].layout,), (layout,), make)


def pays(op: Conv, x: Type, y: Type, then: Elementwise | None = None) -> bool:
    """Whether a convolution, or its gradient of the input, is faster so."""
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
    number = FEW_TILES if tiles < FEW else MANY_TILES
    product = tiles * channels * filters / 0.75
    transforms = number * tiles * (channels + filters) + A_FILTER * channels * filters
    reorders = A_REORDER * positions * (channels + filters) if block() is not None else 0
    direct = 9 * positions * channels * filters
    return MARGIN * (POINTS * (product + transforms) + reorders) < direct


def convolution(
    op: Conv, inputs: Sequence[Type], outputs: Sequence[Type], adds: bool, relu: bool
) -> Choice:
    """`relu(conv(x, w, b) + addend)`, all in the canonical layout."""
    x, weight, *rest = inputs
    wanted = (None, transformed(weight), *(None,) * len(rest))
    tiles = Tiling(x.concrete(), outputs[0].concrete(), op.pads(x))

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
    tiles = Tiling(dy.concrete(), dx.concrete(), pads)

    def make(inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Kernel:
        def bind(filters: Array, dy: Array, dx: Array, scratch: Array) -> Callable[[], None]:
            matrices = filters.reshape(POINTS, dx.shape[-1], -1).transpose(0, 2, 1)
            return tiles.bind(dy, matrices, dx, scratch, Finish())

        return Composed(workspace=tiles.workspace, implementation="winograd", binder=bind)

    return Choice((transformed(weight, turned=True), None), (None,), make)


@dataclass(frozen=True)
class Finish:
    """What is done to a result: a bias and an addend are added, and then what is negative is 0."""

    bias: Array | None = None
    addend: Array | None = None
    relu: bool = False


@dataclass(frozen=True)
class Piece:
    """Some rows of tiles of one image, or all of several."""

    image: int
    images: int
    row: int
    rows: int


class Tiling:
    """How a map (N, H, W, C) becomes another by tiles, on how many threads."""

    def __init__(self, x: tuple[int, ...], y: tuple[int, ...], pads: Pads) -> None:
        self.x, self.y = x, y
        self.top, self.left = pads[0][0], pads[1][0]
        self.down, self.across = (math.ceil(extent / OUT) for extent in y[1:3])
        self.width = OUT * self.across + IN - OUT
        self.threads = threads()
        each = self.down * self.across
        several = max(1, min(TILES // each, math.ceil(y[0] / self.threads)))
        parts = max(math.ceil(each / TILES), math.ceil(self.threads / y[0]))
        rows = math.ceil(self.down / parts) if several == 1 else self.down
        self.pieces = [
            Piece(image, min(several, y[0] - image), row, min(rows, self.down - row))
            for image in range(0, y[0], several)
            for row in range(0, self.down, rows)
        ]
        self.scratch_bytes = max(Scratch.nbytes(self, piece) for piece in self.pieces)
        self.workspace = self.threads * self.scratch_bytes

    def bind(
        self, x: Array, matrices: Array, y: Array, scratch: Array, finish: Finish
    ) -> Callable[[], None]:
        """What computes y: a piece after another, on every thread."""
        calls = []
        for number in range(min(self.threads, len(self.pieces))):
            own = scratch[number * self.scratch_bytes :][: self.scratch_bytes]
            made: dict[tuple[int, int], Scratch] = {}
            steps: list[Callable[[], None]] = []
            for piece in self.pieces[number :: self.threads]:
                key = piece.images, piece.rows
                if key not in made:
                    made[key] = Scratch(self, piece, own)
                steps.append(partial(made[key].run, *self._cut(piece, x, y, finish), matrices))
            calls.append(partial(_in_turn, steps))
        return together(calls)

    def _cut(
        self, piece: Piece, x: Array, y: Array, finish: Finish
    ) -> tuple[Array, int, Array, Finish]:
        """What a piece reads of x, how many rows of zeros are above, and what it writes of y."""
        images = slice(piece.image, piece.image + piece.images)
        first = OUT * piece.row - self.top
        last = first + OUT * piece.rows + IN - OUT
        rows = slice(OUT * piece.row, min(OUT * (piece.row + piece.rows), self.y[1]))
        addend = finish.addend[images, rows] if finish.addend is not None else None
        part = x[images, max(first, 0) : min(last, self.x[1])]
        return part, max(-first, 0), y[images, rows], Finish(finish.bias, addend, finish.relu)


def _in_turn(steps: Sequence[Callable[[], None]]) -> None:
    for step in steps:
        step()


class Scratch:
    """A thread's room for a piece. What comes after the products lies where the inputs did."""

    @staticmethod
    def shapes(tiling: Tiling, piece: Piece) -> tuple[list[list[tuple[int, ...]]], ...]:
        """Of two rooms, what is in each before the products and after them."""
        images, rows, across, width = piece.images, piece.rows, tiling.across, tiling.width
        channels, filters = tiling.x[3], tiling.y[3]
        padded = images, OUT * rows + IN - OUT, width, channels
        column = images, rows, width, channels
        tile, result = ((images, rows, across, each) for each in (channels, filters))
        return (
            [
                [padded, (IN, *column), (2, *column), (2, IN, *tile)],
                [(IN, IN, *result)],
            ],
            [
                [(IN, IN, *tile)],
                [
                    (OUT, IN, *result),
                    (2, IN, *result),
                    (images, rows, OUT, across, OUT, filters),
                    (2, OUT, *result),
                ],
            ],
        )

    @staticmethod
    def nbytes(tiling: Tiling, piece: Piece) -> int:
        return sum(_room(phases) for phases in Scratch.shapes(tiling, piece))

    def __init__(self, tiling: Tiling, piece: Piece, memory: Array) -> None:
        first, second = self.shapes(tiling, piece)
        rooms = memory[: _room(first)], memory[_room(first) :]
        self.padded, columns, spare, spare_of_columns = _views(rooms[0], first[0])
        (products,) = _views(rooms[0], first[1])
        (inputs,) = _views(rooms[1], second[0])
        half, spare_of_half, results, spare_of_results = _views(rooms[1], second[1])
        rows, across = piece.rows, tiling.across
        self.left = tiling.left
        self.vertical = (
            [self.padded[:, i : i + OUT * (rows - 1) + 1 : OUT] for i in range(IN)],
            list(columns),
            list(spare),
        )
        self.horizontal = (
            [columns[:, :, :, j : j + OUT * (across - 1) + 1 : OUT] for j in range(IN)],
            [inputs[:, j] for j in range(IN)],
            list(spare_of_columns),
        )
        self.inputs = inputs.reshape(POINTS, -1, tiling.x[3])
        self.products = products.reshape(POINTS, -1, tiling.y[3])
        self.back_vertical = list(products), list(half), list(spare_of_half)
        by_column = results.transpose(4, 2, 0, 1, 3, 5)
        self.back_horizontal = (
            [half[:, j] for j in range(IN)],
            list(by_column),
            list(spare_of_results),
        )
        self.results = results.reshape(piece.images, OUT * rows, OUT * across, -1)

    def run(self, x: Array, above: int, y: Array, finish: Finish, matrices: Array) -> None:
        padded, left, right = self.padded, self.left, self.left + x.shape[2]
        padded[:, :above] = 0
        padded[:, above + x.shape[1] :] = 0
        padded[:, :, :left] = 0
        padded[:, :, right:] = 0
        padded[:, above : above + x.shape[1], left:right] = x
        transform_inputs(*self.vertical)
        transform_inputs(*self.horizontal)
        np.matmul(self.inputs, matrices, out=self.products)
        transform_results(*self.back_vertical)
        transform_results(*self.back_horizontal)
        found = self.results[:, : y.shape[1], : y.shape[2]]
        if finish.bias is not None:
            np.add(found, finish.bias, out=found)
        if finish.addend is not None:
            np.add(found, finish.addend, out=found)
        if finish.relu:
            np.maximum(found, 0, out=y)
        else:
            np.copyto(y, found)


def transform_inputs(x: Sequence[Array], t: Sequence[Array], spare: Sequence[Array]) -> None:
    """Along an axis: six inputs at six points. With even and odd parts of each pair of points."""
    even, odd = spare
    np.multiply(x[2], -4, out=even)
    np.add(even, x[4], out=even)
    np.multiply(x[1], -4, out=odd)
    np.add(odd, x[3], out=odd)
    np.add(even, odd, out=t[1])
    np.subtract(even, odd, out=t[2])
    np.multiply(x[0], 4, out=t[0])
    np.add(t[0], even, out=t[0])
    np.subtract(t[0], x[2], out=t[0])
    np.subtract(x[3], x[1], out=odd)
    np.multiply(odd, -4, out=t[5])
    np.add(t[5], x[5], out=t[5])
    np.subtract(t[5], x[3], out=t[5])
    np.subtract(x[4], x[2], out=even)
    np.add(odd, odd, out=odd)
    np.add(even, odd, out=t[3])
    np.subtract(even, odd, out=t[4])


def transform_results(t: Sequence[Array], y: Sequence[Array], spare: Sequence[Array]) -> None:
    """Along an axis: from six points to four outputs."""
    first, second = spare
    np.add(t[1], t[2], out=first)
    np.add(t[3], t[4], out=second)
    np.add(t[0], first, out=y[0])
    np.add(y[0], second, out=y[0])
    np.multiply(second, 4, out=second)
    np.add(first, second, out=y[2])
    np.subtract(t[1], t[2], out=first)
    np.subtract(t[3], t[4], out=second)
    np.add(second, second, out=second)
    np.add(first, second, out=y[1])
    np.multiply(second, 4, out=second)
    np.add(first, second, out=y[3])
    np.add(y[3], t[5], out=y[3])


def _room(phases: Sequence[Sequence[tuple[int, ...]]]) -> int:
    """The bytes of what is there at one time, at most."""
    return max(sum(round_up(4 * math.prod(shape)) for shape in phase) for phase in phases)


def _views(memory: Array, shapes: Sequence[tuple[int, ...]]) -> Iterator[Array]:
    used = 0
    for shape in shapes:
        nbytes = 4 * math.prod(shape)
        yield memory[used : used + nbytes].view(np.float32).reshape(shape)
        used += round_up(nbytes)
