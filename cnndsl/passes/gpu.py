"""What suits a GPU: fewer bytes, and what cuDNN has kernels for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import networkx

from cnndsl.graph.graph import Graph, Value
from cnndsl.graph.leaves import Accumulate, Input
from cnndsl.graph.rewrite import Found, Rewrite, only_reader, sweep
from cnndsl.graph.types import ITEM_BYTES
from cnndsl.ops.activation import ActivationGradient, Relu
from cnndsl.ops.cast import Cast
from cnndsl.ops.conv import Conv, ConvInputGradient, ConvWeightGradient
from cnndsl.ops.dense import FullyConnected
from cnndsl.ops.epilogue import Epilogue
from cnndsl.ops.loss import CrossEntropy, CrossEntropyGradient, CrossEntropyWithGradient
from cnndsl.ops.norm import (
    BatchNormActivationGradient,
    BatchNormTraining,
    BatchNormTrainingGradient,
)
from cnndsl.ops.parts import Take, Widen
from cnndsl.ops.prepare import Prepare, WideImages
from cnndsl.passes.backward import bias_with_weights
from cnndsl.passes.epilogues import EPILOGUES


@sweep(
    fires_on=(
        "input 6x6x3 -> conv 4, 3x3 -> relu as a -> conv 4, 3x3 -> add { | identity | from a }",
        "input 6x6x3 -> conv 4, 3x3 -> relu as a"
        " -> concat { | conv 4, 3x3 | from a -> conv 4, 1x1 | from a }",
    ),
    leaves_alone=(
        "input 6x6x3 -> conv 4, 3x3 -> relu -> conv 4, 3x3",
        "input 6x6x3 -> conv 4, 3x3 -> relu as a -> maxpool 3x3, /1, pad=1"
        " -> add { | identity | from a }",
    ),
)
def accumulation_in_epilogue(graph: Graph) -> Iterator[Found]:
    """f'(y) + g is one kernel, for f' a convolution's gradient that nothing else reads.

    Of several gradients the last is such a one, or the last that is: the others are added before.
    """
    for node in graph.of(Accumulate):
        operands = graph.operands(node)
        for value in reversed(operands):
            if not isinstance(value.op, ConvInputGradient) or not only_reader(value):
                continue
            others = [other for other in operands if other != value]
            if len(others) > 1:
                others = [graph.apply(Accumulate(), *others, like=Value(graph, node))]
            fused = Epilogue(value.op, adds=True)
            result = graph.apply(fused, *graph.operands(value.node), *others, like=value)
            graph.replace(Value(graph, node), result)
            yield value, None
            break


@sweep(
    fires_on=(
        "input 6x6x3 -> conv 4, 3x3 -> bn -> relu -> conv 2, 1x1",
        "input 6x6x3 -> conv 4, 3x3 -> bn -> silu -> conv 2, 1x1",
        "input 6x6x3 -> bn -> sigmoid",
    ),
    leaves_alone=(
        "input 6x6x3 -> conv 4, 3x3 -> relu -> bn",
        "input 6x6x3 -> conv 4, 3x3 -> bn as a -> tanh -> add { | identity | from a }",
    ),
)
def activation_in_batchnorm(graph: Graph) -> Iterator[Found]:
    """The gradients of g(bn(x)) are one kernel, which computes bn(x) again: nothing else needs it.

    For g an activation that alone reads what the norm gives.
    """
    for node in graph.of(ActivationGradient):
        gradient, (saved, dy) = graph.op(node), graph.operands(node)
        assert isinstance(gradient, ActivationGradient)
        norm = saved
        if gradient.activation.saves == "output" and saved.op == gradient.activation:
            (norm,) = graph.operands(saved.node)
        slopes = Value(graph, node)
        if not isinstance(norm.op, BatchNormTraining) or norm.output or not only_reader(slopes):
            continue
        readers = {user for user, _ in graph.users(norm)} - {node}
        (backward,) = (user for user, _ in graph.users(slopes))
        alone = len(readers) == 1 and graph.op(readers.pop()) == gradient.activation
        if not alone or not isinstance(graph.op(backward), BatchNormTrainingGradient):
            continue
        x, gamma, mean, inverse, _ = graph.operands(backward)
        if mean.node != norm.node:
            continue
        beta = graph.operands(norm.node)[2]
        op = BatchNormActivationGradient(norm.op.epsilon, gradient.activation)
        own = Value(graph, backward)
        fused = graph.apply(op, x, gamma, mean, inverse, beta, dy, like=own)
        for old in graph.results(backward):
            graph.replace(old, Value(graph, fused.node, old.output))
        graph.prune()
        yield norm, None


@sweep(
    fires_on=(
        "input 4x4x2 -> conv 4, 3x3 -> relu",
        "input 4x4x2 -> conv 4, 3x3 -> aux 0.3 { avgpool global -> fc 3 } -> relu",
    ),
    leaves_alone=(),
)
def gradient_with_loss(graph: Graph) -> Iterator[Found]:
    """A cross-entropy and the gradient of its logits are one kernel, and no probabilities are kept.

    Where the gradient alone reads them, and what it is multiplied by does not wait for the loss.
    """
    for node in graph.of(CrossEntropyGradient):
        probabilities, _, dloss = graph.operands(node)
        loss = Value(graph, probabilities.node)
        waits = networkx.has_path(graph.net, loss.node, dloss.node)
        if waits or not only_reader(probabilities):
            continue
        assert isinstance(loss.op, CrossEntropy)
        op = CrossEntropyWithGradient(loss.op)
        both = graph.apply(op, *graph.operands(loss.node), dloss, like=loss)
        graph.replace(loss, both)
        graph.replace(Value(graph, node), Value(graph, both.node, 1))
        yield both, None


@sweep(fires_on=(), leaves_alone=("input 6x6x3 -> conv 4, 3x3 -> fc 4, bias=false",))
def short_bias(graph: Graph) -> Iterator[Found]:
    """A bias is of the element type of what it is added to."""
    casts: dict[Value, Value] = {}
    for node in graph.of(Conv, FullyConnected, Epilogue):
        op, operands = graph.op(node), graph.operands(node)
        first = op.first if isinstance(op, Epilogue) else op
        if not (isinstance(first, Conv | FullyConnected) and first.bias):
            continue
        x, _, bias = operands[:3]
        if x.type.dtype == bias.type.dtype:
            continue
        if bias not in casts:
            casts[bias] = graph.apply(Cast(x.type.dtype), bias, like=bias)
        graph.rewire(node, 2, casts[bias])
        yield Value(graph, node), None


@sweep(
    fires_on=(
        "input 6x6x3 -> conv 4, 3x3 -> relu -> conv 4, 3x3",
        "input 6x6x3 -> maxpool 2x2, /2 -> relu -> conv 4, 3x3, /2 -> relu -> conv 4, 1x1",
    ),
    leaves_alone=(
        "input 6x6x3 -> conv 4, 3x3 -> tanh -> conv 4, 3x3",
        "input 6x6x3 -> conv 4, 3x3 -> relu -> maxpool 2x2, /2 -> conv 4, 3x3",
    ),
)
def slope_in_epilogue(graph: Graph) -> Iterator[Found]:
    """relu'(y) · (f'(z) + g) is one kernel, for f' a convolution's gradient that alone is read."""
    for node in graph.of(ActivationGradient):
        gradient, (saved, dy) = graph.op(node), graph.operands(node)
        assert isinstance(gradient, ActivationGradient)
        epilogue = dy.op if isinstance(dy.op, Epilogue) else Epilogue(dy.op)
        is_gradient = isinstance(epilogue.first, ConvInputGradient) and epilogue.slope is None
        if gradient.activation != Relu() or not is_gradient or not only_reader(dy):
            continue
        fused = replace(epilogue, slope=gradient.activation)
        result = graph.apply(fused, *graph.operands(dy.node), saved, like=dy)
        graph.replace(Value(graph, node), result)
        yield dy, None


#: What tensor cores multiply at once of a row of channels: 16 bytes.
CHANNELS = 8


@sweep(fires_on=(), leaves_alone=("input 6x6x3 -> conv 4, 3x3", "input 6x6x8 -> conv 4, 3x3"))
def wide_stem(graph: Graph) -> Iterator[Found]:
    """A convolution of images in 16 bits reads 8 channels, or a multiple, the last of them 0.

    cuDNN's kernels want that, and would copy the images for each call.
    """
    widened: dict[Value, Value] = {}
    for node in graph.of(Conv, Epilogue, ConvWeightGradient):
        op, (x, second, *more) = graph.op(node), graph.operands(node)
        first = op.first if isinstance(op, Epilogue) else op
        if not isinstance(first, Conv | ConvWeightGradient) or not _are_narrow_images(x):
            continue
        conv = first.conv if isinstance(first, ConvWeightGradient) else first
        if conv.groups > 1:
            continue
        if x not in widened:
            widened[x] = _widened(x)
        image, old = widened[x], graph.results(node)
        if isinstance(first, ConvWeightGradient):
            weight = Widen(image.type.channels).infer(first.weight)
            made = graph.apply(replace(first, weight=weight), image, second, like=old[0])
            new = graph.apply(Take(1, 0, x.type.channels), made, like=old[0])
        else:
            filters = graph.apply(Widen(image.type.channels), second, like=second)
            made = new = graph.apply(op, image, filters, *more, like=old[0])
        for before, after in zip(old, (new, *graph.results(made.node)[1:]), strict=True):
            graph.replace(before, after)
        yield new, None
    graph.prune()


def _are_narrow_images(x: Value) -> bool:
    """Whether a value is images in 16 bits that tensor cores want more channels of."""
    cast = isinstance(x.op, Cast) and isinstance(x.graph.operands(x.node)[0].op, Input)
    short = ITEM_BYTES[x.type.dtype] == 2
    return (cast or isinstance(x.op, Prepare)) and short and x.type.channels % CHANNELS > 0


def _widened(x: Value) -> Value:
    """Images with zeros for more channels."""
    channels = -(-x.type.channels // CHANNELS) * CHANNELS
    if isinstance(x.op, Prepare):
        operands = x.graph.operands(x.node)
        return x.graph.apply(replace(x.op, pitch=channels), *operands, like=x)
    (image,) = x.graph.operands(x.node)
    return x.graph.apply(WideImages(channels, x.type.dtype), image, like=x)


#: The gradients of a norm are sought before an epilogue takes the activation.
ON_A_GPU: tuple[Rewrite, ...] = (
    activation_in_batchnorm,
    gradient_with_loss,
    bias_with_weights,
    *EPILOGUES,
    accumulation_in_epilogue,
    slope_in_epilogue,
    short_bias,
    wide_stem,
)
