"""What reads a whole map is fully connected, and takes the map as it is."""

from __future__ import annotations

from collections.abc import Iterator

from cnndsl.graph.graph import Graph, Value, apply
from cnndsl.graph.op import Pattern
from cnndsl.graph.rewrite import Declined, Found, only_reader, rule, sweep
from cnndsl.ops.activation import Activation
from cnndsl.ops.conv import Conv
from cnndsl.ops.dense import FullyConnected
from cnndsl.ops.dropout import DropoutTraining
from cnndsl.ops.geometry import dilated
from cnndsl.ops.norm import BatchNorm, BatchNormTraining, Scale
from cnndsl.ops.shape import Flatten, Unflatten
from cnndsl.passes.windows import is_padded

#: What is done to each channel by itself, so that a vector is as good as a map of 1x1.
CHANNELWISE = (Activation, BatchNorm, BatchNormTraining, DropoutTraining, Scale)


@sweep(
    fires_on=(
        "input 3x4x2 -> conv 5, 3x4, pad=0 -> relu",
        "input 4x4x2 -> avgpool global -> conv 5, 1x1, bias=false -> bn -> relu -> conv 3, 1x1",
        "input 2x2x2 -> conv 5, 2x2, pad=0 -> dropout 0.5 -> tanh -> upsample 2",
    ),
    leaves_alone=(
        "input 3x4x2 -> conv 5, 3x3, pad=0",
        "input 3x3x2 -> conv 5, 3x3",
        "input 1x1x4 -> conv 6, 1x1, groups=2",
    ),
)
def conv_of_all(graph: Graph) -> Iterator[Found]:
    """conv(x, w, b) = fc(x, w, b) where the kernel is the whole map, with no padding.

    An fc reads the filters in their order. What follows channel by channel is done to the vector,
    and what is left is seen as a map of 1x1. In training too. A classifier of 1x1 convolutions on a
    1x1 map becomes the fully connected one that it was.
    """
    for node in graph.of(Conv):
        conv, old, (x, weight, *bias) = graph.op(node), Value(graph, node), graph.operands(node)
        assert isinstance(conv, Conv)
        whole = dilated(conv.kernel, conv.dilation) == conv.kernel == x.type.extent
        if not whole or is_padded(conv, x.type):
            continue
        if conv.groups > 1:
            yield old, Declined("a convolution in groups reads a part of the channels")
            continue
        fc = FullyConnected(conv.filters, bias=bool(bias))
        new = apply(fc, x, weight, *bias, like=old)
        yield old, None
        while only_reader(old) and isinstance(
            graph.op(reader := graph.users(old)[0][0]), CHANNELWISE
        ):
            results = graph.results(reader)
            new = apply(graph.op(reader), new, *graph.operands(reader)[1:], like=results[0])
            for more in results[1:]:
                graph.replace(more, Value(graph, new.node, more.output))
            old = results[0]
        graph.replace(old, apply(Unflatten(old.type), new, like=old))


@rule(
    FullyConnected.of(Pattern((Flatten, Unflatten), ("x",), "shaped"), "weight", "bias?"),
    fires_on=("input 3x4x2 -> relu -> flatten -> fc 5", "input 7 -> flatten -> fc 5, bias=false"),
    leaves_alone=("input 3x4x2 -> flatten -> relu -> fc 5",),
)
def flatten_before_fc(
    x: Value, fc: FullyConnected, fc_value: Value, weight: Value, bias: Value | None, **_: object
) -> Value:
    """fc(flatten(x)) = fc(x): it reads a map in the order in which `flatten` leaves it."""
    behind = [] if bias is None else [bias]
    return apply(fc, x, weight, *behind, like=fc_value)


@rule(
    Flatten.of("x"),
    fires_on=("input 7 -> fc 5 -> flatten", "input 3x4x2 -> flatten -> flatten"),
    leaves_alone=("input 3x4x2 -> flatten",),
)
def flatten_of_vector(x: Value, **_: object) -> Value | None:
    """flatten(x) = x for a vector x, and for a map that was made of the vector x."""
    if isinstance(x.op, Unflatten):
        (vector,) = x.graph.operands(x.node)
        return vector
    return None if x.type.is_map else x
