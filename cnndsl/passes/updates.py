"""Adds the optimiser: it is operations of the graph, one update a parameter."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from cnndsl.graph.graph import Graph, Node, Value
from cnndsl.graph.leaves import Buffer, Parameter, Parts
from cnndsl.passes.training import state


def add_updates(
    graph: Graph, gradients: dict[Node, Value], optimizer: Any, decay_all: bool = False
) -> None:
    """Update every parameter by its gradient.

    The learning rate and the step are the buffers "learning_rate" and "step", set before each step;
    moments are buffers named after their parameter. Weight decay spares biases and norms unless
    `decay_all`.
    """
    dtype = graph.inputs["image"].type.dtype
    rate = state(graph, "learning_rate", dtype)
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
        results = graph.add(own, parameter, gradient, *moments, rate, *extra, name=parameter.name)
        graph.updates[node] = results[0]
        for moment, result in zip(moments, results[1:], strict=True):
            graph.updates[moment.node] = result


def _of(parts: Parts | None, role: str) -> Parts | None:
    """The parts of a moment of a parameter with parts."""
    return parts and replace(parts, names=tuple(f"{name}.{role}" for name in parts.names))
