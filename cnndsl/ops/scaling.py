"""What watches over training steps: their tally, updates that may be left out, loss scaling.

Loss scaling: gradients that a short element type would round to zero are computed larger.
Source: Micikevicius et al., Mixed precision training, 2018, section 3.2; the scale is dynamic as in
NVIDIA's Apex.
"""

from __future__ import annotations

from collections.abc import Sequence

from cnndsl.graph.op import Op, op
from cnndsl.graph.types import Type


@op("all_finite", registry=None)
class AllFinite(Op):
    """1 if all elements of all inputs are finite, else 0: a scalar in float32."""

    differentiable = False

    def infer(self, *inputs: Type) -> Type:
        return Type(())

    def flops(self, outputs: Sequence[Type], *inputs: Type) -> int:
        return sum(each.elements for each in inputs)


@op("guarded", registry=None)
class Guarded(Op):
    """An update of states, or none: an optimizer's step, or a running average.

    Inputs: the operation's, the scale if it is `scaled` (the gradient, which is the second, is so
    many times too large), and whether all is `finite`: if not, states stay what they are. Results:
    the operation's.
    """

    update: Op
    scaled: bool = False
    differentiable = False

    def infer(self, *inputs: Type) -> Type | tuple[Type, ...]:
        return self.update.infer(*self.own(inputs))

    def own(self, inputs: tuple[Type, ...]) -> tuple[Type, ...]:
        """The inputs of the operation itself."""
        return inputs[: len(inputs) - 1 - self.scaled]

    def flops(self, outputs: Sequence[Type], *inputs: Type) -> int:
        return self.update.flops(outputs, *self.own(inputs)) + self.scaled * outputs[0].elements

    def spell(self, *inputs: Type) -> str:
        return f"{self.update.spell(*self.own(inputs))} if finite"


@op("clipping", registry=None)
class Clipping(Op):
    """What gradients are divided by so that the norm of all together is `most` at most: 1 or more.

    Inputs: the gradients; if they are `scaled` then the scale by which they are too large, and the
    result is so many times larger.

    Source: Pascanu et al., On the difficulty of training recurrent neural networks, 2013.
    """

    most: float
    scaled: bool = False
    differentiable = False

    def infer(self, *inputs: Type) -> Type:
        return Type(())

    def flops(self, outputs: Sequence[Type], *inputs: Type) -> int:
        return 2 * sum(each.elements for each in inputs)

    def spell(self, *inputs: Type) -> str:
        return f"clip {self.most:g}"


@op("tally", registry=None)
class Tally(Op):
    """What is counted over steps: inputs are the tally so far, a step's loss and its `correct`.

    A tally is four numbers: the sum of losses, what rounding has added to that (it is subtracted
    from the next loss: Kahan, Further remarks on reducing truncation errors, 1965), how many images
    were right, and in how many steps the sum was finite. Once it is not, it stays so.
    """

    differentiable = False

    def infer(self, tally: Type, loss: Type, correct: Type) -> Type:
        return tally

    def flops(self, outputs: Sequence[Type], *inputs: Type) -> int:
        return 6


@op("next_scale", registry=None)
class NextScale(Op):
    """The scale of the next step's loss, and how many steps in a row were finite.

    Inputs: the scale, the steps, and whether this step's gradients were finite, all float32
    scalars. A step that was not halves the scale; after `interval` that were it doubles.
    """

    interval: int = 2000
    differentiable = False

    def infer(self, scale: Type, steps: Type, finite: Type) -> tuple[Type, Type]:
        return scale, steps

    def flops(self, outputs: Sequence[Type], *inputs: Type) -> int:
        return 2
