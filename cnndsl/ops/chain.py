"""Operations element by element, one after another, as one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from cnndsl.graph.op import Op, op
from cnndsl.graph.types import Type


@dataclass(frozen=True, slots=True)
class Step:
    """One operation of a chain, and the places of its operands.

    Places count the inputs of the chain and, behind them, the results of its steps.
    """

    op: Op
    operands: tuple[int, ...]


@op("chain", registry=None)
class Chain(Op):
    """Operations that read each other's results element by element: one kernel, which keeps none.

    Inputs: what the steps read of other operations, each value once. Result: that of the last step.
    It stands in graphs whose gradients are there already.
    """

    steps: tuple[Step, ...]
    differentiable = False

    def infer(self, *inputs: Type) -> Type:
        *_, (_, _, y) = self.applied(inputs)
        return y

    def applied(self, inputs: Sequence[Type]) -> Iterator[tuple[Step, tuple[Type, ...], Type]]:
        """The steps in order, each with the types of its operands and of its result.

        Results are in the canonical layout.
        """
        types = list(inputs)
        for step in self.steps:
            operands = tuple(types[place] for place in step.operands)
            y = step.op.infer(*operands)
            assert isinstance(y, Type), "a step has one result"
            types.append(replace(y, layout=None))
            yield step, operands, types[-1]

    def flops(self, outputs: Sequence[Type], *inputs: Type) -> int:
        return sum(step.op.flops([y], *operands) for step, operands, y in self.applied(inputs))

    def spell(self, *inputs: Type) -> str:
        return " + ".join(step.op.spell(*operands) for step, operands, _ in self.applied(inputs))
