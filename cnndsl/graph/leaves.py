"""The operations that belong to the graph itself: leaves, and what autodiff needs."""

from __future__ import annotations

from cnndsl.graph.op import Initial, Mismatch, Op, op
from cnndsl.graph.types import Type


@op("input", registry=None)
class Input(Op):
    """Data that enters the program."""

    type: Type

    def infer(self) -> Type:
        return self.type

    def spell(self, *inputs: Type) -> str:
        return f"input {self.type}"


@op("parameter", registry=None)
class Parameter(Op):
    """An array that training changes and a checkpoint keeps; its name is the node's."""

    type: Type
    initial: Initial
    decays: bool = True
    trainable: bool = True

    def infer(self) -> Type:
        return self.type


@op("buffer", registry=None)
class Buffer(Op):
    """State that is no parameter: running statistics, moments, the learning rate."""

    type: Type
    initial: Initial = Initial()

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


@op("ones", registry=None)
class Ones(Op):
    """The gradient of the loss with respect to itself."""

    type: Type
    differentiable = False

    def infer(self) -> Type:
        return self.type


STATE = (Parameter, Buffer)
