"""Weights side by side, and a part of one: what rewrites make of several weights."""

from __future__ import annotations

from collections.abc import Sequence

from cnndsl.graph.graph import Value, apply
from cnndsl.graph.op import Index, Mismatch, View, op, side_by_side
from cnndsl.graph.types import Type
from cnndsl.ops.shape import Move


@op("join", registry=None)
class Join(Move):
    """Weights side by side along an axis: 0 is that of the filters, 1 that of what they read."""

    axis: int

    def infer(self, *inputs: Type) -> Type:
        first = inputs[0].features
        rest = {(*t.features[: self.axis], *t.features[self.axis + 1 :]) for t in inputs}
        if len(rest) > 1:
            shapes = ", ".join(map(str, inputs))
            raise Mismatch(f"weights of {shapes} do not fit side by side along axis {self.axis}")
        length = sum(t.features[self.axis] for t in inputs)
        return inputs[0].like((*first[: self.axis], length, *first[self.axis + 1 :]))

    def gradient(
        self, inputs: Sequence[Value], outputs: Sequence[Value], grads: Sequence[Value | None]
    ) -> Sequence[Value | None]:
        (dy,) = grads
        assert dy is not None
        places = self.places(*(v.type for v in inputs))
        parts = [(place[self.axis].start, place[self.axis].stop) for place in places]
        return [
            apply(Take(self.axis, *part), dy, like=value)
            for value, part in zip(inputs, parts, strict=True)
        ]

    def places(self, *inputs: Type) -> tuple[Index, ...]:
        return side_by_side(self.axis, inputs)


@op("widen", registry=None)
class Widen(Move):
    """A weight that reads so many channels, those behind its own times 0."""

    channels: int
    differentiable = False

    def infer(self, weight: Type) -> Type:
        return weight.like((weight.features[0], self.channels, *weight.features[2:]))


@op("take", registry=None)
class Take(Move):
    """The elements of a weight from `first` to before `last` along an axis."""

    axis: int
    first: int
    last: int
    differentiable = False

    def infer(self, x: Type) -> Type:
        shape = list(x.shape)
        shape[self.axis] = self.last - self.first
        return x.like(shape)

    def view(self, x: Type) -> View | None:
        return (*[slice(None)] * self.axis, slice(self.first, self.last))
