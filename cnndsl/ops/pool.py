"""Pooling: the largest or the mean element of each window."""

from __future__ import annotations

import math
from collections.abc import Sequence

from cnndsl.graph.graph import Value, apply
from cnndsl.graph.op import KW_ONLY, Mismatch, Op, Window, op
from cnndsl.graph.types import Size, Type
from cnndsl.ops.geometry import Padding, Pads, output_extent, pads_of

#: A window, or the word `global`: the whole map.
PoolKernel = Size | str

GLOBAL = "global"


class Pool(Op):
    """What both poolings share: geometry and costs."""

    kernel: PoolKernel
    stride: int | None
    pad: Padding
    ceil: bool

    def size(self, x: Type) -> Size:
        """The window for an input type; the whole map for `global`."""
        return self.kernel if isinstance(self.kernel, Size) else x.extent

    def step(self) -> int:
        """The stride; a global window needs none."""
        return self.stride or 1

    def extent(self, x: Type) -> Size:
        """The output's extent for an input type."""
        if self.kernel == GLOBAL:
            if not x.is_map:
                raise Mismatch(
                    f"`{self.name}` needs a map HxWxC; the value here is a vector of {x}"
                )
            if self.stride is not None or self.pad != 0 or self.ceil:
                raise Mismatch(f"`{self.name} global` takes no stride, `pad` or `ceil`")
            return Size(1, 1)
        if self.stride is None:
            raise Mismatch(
                f"`{self.name}` does not say its stride",
                help=f"write `{self.name} {self.kernel}, /2`, or `/1` to keep the extent",
            )
        return output_extent(x, self.size(x), self.stride, self.pad, self.ceil)

    def pads(self, x: Type) -> Pads:
        """Padding before and after each axis; with `ceil` enough for the last window."""
        if self.kernel == GLOBAL:
            return (0, 0), (0, 0)
        return pads_of(x.extent, self.size(x), self.step(), self.pad, self.ceil)

    def stated_pads(self, x: Type) -> Pads:
        """The padding without what `ceil` adds after the map."""
        if self.kernel == GLOBAL:
            return (0, 0), (0, 0)
        return pads_of(x.extent, self.size(x), self.step(), self.pad)

    def flops(self, outputs: Sequence[Type], *inputs: Type) -> int:
        return outputs[0].elements * math.prod(self.size(inputs[0]))

    def window(self, x: Type) -> Window:
        if self.kernel == GLOBAL:
            return Window(None)
        (top, _), (left, _) = self.pads(x)
        return Window(self.size(x), (self.step(), self.step()), (top, left))


@op("maxpool")
class MaxPool(Pool):
    """The largest element of each window; padding never wins.

    `ceil=true` rounds the extent up and drops a last window that would start in padding. The
    second result is which element of the window won (row by row, the first of equals), for the
    gradient.
    """

    kernel: PoolKernel
    _: KW_ONLY
    stride: int | None = None
    pad: Padding = 0
    ceil: bool = False

    examples = (
        "input 6x6x3 -> maxpool 2x2, /2",
        "input 7x7x3 -> maxpool 3x3, /2, pad=1",
        "input 6x8x2 -> maxpool 3x3, /2, ceil=true",
        "input 5x7x2 -> maxpool 3x3, /2, pad=same",
        "input 5x5x2 -> maxpool 3x3, /1, pad=1",
        "input 5x4x3 -> maxpool global",
    )

    def infer(self, x: Type) -> tuple[Type, Type]:
        y = x.like((x.shape[0], *self.extent(x), x.channels))
        winner = "uint8" if math.prod(self.size(x)) <= 256 else "int32"
        return y, Type(y.shape, winner)

    def gradient(
        self, inputs: Sequence[Value], outputs: Sequence[Value], grads: Sequence[Value | None]
    ) -> Sequence[Value | None]:
        dy = grads[0]
        assert dy is not None
        return [apply(MaxPoolGradient(self, inputs[0].type), outputs[1], dy, like=inputs[0])]


@op("maxpool_gradient", registry=None)
class MaxPoolGradient(Op):
    """The gradient of max pooling: all of it goes to the winner.

    Inputs: winners, output gradient.
    """

    pool: MaxPool
    x: Type
    differentiable = False

    def infer(self, winner: Type, dy: Type) -> Type:
        return self.x


@op("avgpool")
class AveragePool(Pool):
    """The mean of each window, over the elements inside the map unless `count_pad=true`."""

    kernel: PoolKernel
    _: KW_ONLY
    stride: int | None = None
    pad: Padding = 0
    ceil: bool = False
    count_pad: bool = False

    examples = (
        "input 6x6x3 -> avgpool 2x2, /2",
        "input 7x7x3 -> avgpool 3x3, /2, pad=1",
        "input 7x7x3 -> avgpool 3x3, /2, pad=1, count_pad=true",
        "input 6x8x2 -> avgpool 3x3, /2, ceil=true",
        "input 6x5x2 -> avgpool 3x3, /1, pad=same",
        "input 5x4x3 -> avgpool global",
    )

    def infer(self, x: Type) -> Type:
        return x.like((x.shape[0], *self.extent(x), x.channels))

    def gradient(
        self, inputs: Sequence[Value], outputs: Sequence[Value], grads: Sequence[Value | None]
    ) -> Sequence[Value | None]:
        (dy,) = grads
        assert dy is not None
        return [apply(AveragePoolGradient(self, inputs[0].type), dy, like=inputs[0])]


@op("avgpool_gradient", registry=None)
class AveragePoolGradient(Op):
    """The gradient of average pooling: each window's share, spread evenly.

    Input: output gradient.
    """

    pool: AveragePool
    x: Type
    differentiable = False

    def infer(self, dy: Type) -> Type:
        return self.x
