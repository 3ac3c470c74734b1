"""Makes a graph one for inference: what only training needs goes."""

from __future__ import annotations

from cnndsl.graph.graph import Graph, Value
from cnndsl.ops.dropout import Dropout, DropPath
from cnndsl.ops.shape import Identity


def for_inference(graph: Graph) -> None:
    """Remove side heads; dropout(x) = drop_path(x) = identity(x) = x."""
    graph.heads.clear()
    for node in graph.of(Dropout, DropPath, Identity):
        (x,) = graph.operands(node)
        graph.replace(Value(graph, node), x)
    graph.prune()
