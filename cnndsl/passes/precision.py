"""Precision: values between layers in a short element type, behind explicit casts.

Source: Micikevicius et al., Mixed precision training, 2018.
"""

from __future__ import annotations

from cnndsl.graph.graph import Graph, Value
from cnndsl.graph.leaves import STATE, Input
from cnndsl.ops.cast import Cast
from cnndsl.ops.conv import Conv
from cnndsl.ops.dense import FullyConnected

#: The word for float32 whose products may be rounded to tf32, which has ten bits of fraction.
TF32 = "tf32"
#: Element types by the words of users.
PRECISIONS = {"f32": "float32", TF32: "float32", "bf16": "bfloat16", "fp16": "float16"}


def element_type(precision: str) -> str:
    """The element type that a user's word means.

    Raises:
        ValueError: it means none.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"there is no precision {precision!r}: {', '.join(PRECISIONS)} are")
    return PRECISIONS[precision]


def set_precision(graph: Graph, dtype: str) -> None:
    """Let what layers give be of a type shorter than float32; nothing changes for float32.

    Images are cast where they enter, logits and side heads back where they leave, and convolutions
    and fully connected layers read their weights through a cast. Parameters, biases, statistics and
    their sums stay float32, and with them the loss, the gradients of parameters and the optimizer.
    """
    if dtype == "float32":
        return
    for node in graph.of(Input):
        value = Value(graph, node)
        if value.type.dtype == "float32":
            graph.replace(value, graph.apply(Cast(dtype), value, like=value))
    casts: dict[Value, Value] = {}
    for node in graph.of(Conv, FullyConnected):
        weight = graph.operands(node)[1]
        if weight not in casts:
            casts[weight] = graph.apply(Cast(dtype), weight, like=weight)
        graph.rewire(node, 1, casts[weight])
    for node in graph.nodes():
        if isinstance(op := graph.op(node), (Input, *STATE)):
            continue
        types = op.infer(*(value.type for value in graph.operands(node)))
        graph.attributes(node)["types"] = types if isinstance(types, tuple) else (types,)
    for value in {*graph.outputs.values(), *(head.value for head in graph.heads)}:
        graph.replace(value, graph.apply(Cast("float32"), value, like=value))
