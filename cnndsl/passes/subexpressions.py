"""What is computed twice is computed once."""

from __future__ import annotations

from collections.abc import Iterator

from cnndsl.graph.graph import Graph, Node, Value
from cnndsl.graph.leaves import STATE, Input
from cnndsl.graph.rewrite import Found, sweep


@sweep(
    fires_on=(
        "input 6x6x3 -> add { | relu -> conv 3, 3x3 | relu -> conv 3, 1x1 }",
        "input 6x6x3 -> concat { | maxpool 2x2, /2 | maxpool 2x2, /2 -> tanh }",
    ),
    leaves_alone=(
        "input 6x6x3 -> concat { | relu | tanh }",
        "input 6x6x3 -> concat { | conv 3, 3x3 | conv 3, 3x3 }",
    ),
)
def common_subexpression(graph: Graph) -> Iterator[Found]:
    """f(x), f(x) = one f(x), read twice: the same operation on the same values.

    In training too. Layers with weights are the same where they share them, and random masks never:
    each layer's has a key of its own.
    """
    updating = {value.node for value in graph.updates.values()}
    seen: dict[object, Node] = {}
    for node in list(graph.nodes()):
        op = graph.op(node)
        if isinstance(op, (Input, *STATE)) or node in updating:
            continue
        key = (op, graph.operands(node))
        first = seen.setdefault(key, node)
        if first != node:
            for result in graph.results(node):
                graph.replace(result, Value(graph, first, result.output))
            yield Value(graph, node), None
