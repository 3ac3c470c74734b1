"""An operation and what is done to its result at once, while it is at hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from cnndsl.graph.graph import Value
from cnndsl.graph.op import Mismatch, Op, op
from cnndsl.graph.types import Type
from cnndsl.ops.activation import Activation


@op("epilogue", registry=None)
class Epilogue(Op):
    """`activation(first(…) + addend)`: a convolution, fc or norm, an addition and an activation; or
    `slope(saved) · (first(…) + addend)`: the gradient of a convolution's input, an addition and the
    gradient of an activation.

    Inputs: those of `first`, the addend if it `adds`, and what the activation saved if there is its
    `slope`. Results: those of `first`, the first one changed. It stands in graphs whose gradients
    are there already.
    """

    first: Op
    adds: bool = False
    activation: Activation | None = None
    slope: Activation | None = None
    differentiable = False

    def infer(self, *inputs: Type) -> Type | tuple[Type, ...]:
        results = self.first.infer(*self.of_first(inputs))
        y = results if isinstance(results, Type) else results[0]
        for more in inputs[len(self.of_first(inputs)) :]:
            if more.shape != y.shape:
                raise Mismatch(f"{more} cannot be added to {y}, or multiply it")
        return results

    def of_first(self, inputs: Sequence[Type]) -> Sequence[Type]:
        """The inputs without those that follow them."""
        return inputs[: len(inputs) - self.adds - (self.slope is not None)]

    def again(
        self, inputs: Sequence[Value], outputs: Sequence[Value]
    ) -> tuple[Op, Sequence[Value]]:
        first, operands = self.first.again(inputs[: len(inputs) - self.adds], outputs)
        return replace(self, first=first), (*operands, *inputs[len(inputs) - self.adds :])

    def elementwise(self, *inputs: Type) -> tuple[int, ...]:
        slots = self.first.elementwise(*self.of_first(inputs))
        return (*slots, len(inputs) - 1) if slots and self.adds else slots

    def multiply_adds(self, outputs: Sequence[Type], *inputs: Type) -> int:
        return self.first.multiply_adds(outputs, *self.of_first(inputs))

    def flops(self, outputs: Sequence[Type], *inputs: Type) -> int:
        count = self.first.flops(outputs, *self.of_first(inputs))
        if self.activation is not None:
            count += self.activation.flops(outputs, *outputs)
        if self.slope is not None:
            count += self.slope.flops(outputs, *outputs) + outputs[0].elements
        return count + self.adds * outputs[0].elements

    def spell(self, *inputs: Type) -> str:
        words = [self.first.spell(*self.of_first(inputs))]
        words += ["add"] * self.adds
        words += [self.activation.spell()] if self.activation is not None else []
        words += [f"{self.slope.spell()} gradient"] if self.slope is not None else []
        return " + ".join(words)
