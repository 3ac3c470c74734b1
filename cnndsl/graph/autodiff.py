"""Reverse-mode differentiation: it knows the chain rule and names no operation but its own."""

from __future__ import annotations

import networkx

from cnndsl.graph.graph import Graph, Node, Value
from cnndsl.graph.leaves import Accumulate, Ones, Parameter


def add_gradients(graph: Graph, loss: Value, seed: Value | None = None) -> dict[Node, Value]:
    """Extend the graph by the gradient of a scalar `loss` with respect to each trainable parameter.

    `seed` is what all gradients are multiplied by; 1 without. Returns the gradient of each
    parameter that the loss depends on, by the parameter's node.

    Source: Griewank & Walther, Evaluating Derivatives, 2008, chapter 3.
    """
    wanted = {
        node for node in graph.net if isinstance(op := graph.op(node), Parameter) and op.trainable
    }
    influenced = set(wanted)
    order = list(graph.nodes())
    for node in order:
        if any(source in influenced for source in graph.net.predecessors(node)):
            influenced.add(node)
    if loss.node not in influenced:
        return {}
    relevant = (networkx.ancestors(graph.net, loss.node) | {loss.node}) & influenced

    first = seed if seed is not None else graph.apply(Ones(loss.type), like=loss)
    reaching: dict[Value, list[Value]] = {loss: [first]}
    for node in reversed([node for node in order if node in relevant]):
        op = graph.op(node)
        if not op.differentiable or isinstance(op, Parameter):
            continue
        outputs = graph.results(node)
        grads = [_total(graph, value, reaching) for value in outputs]
        if all(grad is None for grad in grads):
            continue
        inputs = graph.operands(node)
        for value, grad in zip(inputs, op.gradient(inputs, outputs, grads), strict=True):
            if grad is not None and value.node in influenced:
                reaching.setdefault(value, []).append(grad)
    gradients = {}
    for node in sorted(wanted):
        total = _total(graph, Value(graph, node), reaching)
        if total is not None:
            gradients[node] = total
    return gradients


def _total(graph: Graph, value: Value, reaching: dict[Value, list[Value]]) -> Value | None:
    """The sum of the gradients that reach a value, as one value."""
    parts = reaching.get(value)
    if not parts:
        return None
    if len(parts) > 1:
        reaching[value] = parts = [graph.apply(Accumulate(), *parts, like=value)]
    return parts[0]
