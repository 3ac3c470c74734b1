"""Operations that move elements and compute nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from cnndsl.graph.graph import Value, apply
from cnndsl.graph.op import KW_ONLY, Mismatch, Op, View, Window, op
from cnndsl.graph.types import Size, Type


class Move(Op):
    """What operations share that only move elements: they cost nothing."""

    def flops(self, outputs: Sequence[Type], *inputs: Type) -> int:
        return 0


@op("identity")
class Identity(Move):
    """The value itself."""

    examples = ("input 5x4x3 -> identity", "input 7 -> identity")

    def infer(self, x: Type) -> Type:
        return x

    def elementwise(self, *inputs: Type) -> tuple[int, ...]:
        return (0,)

    def gradient(
        self, inputs: Sequence[Value], outputs: Sequence[Value], grads: Sequence[Value | None]
    ) -> Sequence[Value | None]:
        return grads


@op("flatten")
class Flatten(Move):
    """A map as a vector, in the order channel, row, column, which is that of `fc`."""

    examples = (
        "input 3x4x2 -> flatten",
        "input 1x1x5 -> flatten",
        "input 7 -> flatten",
        "input 4x3x1 -> flatten",
    )

    def infer(self, x: Type) -> Type:
        return x.like((x.shape[0], x.elements))

    def gradient(
        self, inputs: Sequence[Value], outputs: Sequence[Value], grads: Sequence[Value | None]
    ) -> Sequence[Value | None]:
        (dy,) = grads
        assert dy is not None
        return [apply(Unflatten(inputs[0].type), dy, like=inputs[0])]

    def window(self, x: Type) -> Window:
        return Window(None)

    def view(self, x: Type) -> View | None:
        return (slice(None), 0, 0) if x.is_map and x.extent == (1, 1) else None


@op("unflatten", registry=None)
class Unflatten(Move):
    """A vector in the order channel, row, column as a map of the shape of `x`."""

    x: Type

    def infer(self, flat: Type) -> Type:
        return replace(self.x, dtype=flat.dtype)

    def gradient(
        self, inputs: Sequence[Value], outputs: Sequence[Value], grads: Sequence[Value | None]
    ) -> Sequence[Value | None]:
        (dy,) = grads
        assert dy is not None
        return [apply(Flatten(), dy, like=inputs[0])]

    def view(self, x: Type) -> View | None:
        return (slice(None), None, None) if self.x.is_map and self.x.extent == (1, 1) else None


class Margins(Move):
    """What pad and crop share: how much at each side."""

    margin: int | None
    top: int
    bottom: int
    left: int
    right: int

    def sides(self) -> tuple[int, int, int, int]:
        """The rows at the top and the bottom, the columns at the left and the right.

        Raises:
            Mismatch: both one number for all sides and a side; a negative number.
        """
        sides = (self.top, self.bottom, self.left, self.right)
        if self.margin is not None:
            if any(sides):
                raise Mismatch(
                    f"`{self.name}` takes either one number for all sides or numbers of sides"
                )
            sides = (self.margin,) * 4
        if min(sides) < 0:
            other = "crop" if self.name == "pad" else "pad"
            raise Mismatch(
                f"`{self.name}` takes numbers that are not negative, this is {min(sides)}",
                help=f"use `{other}`",
            )
        return sides

    def need_map(self, x: Type) -> None:
        """Raise a Mismatch unless there are sides to speak of."""
        if not x.is_map:
            raise Mismatch(f"`{self.name}` needs a map HxWxC; the value here is a vector of {x}")


@op("pad")
class Pad(Margins):
    """A map with zeros around it: `pad n` at all sides, or `top=`, `bottom=`, `left=`, `right=`.

    `channels` adds channels of zeros after the last, the option A of shortcuts in He et al., 2016.
    """

    margin: int | None = None
    _: KW_ONLY
    top: int = 0
    bottom: int = 0
    left: int = 0
    right: int = 0
    channels: int = 0

    examples = (
        "input 4x3x2 -> pad 1",
        "input 4x3x2 -> pad top=1, right=2",
        "input 4x3x2 -> pad bottom=2, left=1, channels=3",
        "input 4x3x2 -> pad 0",
    )

    def infer(self, x: Type) -> Type:
        self.need_map(x)
        top, bottom, left, right = self.sides()
        if self.channels < 0:
            raise Mismatch(f"`pad` adds channels or none, this is {self.channels}")
        height, width = x.extent
        channels = x.channels + self.channels
        return x.like((x.shape[0], height + top + bottom, width + left + right, channels))

    def gradient(
        self, inputs: Sequence[Value], outputs: Sequence[Value], grads: Sequence[Value | None]
    ) -> Sequence[Value | None]:
        (x,) = inputs
        (dy,) = grads
        assert dy is not None
        if self.channels:
            dy = apply(Slice(range(x.type.channels)), dy, like=x)
        top, bottom, left, right = self.sides()
        return [apply(Crop(top=top, bottom=bottom, left=left, right=right), dy, like=x)]

    def window(self, x: Type) -> Window:
        top, _, left, _ = self.sides()
        return Window(Size(1, 1), before=(top, left))


@op("crop")
class Crop(Margins):
    """A map without its rim: `crop n` at all sides, or `top=`, `bottom=`, `left=`, `right=`."""

    margin: int | None = None
    _: KW_ONLY
    top: int = 0
    bottom: int = 0
    left: int = 0
    right: int = 0

    examples = (
        "input 4x5x2 -> crop 1",
        "input 4x5x2 -> crop top=1, right=2",
        "input 4x5x2 -> crop bottom=3, left=4",
        "input 4x5x2 -> crop 0",
    )

    def infer(self, x: Type) -> Type:
        self.need_map(x)
        top, bottom, left, right = self.sides()
        height, width = x.extent
        if height <= top + bottom or width <= left + right:
            raise Mismatch(
                f"`crop` takes {top + bottom} rows and {left + right} columns: "
                f"nothing is left of {x.extent}"
            )
        return x.like((x.shape[0], height - top - bottom, width - left - right, x.channels))

    def gradient(
        self, inputs: Sequence[Value], outputs: Sequence[Value], grads: Sequence[Value | None]
    ) -> Sequence[Value | None]:
        (dy,) = grads
        assert dy is not None
        top, bottom, left, right = self.sides()
        pad = Pad(top=top, bottom=bottom, left=left, right=right)
        return [apply(pad, dy, like=inputs[0])]

    def window(self, x: Type) -> Window:
        top, _, left, _ = self.sides()
        return Window(Size(1, 1), before=(-top, -left))


@op("slice")
class Slice(Move):
    """Some of the channels: `slice 0..32` is the first 32."""

    channels: range

    examples = (
        "input 4x3x5 -> slice 0..2",
        "input 4x3x5 -> slice 1..5",
        "input 7 -> slice 2..3",
        "input 4x3x5 -> slice 0..5",
    )

    def infer(self, x: Type) -> Type:
        first, last = self.channels.start, self.channels.stop
        if self.channels.step != 1:
            raise Mismatch(f"`slice` takes neighbouring channels, not every {self.channels.step}.")
        if not 0 <= first < last <= x.channels:
            raise Mismatch(
                f"`slice {first}..{last}` is not within the {x.channels} channels of {x}"
                if first < last
                else f"`slice {first}..{last}` takes no channel"
            )
        return x.like((*x.shape[:-1], last - first))

    def gradient(
        self, inputs: Sequence[Value], outputs: Sequence[Value], grads: Sequence[Value | None]
    ) -> Sequence[Value | None]:
        (x,) = inputs
        (dy,) = grads
        assert dy is not None
        return [apply(SliceGradient(self.channels, x.type), dy, like=x)]

    def view(self, x: Type) -> View | None:
        part = slice(self.channels.start, self.channels.stop)
        return (*[slice(None)] * (len(x.shape) - 1), part)


@op("slice_gradient", registry=None)
class SliceGradient(Move):
    """The gradient of a slice's input: the output's, and zeros at all other channels."""

    channels: range
    x: Type
    differentiable = False

    def infer(self, dy: Type) -> Type:
        return self.x


@op("upsample")
class Upsample(Move):
    """A map `factor` times as high and as wide: each element repeated, the nearest one."""

    factor: int

    examples = (
        "input 3x4x2 -> upsample 2",
        "input 1x1x3 -> upsample 5",
        "input 3x2x2 -> upsample 1",
    )

    def infer(self, x: Type) -> Type:
        if not x.is_map:
            raise Mismatch(f"`upsample` needs a map HxWxC; the value here is a vector of {x}")
        if self.factor < 1:
            raise Mismatch(f"`upsample` repeats at least once, this is {self.factor}")
        height, width = x.extent
        return x.like((x.shape[0], height * self.factor, width * self.factor, x.channels))

    def gradient(
        self, inputs: Sequence[Value], outputs: Sequence[Value], grads: Sequence[Value | None]
    ) -> Sequence[Value | None]:
        (dy,) = grads
        assert dy is not None
        return [apply(UpsampleGradient(self.factor, inputs[0].type), dy, like=inputs[0])]

    def window(self, x: Type) -> Window:
        return Window(Size(1, 1), upsampling=self.factor)


@op("upsample_gradient", registry=None)
class UpsampleGradient(Op):
    """The gradient of upsampling: the sum over each element's copies. Input: output gradient."""

    factor: int
    x: Type
    differentiable = False

    def infer(self, dy: Type) -> Type:
        return self.x

    def flops(self, outputs: Sequence[Type], *inputs: Type) -> int:
        return inputs[0].elements


@op("shuffle")
class Shuffle(Move):
    """Channels dealt out among `groups`: the i-th channel of each group, for i = 0, 1, …

    The channels as a matrix of `groups` rows, read column by column.

    Source: Zhang et al., ShuffleNet, 2018.
    """

    groups: int

    examples = (
        "input 3x2x6 -> shuffle 2",
        "input 3x2x6 -> shuffle 3",
        "input 8 -> shuffle 4",
        "input 3x2x5 -> shuffle 1",
    )

    def infer(self, x: Type) -> Type:
        if self.groups < 1 or x.channels % self.groups:
            raise Mismatch(f"{x.channels} channels cannot be split into {self.groups} equal groups")
        return x

    def gradient(
        self, inputs: Sequence[Value], outputs: Sequence[Value], grads: Sequence[Value | None]
    ) -> Sequence[Value | None]:
        (x,) = inputs
        (dy,) = grads
        assert dy is not None
        return [apply(Shuffle(x.type.channels // self.groups), dy, like=x)]
