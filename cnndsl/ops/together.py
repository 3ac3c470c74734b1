"""One operation on many sets of operands: what many small kernels would do, one does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from cnndsl.graph.op import Mismatch, Op, op
from cnndsl.graph.types import Type

Item = TypeVar("Item")


@op("together", registry=None)
class Together(Op):
    """An operation applied to `count` sets of operands.

    Inputs and results are those of the first set, then those of the second, … What all sets share,
    such as the learning rate, stands in each of them.
    """

    each: Op
    count: int
    differentiable = False

    def infer(self, *inputs: Type) -> tuple[Type, ...]:
        if len(inputs) % self.count:
            raise Mismatch(f"{len(inputs)} operands are not {self.count} sets of equal length")
        results: list[Type] = []
        for own in self.sets(inputs):
            found = self.each.infer(*own)
            results += [found] if isinstance(found, Type) else found
        return tuple(results)

    def sets(self, values: Sequence[Item]) -> list[tuple[Item, ...]]:
        """What belongs to each set of all operands, or of all results."""
        length = len(values) // self.count
        return [tuple(values[n * length :][:length]) for n in range(self.count)]

    def flops(self, outputs: Sequence[Type], *inputs: Type) -> int:
        pairs = zip(self.sets(outputs), self.sets(inputs), strict=True)
        return sum(self.each.flops(results, *own) for results, own in pairs)

    def spell(self, *inputs: Type) -> str:
        return f"{self.count} x {self.each.spell(*self.sets(inputs)[0])}"
