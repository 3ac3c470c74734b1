"""The operations that belong to the graph itself: leaves, and what autodiff needs."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace

from cnndsl.graph.op import Index, Initial, Mismatch, Op, op, side_by_side
from cnndsl.graph.types import Type


@op("input", registry=None)
class Input(Op):
    """Data that enters the program."""

    type: Type

    def infer(self) -> Type:
        return self.type

    def spell(self, *inputs: Type) -> str:
        return f"input {self.type}"


@dataclass(frozen=True)
class Parts:
    """What a state is made of, side by side along an axis: the name and the type of each part."""

    axis: int
    names: tuple[str, ...]
    types: tuple[Type, ...]

    def indices(self) -> tuple[Index, ...]:
        return side_by_side(self.axis, self.types)


@op("parameter", registry=None)
class Parameter(Op):
    """An array that training changes and a checkpoint keeps; its name is the node's.

    One with `parts` is several that are worked on at once: the parts own names, initial values and
    entries in checkpoints.
    """

    type: Type
    initial: Initial
    decays: bool = True
    trainable: bool = True
    parts: Parts | None = None

    def infer(self) -> Type:
        return self.type


@op("buffer", registry=None)
class Buffer(Op):
    """State that is no parameter: running statistics, moments, the learning rate."""

    type: Type
    initial: Initial = Initial()
    parts: Parts | None = None

    def infer(self) -> Type:
        return self.type


@op("accumulate", registry=None)
class Accumulate(Op):
    """The sum of the gradients that reach a value along several paths."""

    differentiable = False

    def infer(self, *inputs: Type) -> Type:
        if len({t.shape for t in inputs}) != 1:
            raise Mismatch("gradients of different shapes: " + ", ".join(map(str, inputs)))
        return inputs[0]

    def elementwise(self, *inputs: Type) -> tuple[int, ...]:
        return tuple(range(len(inputs)))


@op("ones", registry=None)
class Ones(Op):
    """The gradient of the loss with respect to itself."""

    type: Type
    differentiable = False

    def infer(self) -> Type:
        return self.type


@op("reorder", registry=None)
class Reorder(Op):
    """The same value in another layout: None is the canonical one."""

    layout: Hashable | None
    differentiable = False

    def infer(self, x: Type) -> Type:
        return replace(x, layout=self.layout)

    def flops(self, outputs: Sequence[Type], *inputs: Type) -> int:
        return 0

    def spell(self, *inputs: Type) -> str:
        return f"reorder to {self.layout or 'nhwc'}"


STATE = (Parameter, Buffer)
