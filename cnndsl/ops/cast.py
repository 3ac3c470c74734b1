"""Casts: the same numbers in another element type."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from cnndsl.graph.graph import Value, apply
from cnndsl.graph.op import Op, op
from cnndsl.graph.types import Type


@op("cast", registry=None)
class Cast(Op):
    """Every number rounded to the nearest of an element type, to the even one of two.

    Its gradient is a cast too, or the gradient itself where that is of the operand's type already:
    that of a weight is summed in float32, and so is a copy of it in which it learns (Micikevicius
    et al., Mixed precision training, 2018).
    """

    dtype: str

    def infer(self, x: Type) -> Type:
        return replace(x, dtype=self.dtype)

    def gradient(
        self, inputs: Sequence[Value], outputs: Sequence[Value], grads: Sequence[Value | None]
    ) -> Sequence[Value | None]:
        (x,), (dy,) = inputs, grads
        assert dy is not None
        if dy.type.dtype == x.type.dtype:
            return [dy]
        return [apply(Cast(x.type.dtype), dy, like=x)]

    def elementwise(self, *inputs: Type) -> tuple[int, ...]:
        return (0,)

    def flops(self, outputs: Sequence[Type], *inputs: Type) -> int:
        return 0

    def spell(self, *inputs: Type) -> str:
        return f"cast to {self.dtype}"
