"""An addition and an activation join the kernel before them: for engines that ask for it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from cnndsl.graph.graph import Graph, Value
from cnndsl.graph.rewrite import Found, only_reader, sweep
from cnndsl.ops.activation import Activation
from cnndsl.ops.conv import Conv
from cnndsl.ops.dense import FullyConnected
from cnndsl.ops.epilogue import Epilogue
from cnndsl.ops.merge import Add
from cnndsl.ops.norm import BatchNorm, BatchNormTraining

#: What may have an epilogue.
FIRST = (Conv, FullyConnected, BatchNorm, BatchNormTraining)


def _open(value: Value) -> Epilogue | None:
    """The epilogue that the maker of a value has so far, if it may have more."""
    if value.output != 0 or not only_reader(value):
        return None
    if isinstance(value.op, FIRST):
        return Epilogue(value.op)
    return value.op if isinstance(value.op, Epilogue) and not value.op.activation else None


def _fuse(value: Value, last: Value, op: Epilogue, *addend: Value) -> None:
    """Let one operation stand for `value`'s and `last`'s."""
    graph = value.graph
    fused = graph.apply(op, *graph.operands(value.node), *addend, like=value)
    graph.replace(last, fused)
    for old in graph.results(value.node)[1:]:
        graph.replace(old, Value(graph, fused.node, old.output))


@sweep(
    fires_on=(
        "input 6x6x3 -> conv 4, 3x3 as a -> conv 4, 3x3 -> add { | identity | from a }",
        "input 6x6x3 -> tanh as a -> bn -> add { | from a | identity }",
    ),
    leaves_alone=(
        "input 6x6x3 -> conv 3, 3x3 as a -> tanh -> add { | identity | from a -> relu }",
        "input 6x6x3 -> conv 3, 3x3 as a -> tanh as b -> from a -> relu as c"
        " -> add { | identity | from b | from a }",
    ),
)
def addition_in_epilogue(graph: Graph) -> Iterator[Found]:
    """f(x) + y is one kernel, for f a convolution, fc or batch norm that nothing else reads."""
    for node in graph.of(Add):
        operands = graph.operands(node)
        for value in reversed(operands if len(operands) == 2 else ()):
            epilogue = _open(value)
            if epilogue is None or epilogue.adds:
                continue
            (other,) = (v for v in operands if v != value)
            _fuse(value, Value(graph, node), replace(epilogue, adds=True), other)
            yield value, None
            break


@sweep(
    fires_on=(
        "input 6x6x3 -> conv 4, 3x3 -> relu",
        "input 6x6x4 -> dwconv 3x3, /2 -> relu6",
        "input 6x6x3 -> conv 6, 3x3, groups=3 -> tanh",
        "input 6x6x3 -> conv 4, 1x1, bias=false -> silu",
        "input 6x6x3 -> relu -> bn -> sigmoid",
        "input 6x6x3 -> fc 4 -> elu",
    ),
    leaves_alone=(
        "input 6x6x3 -> maxpool 2x2, /2 -> relu",
        "input 6x6x3 -> conv 3, 3x3 as a -> relu -> add { | identity | from a }",
    ),
)
def activation_in_epilogue(graph: Graph) -> Iterator[Found]:
    """g(f(x)) and g(f(x) + y) are one kernel, for g an activation that alone reads f(x)."""
    for node in graph.of(Activation):
        (value,) = graph.operands(node)
        epilogue, activation = _open(value), graph.op(node)
        if epilogue is not None and isinstance(activation, Activation):
            _fuse(value, Value(graph, node), replace(epilogue, activation=activation))
            yield value, None


#: In this order: the addition comes before the activation.
EPILOGUES = (addition_in_epilogue, activation_in_epilogue)
