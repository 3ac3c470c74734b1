"""An addition and an activation join the kernel before them: for engines that ask for it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from cnndsl.graph.graph import Graph, Value
from cnndsl.graph.rewrite import Found, only_reader, sweep
from cnndsl.ops.activation import Activation, ActivationGradient, Relu
from cnndsl.ops.conv import BiasGradient, Conv, ConvWeightGradient
from cnndsl.ops.dense import FullyConnected, FullyConnectedWeightGradient
from cnndsl.ops.epilogue import Epilogue
from cnndsl.ops.merge import Add
from cnndsl.ops.norm import (
    BatchNorm,
    BatchNormReluGradient,
    BatchNormReluTraining,
    BatchNormTraining,
    BatchNormTrainingGradient,
)

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


@sweep(
    fires_on=("input 6x6x3 -> conv 4, 3x3 -> bn -> relu -> conv 2, 1x1",),
    leaves_alone=(
        "input 6x6x3 -> conv 4, 3x3 -> bn -> tanh -> conv 2, 1x1",
        "input 6x6x3 -> conv 4, 3x3 -> bn as a -> relu -> conv 4, 1x1"
        " -> add { | identity | from a }",
    ),
)
def relu_in_batchnorm(graph: Graph) -> Iterator[Found]:
    """relu(bn(x)) is one kernel in training, and so is its gradient, which needs one bit a number.

    Where only the relu reads what the norm gives, and only the norm's gradient the relu's.
    """
    for node in graph.of(ActivationGradient):
        slopes = Value(graph, node)
        result, dy = graph.operands(node)
        readers = [user for user, _ in graph.users(slopes)]
        if result.op != Relu() or not only_reader(slopes):
            continue
        (norm,) = graph.operands(result.node)
        backward = readers[0]
        inside = isinstance(norm.op, BatchNormTraining) and norm.output == 0 and only_reader(norm)
        if not inside or not isinstance(graph.op(backward), BatchNormTrainingGradient):
            continue
        x, gamma, mean, *_ = graph.operands(backward)
        if mean.node != norm.node:
            continue
        assert isinstance(norm.op, BatchNormTraining)
        forward = BatchNormReluTraining(norm.op.epsilon)
        fused = graph.apply(forward, *graph.operands(norm.node), like=norm)
        graph.replace(result, fused)
        statistics = [Value(graph, fused.node, slot) for slot in range(1, 5)]
        for old, new in zip(graph.results(norm.node)[1:], statistics, strict=False):
            graph.replace(old, new)
        gradient = graph.apply(
            BatchNormReluGradient(norm.op.epsilon),
            *(x, gamma, statistics[0], statistics[1], statistics[3], dy),
            like=Value(graph, backward),
        )
        for old in graph.results(backward):
            graph.replace(old, Value(graph, gradient.node, old.output))
        yield norm, None


@sweep(
    fires_on=("input 6x6x3 -> conv 4, 3x3 -> relu", "input 4x4x2 -> conv 3, 3x3 -> tanh -> fc 5"),
    leaves_alone=("input 6x6x3 -> conv 4, 3x3, bias=false -> relu",),
)
def bias_with_weights(graph: Graph) -> Iterator[Found]:
    """The gradients of a layer's weight and of its bias are one kernel: both read the output's."""
    for node in graph.of(ConvWeightGradient, FullyConnectedWeightGradient):
        op, (x, dy) = graph.op(node), graph.operands(node)
        assert isinstance(op, ConvWeightGradient | FullyConnectedWeightGradient)
        biases = [n for n, _ in graph.users(dy) if isinstance(graph.op(n), BiasGradient)]
        if op.bias or not biases:
            continue
        weight = Value(graph, node)
        both = graph.apply(replace(op, bias=True), x, dy, like=weight)
        graph.replace(weight, both)
        graph.replace(Value(graph, biases[0]), Value(graph, both.node, 1))
        graph.prune()
        yield both, None


#: In this order: the addition comes before the activation.
EPILOGUES = (addition_in_epilogue, activation_in_epilogue)
