"""Maps by tiles of 4x4 outputs: Winograd's transforms, and the products between them.

Source: Lavin & Gray, Fast algorithms for convolutional neural networks, 2016.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from cnndsl.backends.onednn.library import threads
from cnndsl.backends.onednn.parallel import together
from cnndsl.ops.geometry import Pads
from cnndsl.runtime.kernel import Array
from cnndsl.runtime.memory import round_up

#: The outputs of a tile along an axis, its inputs, and its points.
OUT, IN = 4, 6
POINTS = IN * IN
Shape = tuple[int, ...]

#: About so many tiles are worked on at once.
TILES = 196


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

    @property
    def part(self) -> slice:
        return slice(self.image, self.image + self.images)


class Tiling:
    """How a map (N, H, W, C) becomes another one by tiles, on how many threads."""

    def __init__(self, x: Shape, y: Shape, pads: Pads) -> None:
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

    def tiles(self, piece: Piece) -> Shape:
        return piece.images, piece.rows, self.across

    def read(self, piece: Piece, x: Array) -> tuple[Array, int]:
        """What a piece reads of x, and how many rows of zeros are above."""
        first = OUT * piece.row - self.top
        last = first + OUT * piece.rows + IN - OUT
        return x[piece.part, max(first, 0) : min(last, self.x[1])], max(-first, 0)

    def write(self, piece: Piece, y: Array) -> Array:
        """The part of y that a piece computes."""
        return y[piece.part, OUT * piece.row : min(OUT * (piece.row + piece.rows), self.y[1])]


class Convolution(Tiling):
    """Tiles of a result: inputs at 36 points, times matrices, brought back to tiles."""

    def __init__(self, x: Shape, y: Shape, pads: Pads) -> None:
        super().__init__(x, y, pads)
        self._room = max(sum(map(_room, self._phases(piece))) for piece in self.pieces)
        self.workspace = self.threads * self._room

    def bind(
        self, x: Array, matrices: Array, y: Array, scratch: Array, finish: Finish
    ) -> Callable[[], None]:
        """What computes y: a piece after another, on every thread."""
        calls = []
        for number in range(min(self.threads, len(self.pieces))):
            own = scratch[number * self._room :][: self._room]
            pieces = self.pieces[number :: self.threads]
            steps = [self._step(piece, x, matrices, y, own, finish) for piece in pieces]
            calls.append(partial(_in_turn, steps))
        return together(calls)

    def _phases(self, piece: Piece) -> tuple[list[list[Shape]], list[list[Shape]]]:
        """Two rooms, and what is in each at first and then: what is not needed is written over."""
        tile, result = ((*self.tiles(piece), each) for each in (self.x[3], self.y[3]))
        first = [Inputs.shapes(self, piece), [(IN, IN, *result)]]
        return first, [[(IN, IN, *tile)], Results.shapes(self, piece)]

    def _step(
        self, piece: Piece, x: Array, matrices: Array, y: Array, memory: Array, finish: Finish
    ) -> Callable[[], None]:
        first, second = self._phases(piece)
        (products,) = _views(memory, first[1])
        rest = memory[_room(first) :]
        (inputs,) = _views(rest, second[0])
        transform = Inputs(self, piece, memory, inputs)
        back = Results(self, piece, rest, products)
        part, above = self.read(piece, x)
        target = self.write(piece, y)
        addend = self.write(piece, finish.addend) if finish.addend is not None else None
        own = Finish(finish.bias, addend, finish.relu)
        left, right = inputs.reshape(POINTS, -1, self.x[3]), products.reshape(POINTS, -1, self.y[3])

        def run() -> None:
            transform.run(part, above)
            np.matmul(left, matrices, out=right)
            back.run(target, own)

        return run


class Gradient(Tiling):
    """The gradient of filters: x and dy at 36 points, and at each the sum of their products."""

    def __init__(self, x: Shape, dy: Shape, pads: Pads) -> None:
        super().__init__(x, dy, pads)
        channels, filters = x[3], dy[3]
        self._groups = [
            self.pieces[first : first + self.threads]
            for first in range(0, len(self.pieces), self.threads)
        ]
        self._most = max(sum(map(self._count, group)) for group in self._groups)
        self._room = max(
            _room([Inputs.shapes(self, piece), Gradients.shapes(self, piece)])
            for piece in self.pieces
        )
        self._shared = [
            (POINTS, channels, filters),
            (self.threads, channels, filters),
            (len(self.pieces), filters),
            (POINTS * self._most * channels,),
            (POINTS * self._most * filters,),
        ]
        self.workspace = self.threads * self._room + _room([self._shared])

    def _count(self, piece: Piece) -> int:
        return math.prod(self.tiles(piece))

    def bind(
        self, x: Array, dy: Array, scratch: Array, bias: Array | None
    ) -> tuple[Array, Callable[[], None]]:
        """The sums (36, C, K), and what computes them, and the gradient of a bias (K,)."""
        rooms = self.threads * self._room
        points, spare, sums, inputs, gradients = _views(scratch[rooms:], self._shared)
        steps: list[Callable[[], None]] = []
        number = 0
        for group in self._groups:
            tiles = sum(map(self._count, group))
            left, right = (
                flat[: POINTS * tiles * each].reshape(POINTS, tiles, each)
                for flat, each in ((inputs, self.x[3]), (gradients, self.y[3]))
            )
            done, calls = 0, []
            for thread, piece in enumerate(group):
                place = slice(done, done + self._count(piece))
                done = place.stop
                memory = scratch[thread * self._room :][: self._room]
                own = sums[number] if bias is not None else None
                calls.append(
                    self._transform(piece, x, dy, memory, left[:, place], right[:, place], own)
                )
                number += 1
            products = [
                partial(_add_products, left, right, points, spare[t], t, self.threads, not steps)
                for t in range(self.threads)
            ]
            steps += [together(calls), together(products)]
        if bias is not None:
            steps.append(partial(np.sum, sums, axis=0, out=bias))
        return points, partial(_in_turn, steps)

    def _transform(
        self,
        piece: Piece,
        x: Array,
        dy: Array,
        memory: Array,
        left: Array,
        right: Array,
        bias: Array | None,
    ) -> Callable[[], None]:
        shape = (IN, IN, *self.tiles(piece))
        inputs = Inputs(self, piece, memory, left.reshape(*shape, -1, copy=False))
        gradients = Gradients(self, piece, memory, right.reshape(*shape, -1, copy=False))
        part, above = self.read(piece, x)
        slopes = self.write(piece, dy)

        def run() -> None:
            inputs.run(part, above)
            gradients.run(slopes)
            if bias is not None:
                np.sum(slopes, axis=(0, 1, 2), out=bias)

        return run


def _add_products(
    left: Array, right: Array, points: Array, spare: Array, first: int, step: int, begin: bool
) -> None:
    """The products of a group's tiles at every so many points, added to the sums or beginning."""
    for point in range(first, POINTS, step):
        if begin:
            np.matmul(left[point].T, right[point], out=points[point])
        else:
            np.matmul(left[point].T, right[point], out=spare)
            np.add(points[point], spare, out=points[point])


def _in_turn(steps: Sequence[Callable[[], None]]) -> None:
    for step in steps:
        step()


class Inputs:
    """Takes a part of x to the 36 points of its tiles: first along columns, then along rows."""

    @staticmethod
    def shapes(tiling: Tiling, piece: Piece) -> list[Shape]:
        images, rows, _ = tiling.tiles(piece)
        channels, width = tiling.x[3], tiling.width
        column = images, rows, width, channels
        tile = *tiling.tiles(piece), channels
        padded = images, OUT * rows + IN - OUT, width, channels
        return [padded, (IN, *column), (2, *column), (2, IN, *tile)]

    def __init__(self, tiling: Tiling, piece: Piece, memory: Array, points: Array) -> None:
        """`points` is (6, 6, images, rows, across, C)."""
        self._padded, columns, *spares = _views(memory, self.shapes(tiling, piece))
        self._left = tiling.left
        down, across = OUT * (piece.rows - 1) + 1, OUT * (tiling.across - 1) + 1
        self._down = [self._padded[:, i : i + down : OUT] for i in range(IN)], list(columns)
        starts = [columns[:, :, :, j : j + across : OUT] for j in range(IN)]
        self._across = starts, [points[:, j] for j in range(IN)]
        self._spares = spares

    def run(self, x: Array, above: int) -> None:
        padded, left, right = self._padded, self._left, self._left + x.shape[2]
        padded[:, :above] = 0
        padded[:, above + x.shape[1] :] = 0
        padded[:, :, :left] = 0
        padded[:, :, right:] = 0
        padded[:, above : above + x.shape[1], left:right] = x
        transform_inputs(*self._down, self._spares[0])
        transform_inputs(*self._across, self._spares[1])


class Results:
    """Takes 36 points to tiles of y, and finishes them."""

    @staticmethod
    def shapes(tiling: Tiling, piece: Piece) -> list[Shape]:
        images, rows, across = tiling.tiles(piece)
        filters = tiling.y[3]
        result = images, rows, across, filters
        whole = images, rows, OUT, across, OUT, filters
        return [(OUT, IN, *result), (2, IN, *result), whole, (2, OUT, *result)]

    def __init__(self, tiling: Tiling, piece: Piece, memory: Array, points: Array) -> None:
        half, spare, whole, spare_of_whole = _views(memory, self.shapes(tiling, piece))
        self._down = list(points), list(half), spare
        by_column = list(whole.transpose(4, 2, 0, 1, 3, 5))
        self._across = [half[:, j] for j in range(IN)], by_column, spare_of_whole
        self._whole = whole.reshape(piece.images, OUT * piece.rows, OUT * tiling.across, -1)

    def run(self, y: Array, finish: Finish) -> None:
        transform_results(*self._down)
        transform_results(*self._across)
        found = self._whole[:, : y.shape[1], : y.shape[2]]
        if finish.bias is not None:
            np.add(found, finish.bias, out=found)
        if finish.addend is not None:
            np.add(found, finish.addend, out=found)
        if finish.relu:
            np.maximum(found, 0, out=y)
        else:
            np.copyto(y, found)


class Gradients:
    """Takes a part of dy to the 36 points of its tiles: what takes points to results, turned."""

    @staticmethod
    def shapes(tiling: Tiling, piece: Piece) -> list[Shape]:
        images, rows, across = tiling.tiles(piece)
        filters = tiling.y[3]
        column = images, rows, OUT * across, filters
        padded = images, OUT * rows, OUT * across, filters
        return [padded, (IN, *column), (2, *column), (2, IN, images, rows, across, filters)]

    def __init__(self, tiling: Tiling, piece: Piece, memory: Array, points: Array) -> None:
        self._padded, columns, *spares = _views(memory, self.shapes(tiling, piece))
        self._down = [self._padded[:, i::OUT] for i in range(OUT)], list(columns)
        starts = [columns[:, :, :, j::OUT] for j in range(OUT)]
        self._across = starts, [points[:, j] for j in range(IN)]
        self._spares = spares

    def run(self, dy: Array) -> None:
        padded = self._padded
        padded[:, dy.shape[1] :] = 0
        padded[:, :, dy.shape[2] :] = 0
        padded[:, : dy.shape[1], : dy.shape[2]] = dy
        transform_gradients(*self._down, self._spares[0])
        transform_gradients(*self._across, self._spares[1])


def transform_inputs(x: Sequence[Array], t: Sequence[Array], spare: Array) -> None:
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


def transform_results(t: Sequence[Array], y: Sequence[Array], spare: Array) -> None:
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


def transform_gradients(y: Sequence[Array], t: Sequence[Array], spare: Array) -> None:
    """Along an axis: four gradients of outputs at six points."""
    even, odd = spare
    np.copyto(t[0], y[0])
    np.copyto(t[5], y[3])
    np.add(y[0], y[2], out=even)
    np.add(y[1], y[3], out=odd)
    np.add(even, odd, out=t[1])
    np.subtract(even, odd, out=t[2])
    np.multiply(y[2], 4, out=even)
    np.add(even, y[0], out=even)
    np.multiply(y[3], 4, out=odd)
    np.add(odd, y[1], out=odd)
    np.add(odd, odd, out=odd)
    np.add(even, odd, out=t[3])
    np.subtract(even, odd, out=t[4])


def _room(phases: Sequence[Sequence[Shape]]) -> int:
    """The bytes of what is there at one time, at most."""
    return max(sum(round_up(4 * math.prod(shape)) for shape in phase) for phase in phases)


def _views(memory: Array, shapes: Sequence[Shape]) -> Iterator[Array]:
    used = 0
    for shape in shapes:
        nbytes = 4 * math.prod(shape)
        yield memory[used : used + nbytes].view(np.float32).reshape(shape)
        used += round_up(nbytes)
