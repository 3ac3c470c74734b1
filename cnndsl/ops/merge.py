"""Joins: several values become one. The language writes them with branches, not as layers."""

from __future__ import annotations

from collections.abc import Sequence

from cnndsl.graph.graph import Value, apply
from cnndsl.graph.op import Index, Mismatch, Op, op, side_by_side
from cnndsl.graph.types import Type
from cnndsl.ops.shape import Slice


def _one_shape(name: str, inputs: Sequence[Type]) -> Type:
    """The shape that all branches have.

    Raises:
        Mismatch: they have different ones.
    """
    if len({x.shape for x in inputs}) > 1:
        shapes = ", ".join(map(str, inputs))
        raise Mismatch(f"the branches of `{name}` have different shapes: {shapes}")
    return inputs[0]


@op("add", registry=None)
class Add(Op):
    """The sum of the branches, element by element. All have one shape: nothing broadcasts."""

    def infer(self, *inputs: Type) -> Type:
        return _one_shape(self.name, inputs)

    def gradient(
        self, inputs: Sequence[Value], outputs: Sequence[Value], grads: Sequence[Value | None]
    ) -> Sequence[Value | None]:
        return list(grads) * len(inputs)

    def elementwise(self, *inputs: Type) -> tuple[int, ...]:
        return tuple(range(len(inputs)))

    def flops(self, outputs: Sequence[Type], *inputs: Type) -> int:
        return outputs[0].elements * (len(inputs) - 1)


@op("concat", registry=None)
class Concat(Op):
    """The branches' channels one after another. All have one extent, or all are vectors."""

    def infer(self, *inputs: Type) -> Type:
        shapes = ", ".join(map(str, inputs))
        if len({len(x.shape) for x in inputs}) > 1:
            raise Mismatch(f"the branches of `{self.name}` are maps and vectors: {shapes}")
        if len({x.shape[:-1] for x in inputs}) > 1:
            raise Mismatch(f"the branches of `{self.name}` have different extents: {shapes}")
        return inputs[0].like((*inputs[0].shape[:-1], sum(x.channels for x in inputs)))

    def gradient(
        self, inputs: Sequence[Value], outputs: Sequence[Value], grads: Sequence[Value | None]
    ) -> Sequence[Value | None]:
        (dy,) = grads
        assert dy is not None
        slices: list[Value | None] = []
        first = 0
        for value in inputs:
            last = first + value.type.channels
            slices.append(apply(Slice(range(first, last)), dy, like=value))
            first = last
        return slices

    def places(self, *inputs: Type) -> tuple[Index, ...]:
        return side_by_side(len(inputs[0].shape) - 1, inputs)

    def flops(self, outputs: Sequence[Type], *inputs: Type) -> int:
        return 0


@op("mul", registry=None)
class Multiply(Op):
    """The product of the branches, element by element. All have one shape: nothing broadcasts."""

    def infer(self, *inputs: Type) -> Type:
        return _one_shape(self.name, inputs)

    def gradient(
        self, inputs: Sequence[Value], outputs: Sequence[Value], grads: Sequence[Value | None]
    ) -> Sequence[Value | None]:
        (dy,) = grads
        assert dy is not None
        return [
            apply(Multiply(), dy, *inputs[:slot], *inputs[slot + 1 :], like=value)
            for slot, value in enumerate(inputs)
        ]

    def elementwise(self, *inputs: Type) -> tuple[int, ...]:
        return tuple(range(len(inputs)))

    def flops(self, outputs: Sequence[Type], *inputs: Type) -> int:
        return outputs[0].elements * (len(inputs) - 1)


@op("gate", registry=None)
class Gate(Op):
    """A value times a gate, which has the value's shape, or one number a channel (1x1xC or C).

    Inputs: value, gate. Source: Hu et al., Squeeze-and-excitation networks, 2018.
    """

    def infer(self, x: Type, gate: Type) -> Type:
        per_channel = x.is_map and gate.extent == (1, 1) and gate.channels == x.channels
        if gate.shape != x.shape and not per_channel:
            allowed = f" 1x1x{x.channels} or {x.channels}" if x.is_map else ""
            raise Mismatch(
                f"a `gate` of {gate} does not fit the value, {x}",
                help=f"the body of `gate` leaves {x}" + (f", or{allowed}" if allowed else ""),
            )
        return x

    def gradient(
        self, inputs: Sequence[Value], outputs: Sequence[Value], grads: Sequence[Value | None]
    ) -> Sequence[Value | None]:
        x, gate = inputs
        (dy,) = grads
        assert dy is not None
        of_gate: Op = GateGradient(gate.type)
        if gate.type.shape == x.type.shape:
            of_gate = Multiply()
        return [apply(Gate(), dy, gate, like=x), apply(of_gate, x, dy, like=gate)]

    def elementwise(self, *inputs: Type) -> tuple[int, ...]:
        x, gate = inputs
        return (0, 1) if gate.shape == x.shape else (0,)


@op("gate_gradient", registry=None)
class GateGradient(Op):
    """The gradient of a gate with one number a channel: `Σ x · dy` over each image's positions.

    Inputs: value, output gradient.
    """

    gate: Type
    differentiable = False

    def infer(self, x: Type, dy: Type) -> Type:
        return self.gate

    def flops(self, outputs: Sequence[Type], *inputs: Type) -> int:
        return 2 * inputs[0].elements
