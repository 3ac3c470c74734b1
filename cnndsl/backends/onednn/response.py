"""Local response normalisation, made of other primitives: sums over neighbours are a convolution.

The filters of that 1x1 convolution are a band of ones; powers and products are done to its results
at once. The library's own primitive has no fast gradient on every processor.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from cnndsl.backends.onednn.api import Algorithm, Argument, Handle, Propagation, Query, engine
from cnndsl.backends.onednn.conv import forward as convolution
from cnndsl.backends.onednn.copying import copy_array
from cnndsl.backends.onednn.memory import canonical, descriptor, nbytes_of
from cnndsl.backends.onednn.preferred import preferred
from cnndsl.backends.onednn.primitive import (
    Binary,
    Choice,
    Choosers,
    Description,
    Elementwise,
    PostOperation,
    attributes,
    is_slow,
    kernel,
)
from cnndsl.graph.types import Size, Type
from cnndsl.ops.conv import Conv
from cnndsl.ops.norm import LocalResponseNorm, LocalResponseNormGradient
from cnndsl.runtime.kernel import Array, Composed, Kernel, in_turn
from cnndsl.runtime.memory import round_up

Call = Callable[[], None]


def local_response_norm(
    op: LocalResponseNorm, inputs: tuple[Type, ...], outputs: tuple[Type, ...]
) -> Choice:
    """`x · s^−beta`, by the library's primitive where it is fast."""
    layout = preferred(inputs[0])

    def make(inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Kernel:
        (x,) = inputs
        here = descriptor(x)
        own = _own(op, x)
        if own is not None:
            return kernel(own, (Argument.SOURCE, here), (Argument.RESULT, here))
        sums = Neighbours(op, x)
        scratch_bytes = _map_bytes(x)

        def bind(source: Array, y: Array, scratch: Array) -> Call:
            squares, rest = scratch[:scratch_bytes], scratch[scratch_bytes:]
            return in_turn(
                _squares(x, source, squares),
                sums.on(squares, y, rest, sums.power(-op.beta), (_TIMES, source)),
            )

        return Composed(
            workspace=scratch_bytes + sums.scratch_bytes,
            implementation=sums.implementation,
            binder=bind,
        )

    return Choice((layout,), (layout,), make)


def gradient(
    op: LocalResponseNormGradient, inputs: tuple[Type, ...], outputs: tuple[Type, ...]
) -> Choice:
    """`dy · s^−beta − 2 · a · beta · x · Σ dy · x · s^(−beta − 1)`."""
    layout = preferred(inputs[0])
    norm = op.norm

    def make(inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Kernel:
        x = inputs[0]
        sums, back = Neighbours(norm, x), Neighbours(norm, x, reverse=True)
        nbytes = _map_bytes(x)
        share = Elementwise(Algorithm.LINEAR, -2 * norm.factor * norm.beta)

        def bind(source: Array, dy: Array, dx: Array, scratch: Array) -> Call:
            squares, spread = scratch[:nbytes], scratch[nbytes : 2 * nbytes]
            rest = scratch[2 * nbytes :]
            steep, plain = sums.power(-norm.beta - 1), sums.power(-norm.beta)
            return in_turn(
                _squares(x, source, squares),
                sums.on(squares, dx, rest, steep, (_TIMES, dy), (_TIMES, source)),
                back.on(dx, spread, rest, [share], (_TIMES, source)),
                sums.on(squares, dx, rest, plain, (_TIMES, dy), (_PLUS, spread)),
            )

        return Composed(
            workspace=2 * nbytes + sums.scratch_bytes,
            implementation=sums.implementation,
            binder=bind,
        )

    return Choice((layout, layout), (layout,), make)


_TIMES, _PLUS = Algorithm.BINARY_MULTIPLY, Algorithm.BINARY_ADD


class Neighbours:
    """The sum over each channel's neighbours, and what is made of it.

    In `reverse` the neighbours of a channel are those whose neighbour it is.
    """

    def __init__(self, op: LocalResponseNorm, x: Type, reverse: bool = False) -> None:
        self._op, self._x = op, x
        channels = x.channels
        offsets = np.subtract.outer(-np.arange(channels), -np.arange(channels))
        near = (-(op.size // 2) <= offsets) & (offsets <= (op.size - 1) // 2)
        band = np.ascontiguousarray(near.T if reverse else near, x.dtype)
        self._band = band
        self._conv = Conv(channels, Size(1, 1), bias=False)
        self._weight = Type((channels, channels, 1, 1), x.dtype)
        plain = self._described(())
        self.scratch_bytes = plain.scratch_bytes
        self.implementation = plain.implementation

    def _filters(self, description: Description) -> tuple[Handle, Array]:
        """The band as a primitive wants its weights."""
        there = description.layout(Query.WEIGHTS)
        assert there is not None
        filters = np.zeros(nbytes_of(there), np.uint8)
        copy_array(self._band, canonical(self._weight), filters, there)
        return there, filters

    def power(self, exponent: float) -> list[PostOperation]:
        """What makes `(k + a · Σ) ^ exponent` of the sums."""
        return [
            Elementwise(Algorithm.LINEAR, self._op.factor, self._op.k),
            Elementwise(Algorithm.LOGARITHM),
            Elementwise(Algorithm.LINEAR, exponent),
            Elementwise(Algorithm.EXPONENTIAL),
        ]

    def on(
        self,
        source: Array,
        result: Array,
        scratch: Array,
        functions: Sequence[PostOperation],
        *operands: tuple[Algorithm, Array],
    ) -> Call:
        """The sums of the source, through functions and then each operand."""
        here = descriptor(self._x)
        pairs = [Binary(algorithm, self._x) for algorithm, _ in operands]
        description = self._described([*functions, *pairs])
        others = [
            (Argument.of_post_operation(len(functions) + place), here, array)
            for place, (_, array) in enumerate(operands)
        ]
        memories = [
            (Argument.SOURCE, here, source),
            (Argument.WEIGHTS, *self._filters(description)),
            (Argument.RESULT, here, result),
        ]
        return description.on([*memories, *others], scratch)

    def _described(self, after: Sequence[PostOperation]) -> Description:
        return convolution(self._conv, self._x, self._weight, None, descriptor(self._x), after)


def _own(op: LocalResponseNorm, x: Type) -> Description | None:
    """The library's primitive, if it has a fast one for this window."""
    here = descriptor(x)
    way = engine(), Propagation.INFERENCE, Algorithm.LRN_ACROSS_CHANNELS, here, here
    numbers = op.size, op.factor * op.size, op.beta, op.k
    found = Description("lrn_forward", *way, *numbers, attributes())
    return None if op.size % 2 == 0 or is_slow(found.implementation) else found


def _squares(x: Type, source: Array, result: Array) -> Call:
    here = descriptor(x)
    way = engine(), Propagation.INFERENCE, Algorithm.SQUARE, here, here, 0.0, 0.0
    description = Description("eltwise_forward", *way, attributes())
    return description.on([(Argument.SOURCE, here, source), (Argument.RESULT, here, result)])


def _map_bytes(x: Type) -> int:
    return round_up(nbytes_of(descriptor(x)))


CHOOSERS: Choosers = {LocalResponseNorm: local_response_norm, LocalResponseNormGradient: gradient}
