"""Adds the optimiser: it is operations of the graph, one update a parameter."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from cnndsl.graph.graph import Graph, Node, Value
from cnndsl.graph.leaves import Buffer, Parameter, Parts
from cnndsl.graph.op import Initial
from cnndsl.graph.types import Type
from cnndsl.ops.scaling import AllFinite, Guarded, NextScale
from cnndsl.passes.training import state


def add_updates(
    graph: Graph,
    gradients: dict[Node, Value],
    optimizer: Any,
    decay_all: bool = False,
    scale: Value | None = None,
) -> None:
    """Update every parameter by its gradient, which is `scale` times too large if there is one.

    The learning rate and the step are the buffers "learning_rate" and "step", set before each step;
    moments are buffers named after their parameter. Weight decay spares biases and norms unless
    `decay_all`.
    """
    dtype = graph.inputs["image"].type.dtype
    rate = state(graph, "learning_rate", dtype)
    guard = [] if scale is None else [scale, _finite(graph, scale, list(gradients.values()))]
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
        step = own if scale is None else Guarded(own)
        results = graph.add(step, *operands, name=parameter.name)
        graph.updates[node] = results[0]
        for moment, result in zip(moments, results[1:], strict=True):
            graph.updates[moment.node] = result


def loss_scale(graph: Graph) -> Value:
    """The buffer "loss_scale", at first 2^16, which multiplies gradients that are in float16."""
    return graph.add(Buffer(Type(()), Initial(value=2.0**16)), name="loss_scale")[0]


def _finite(graph: Graph, scale: Value, gradients: list[Value]) -> Value:
    """Whether all gradients are finite: of that and of "finite_steps" comes the next scale."""
    finite = graph.add(AllFinite(), *gradients, name="finite")[0]
    steps = graph.add(Buffer(Type(())), name="finite_steps")[0]
    following = graph.add(NextScale(), scale, steps, finite, name="next_scale")
    for value, result in zip((scale, steps), following, strict=True):
        graph.updates[value.node] = result
    return finite


def _of(parts: Parts | None, role: str) -> Parts | None:
    """The parts of a moment of a parameter with parts."""
    return parts and replace(parts, names=tuple(f"{name}.{role}" for name in parts.names))
