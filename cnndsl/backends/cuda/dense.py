"""Fully connected layers: matrix products of the library, on maps as vectors."""

from __future__ import annotations

from cnndsl.backends.cuda.conv import in_own_type, with_bias
from cnndsl.backends.cuda.cudnn import Product
from cnndsl.backends.cuda.formula import epilogue
from cnndsl.backends.cuda.launch import Argument, Builders, LibraryCall, Recipe, Scratch, Task
from cnndsl.backends.cuda.pointwise import launch, same
from cnndsl.backends.cuda.shape import flattening, unflattening
from cnndsl.graph.types import Type
from cnndsl.ops.activation import Activation, Relu
from cnndsl.ops.dense import (
    FullyConnected,
    FullyConnectedInputGradient,
    FullyConnectedWeightGradient,
)
from cnndsl.runtime.memory import round_up


def _stands_otherwise(x: Type, weight: Type) -> bool:
    """Whether a map's elements stand in another order than a matrix of weights reads them; those of
    filters stand as the map's."""
    return x.is_map and x.extent != (1, 1) and len(weight.shape) == 2


def fully_connected(
    op: FullyConnected,
    inputs: tuple[Type, ...],
    outputs: tuple[Type, ...],
    adds: bool = False,
    then: Activation | None = None,
) -> Recipe:
    """Inputs: x, weight, the bias if there is one, the addend if it `adds`."""
    (y,) = outputs
    x, weight = inputs[:2]
    here = len(inputs)
    relu = isinstance(then, Relu) and not adds
    bias = here - adds == 3
    images = x.concrete()[0]
    product = Product(
        *(images, x.elements, op.features, x.dtype, y.dtype),
        transpose_b=True,
        bias=bias,
        relu=relu,
        bias_dtype=inputs[2].dtype if bias else "float32",
    )
    tasks: list[Task] = []
    source: Argument = 0
    if _stands_otherwise(x, weight):
        source = Scratch(0, x.total_bytes)
        tasks.append(flattening(x, (0, source)))
    tasks.append(LibraryCall(product, (source, *range(1, here - adds), here)))
    if adds or (then is not None and not relu):
        behind = epilogue(same(op, (y,), (y,)), adds, then)
        addend = (here - 1,) if adds else ()
        tasks.append(launch(behind, (y,) * (1 + adds), (y,), (here, *addend, here)))
    return Recipe(tuple(tasks), source.nbytes if isinstance(source, Scratch) else 0)


def input_gradient(
    op: FullyConnectedInputGradient, inputs: tuple[Type, ...], outputs: tuple[Type, ...]
) -> Recipe:
    """Inputs: weight, dy."""
    weight, dy = inputs
    (dx,) = outputs
    product = Product(dy.concrete()[0], dy.channels, dx.elements, dy.dtype, dx.dtype)
    if not _stands_otherwise(dx, weight):
        return Recipe((LibraryCall(product, (1, 0, 2)),))
    flat = Scratch(0, dx.total_bytes)
    tasks = (LibraryCall(product, (1, 0, flat)), unflattening(dx, (flat, 2)))
    return Recipe(tasks, flat.nbytes)


def weight_gradient(
    op: FullyConnectedWeightGradient, inputs: tuple[Type, ...], outputs: tuple[Type, ...]
) -> Recipe:
    """Inputs: x, dy. Results: that of the weight, and of a bias."""
    x, dy = inputs
    dw = outputs[0]
    product = Product(dy.channels, x.concrete()[0], x.elements, x.dtype, x.dtype, transpose_a=True)
    if not _stands_otherwise(x, dw):
        return with_bias(in_own_type(product, (1, 0), dw, 2), op.bias, inputs, outputs)
    flat = Scratch(round_up(dw.total_bytes), x.total_bytes)
    made = in_own_type(product, (1, flat), dw, 2)
    tasks = (flattening(x, (0, flat)), *made.tasks)
    return with_bias(Recipe(tasks, flat.offset + flat.nbytes), op.bias, inputs, outputs)


BUILDERS: Builders = {
    FullyConnected: fully_connected,
    FullyConnectedInputGradient: input_gradient,
    FullyConnectedWeightGradient: weight_gradient,
}
