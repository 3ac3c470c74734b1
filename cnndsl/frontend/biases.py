"""The rule that a convolution whose only reader is a batch norm has no bias."""

from __future__ import annotations

from dataclasses import replace

from cnndsl.graph.graph import Graph, Node, Value
from cnndsl.ops.conv import Conv
from cnndsl.ops.norm import BatchNorm


def bias_is_redundant(graph: Graph, node: Node) -> bool:
    """Whether a `bn`, which would cancel its bias, is the only reader of a convolution."""
    readers = graph.users(Value(graph, node))
    is_root = any(value.node == node for value in graph.roots())
    return len(readers) == 1 and not is_root and isinstance(graph.op(readers[0][0]), BatchNorm)


def drop_redundant_biases(graph: Graph) -> None:
    """Decide about the bias of every convolution that does not say it itself."""
    for node in graph.of(Conv):
        op = graph.op(node)
        assert isinstance(op, Conv)
        if op.bias is not None:
            continue
        redundant = bias_is_redundant(graph, node)
        graph.attributes(node)["op"] = replace(op, bias=not redundant)
        if redundant:
            bias = graph.operands(node)[2]
            graph.remove([bias.node])
