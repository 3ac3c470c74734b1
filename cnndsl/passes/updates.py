"""Adds the optimiser: it is operations of the graph, one update a parameter."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from cnndsl.graph.graph import Graph, Node, Value
from cnndsl.graph.leaves import Buffer, Parameter, Parts
from cnndsl.graph.op import Initial
from cnndsl.graph.types import Type
from cnndsl.ops.norm import RunningAverage
from cnndsl.ops.scaling import Clipping, Guarded, NextScale, Tally
from cnndsl.passes.training import state


def watch(graph: Graph) -> Value:
    """Count losses and right images in the buffer "tally"; the result is what it becomes.

    So nobody has to look at every step: once a loss is not finite the sum of losses stays so.
    """
    loss, correct = graph.outputs["loss"], graph.outputs["correct"]
    tally = graph.add(Buffer(Type((4,), loss.type.dtype)), name="tally")[0]
    (following,) = graph.add(Tally(), tally, loss, correct, name="tally")
    graph.updates[tally.node] = following
    return following


def add_updates(
    graph: Graph,
    gradients: dict[Node, Value],
    optimizer: Any,
    finite: Value,
    decay_all: bool = False,
    scale: Value | None = None,
) -> None:
    """Update every parameter by its gradient, which is `scale` times too large if there is one.

    What is not `finite` leaves parameters, moments and running averages what they are.
    The learning rate and the step are the buffers "learning_rate" and "step", set before each step;
    moments are buffers named after their parameter. Weight decay spares biases and norms unless
    `decay_all`.
    """
    for value in graph.updates.values():
        if isinstance(value.op, RunningAverage):
            operands = graph.operands(value.node)
            graph.replace(value, graph.apply(Guarded(value.op), *operands, finite, like=value))
    rate = state(graph, "learning_rate", graph.outputs["loss"].type.dtype)
    guard = (finite,) if scale is None else (scale, finite)
    for node, gradient in gradients.items():
        parameter = Value(graph, node)
        leaf = parameter.op
        assert isinstance(leaf, Parameter)
        own = optimizer if leaf.decays or decay_all else replace(optimizer, weight_decay=0.0)
        moments = [
            graph.add(Buffer(type, parts=_of(leaf.parts, role)), name=f"{parameter.name}.{role}")[0]
            for role, type in own.moments(parameter.type).items()
        ]
        extra = [state(graph, "step", "int64")] if own.needs_step else []
        operands = parameter, gradient, *moments, rate, *extra, *guard
        results = graph.add(Guarded(own, scale is not None), *operands, name=parameter.name)
        graph.updates[node] = results[0]
        for moment, result in zip(moments, results[1:], strict=True):
            graph.updates[moment.node] = result


def loss_scale(graph: Graph) -> Value:
    """The buffer "loss_scale", at first 2^16, which multiplies gradients that are in float16."""
    return graph.add(Buffer(Type(()), Initial(value=2.0**16)), name="loss_scale")[0]


def clipped(graph: Graph, gradients: list[Value], most: float, scale: Value | None) -> Value:
    """What gradients are to be divided by so that their norm is `most` at most, and by `scale`."""
    more = [] if scale is None else [scale]
    clipping = Clipping(most, scaled=scale is not None)
    return graph.add(clipping, *gradients, *more, name="clip")[0]


def next_scale(graph: Graph, scale: Value, finite: Value) -> None:
    """Update the scale, and "finite_steps", by whether all gradients were finite."""
    steps = graph.add(Buffer(Type(())), name="finite_steps")[0]
    following = graph.add(NextScale(), scale, steps, finite, name="next_scale")
    for value, result in zip((scale, steps), following, strict=True):
        graph.updates[value.node] = result


def _of(parts: Parts | None, role: str) -> Parts | None:
    """The parts of a moment of a parameter with parts."""
    return parts and replace(parts, names=tuple(f"{name}.{role}" for name in parts.names))
