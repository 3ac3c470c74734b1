"""Loss scaling: gradients that a short element type would round to zero are computed larger.

Source: Micikevicius et al., Mixed precision training, 2018, section 3.2; the scale is dynamic as in
NVIDIA's Apex.
"""

from __future__ import annotations

from collections.abc import Sequence

from cnndsl.graph.op import Op, op
from cnndsl.graph.types import Type
from cnndsl.ops.optimizer import Optimizer


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
    """A step of an optimizer on a gradient that is `scale` times too large; or none at all.

    Inputs: the optimizer's, then the scale, and whether all gradients are finite: if not, parameter
    and moments stay what they are. Results: the optimizer's.
    """

    optimizer: Optimizer
    differentiable = False

    def infer(self, *inputs: Type) -> tuple[Type, ...]:
        return self.optimizer.infer(*inputs[:-2])

    def flops(self, outputs: Sequence[Type], *inputs: Type) -> int:
        return self.optimizer.flops(outputs, *inputs[:-2]) + outputs[0].elements

    def spell(self, *inputs: Type) -> str:
        return f"{self.optimizer.spell()} if finite"


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
