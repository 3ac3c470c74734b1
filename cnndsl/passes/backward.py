"""Two gradients in one kernel: for engines that ask for it, where gradients are there already."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from cnndsl.graph.graph import Graph, Value
from cnndsl.graph.rewrite import Found, only_reader, sweep
from cnndsl.ops.activation import ActivationGradient, Relu
from cnndsl.ops.conv import BiasGradient, ConvWeightGradient
from cnndsl.ops.dense import FullyConnectedWeightGradient
from cnndsl.ops.norm import (
    BatchNormReluGradient,
    BatchNormReluTraining,
    BatchNormTraining,
    BatchNormTrainingGradient,
)


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


#: The relu's gradient is sought before an epilogue takes the relu.
GRADIENTS = (bias_with_weights, relu_in_batchnorm)
