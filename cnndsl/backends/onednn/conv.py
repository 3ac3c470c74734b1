"""Convolutions: each in the layouts that its primitive likes best."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from cnndsl.backends.onednn import preferred, winograd
from cnndsl.backends.onednn.api import (
    Algorithm,
    Argument,
    Handle,
    Propagation,
    Query,
    engine,
    integers,
)
from cnndsl.backends.onednn.copying import copy
from cnndsl.backends.onednn.memory import (
    any_layout,
    canonical,
    descriptor,
    grouped,
    layout_of,
)
from cnndsl.backends.onednn.preferred import as_it_is, block, wish
from cnndsl.backends.onednn.primitive import (
    Choice,
    Choosers,
    Description,
    Elementwise,
    PostOperation,
    Role,
    Sum,
    attributes,
    best,
    kernel,
    tried,
)
from cnndsl.graph.types import Type
from cnndsl.ops.conv import Conv, ConvInputGradient, ConvWeightGradient
from cnndsl.runtime.kernel import Array, Composed, Kernel, in_turn


def convolution(
    op: Conv,
    inputs: Sequence[Type],
    outputs: Sequence[Type],
    adds: bool = False,
    then: Elementwise | None = None,
) -> Choice:
    """`then(conv(x, w, b) + addend)`; the sum is in the memory of the addend, or of a copy."""
    x, weight, *rest = inputs
    bias = rest[0] if len(rest) > adds else None
    y = outputs[0]
    behind = [then] if then else []
    after: list[PostOperation] = [*[Sum()] * adds, *behind]
    with preferred.at(op, x):
        if winograd.pays(op, x, y, then):
            return winograd.convolution(op, inputs, outputs, adds, then is not None)
        description = forward(op, x, weight, bias, wish(y), after)
    x_layout = layout_of(description.layout(Query.SOURCE), x)
    w_layout = layout_of(description.layout(Query.WEIGHTS), weight)
    y_layout = layout_of(description.layout(Query.RESULT), y)
    wanted = (x_layout, w_layout, *(None,) * (bias is not None), *(y_layout,) * adds)

    def make(inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Kernel:
        result = descriptor(outputs[0])
        values: list[Role] = [
            (Argument.SOURCE, descriptor(inputs[0])),
            (Argument.WEIGHTS, _of_weights(op, inputs[1])),
        ]
        if bias is not None:
            values.append((Argument.BIAS, descriptor(bias)))
        place = len(values)
        if not adds:
            return kernel(description, *values, (Argument.RESULT, result))
        summed = kernel(description, *values, (None, result), (Argument.RESULT, result))
        copied = copy(result, result)

        def bind(*arrays: Array) -> Callable[[], None]:
            addend, y, *scratch = arrays[place:]
            call = summed.bind(*arrays)
            if addend.ctypes.data == y.ctypes.data:
                return call
            roles = (Argument.SOURCE, result, addend), (Argument.RESULT, result, y)
            return in_turn(copied.on(roles, *scratch), call)

        return Composed(
            may_alias=((0, place),),
            workspace=max(summed.workspace, copied.scratch_bytes),
            implementation=summed.implementation,
            binder=bind,
        )

    return Choice(wanted, (y_layout,), make, description.implementation)


def input_gradient(
    op: ConvInputGradient, inputs: tuple[Type, ...], outputs: tuple[Type, ...]
) -> Choice:
    weight, dy = inputs
    (dx,) = outputs
    with preferred.at(op.conv, dx):
        if winograd.pays(op.conv, dx, dy):
            return winograd.input_gradient(op.conv, inputs, outputs)
    hint = forward(op.conv, dx, weight, None, any_layout(dy), ())

    def arguments(ways: tuple[Handle, Handle]) -> tuple[Any, ...]:
        algorithm, w = Algorithm.CONVOLUTION_DIRECT, any_layout(weight, _filters(op.conv, weight))
        rest = *_geometry(op.conv, dx), hint.handle, attributes()
        return engine(), algorithm, ways[0], w, ways[1], *rest

    pairs = zip((wish(dx), any_layout(dx)), _ways(dy), strict=True)
    description = best(tried("convolution_backward_data", *map(arguments, pairs)))
    wanted = (
        layout_of(description.layout(Query.WEIGHTS), weight),
        layout_of(description.layout(Query.RESULT_GRADIENT), dy),
    )
    given = layout_of(description.layout(Query.SOURCE_GRADIENT), dx)

    def make(inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Kernel:
        return kernel(
            description,
            (Argument.WEIGHTS, _of_weights(op.conv, inputs[0])),
            (Argument.RESULT_GRADIENT, descriptor(inputs[1])),
            (Argument.SOURCE_GRADIENT, descriptor(outputs[0])),
        )

    return Choice(wanted, (given,), make, description.implementation)


def weight_gradient(
    op: ConvWeightGradient, inputs: tuple[Type, ...], outputs: tuple[Type, ...]
) -> Choice:
    x, dy = inputs
    weight, *bias = outputs
    with preferred.at(op.conv, x):
        if winograd.pays(op.conv, x, dy, rate=winograd.OF_FILTERS):
            return winograd.weight_gradient(op, inputs, outputs)
    vector = descriptor(bias[0]) if bias else None
    hint = forward(op.conv, x, replace(weight, dtype=x.dtype), None, any_layout(dy), ())

    def arguments(ways: tuple[Handle, Handle]) -> tuple[Any, ...]:
        algorithm, w = Algorithm.CONVOLUTION_DIRECT, any_layout(weight, _filters(op.conv, weight))
        rest = *_geometry(op.conv, x), hint.handle, attributes()
        return engine(), algorithm, ways[0], w, vector, ways[1], *rest

    pairs = zip(_ways(x), _ways(dy), strict=True)
    description = best(tried("convolution_backward_weights", *map(arguments, pairs)))
    wanted = (
        layout_of(description.layout(Query.SOURCE), x),
        layout_of(description.layout(Query.RESULT_GRADIENT), dy),
    )
    given = layout_of(description.layout(Query.WEIGHTS_GRADIENT), weight)

    def make(inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Kernel:
        roles: list[Role] = [
            (Argument.SOURCE, descriptor(inputs[0])),
            (Argument.RESULT_GRADIENT, descriptor(inputs[1])),
            (Argument.WEIGHTS_GRADIENT, _of_weights(op.conv, outputs[0])),
        ]
        if vector is not None:
            roles.append((Argument.BIAS_GRADIENT, vector))
        return kernel(description, *roles)

    return Choice(wanted, (given, *(None,) * len(bias)), make, description.implementation)


def forward(
    op: Conv,
    x: Type,
    weight: Type,
    bias: Type | None,
    result: Handle,
    after: Sequence[PostOperation],
) -> Description:
    """The forward primitive for a result's descriptor, and what is done to it."""
    vector = descriptor(bias) if bias is not None else None
    filters = any_layout(weight, _filters(op, weight))

    def arguments(source: Handle) -> tuple[Any, ...]:
        way = engine(), Propagation.TRAINING, Algorithm.CONVOLUTION_DIRECT
        return *way, source, filters, vector, result, *_geometry(op, x), attributes(after)

    return best(tried("convolution_forward", *map(arguments, _ways(x))))


def _ways(value: Type) -> list[Handle]:
    """How a map may be taken: as it is, and in any layout."""
    here, free = descriptor(value), any_layout(value)
    if block() is None:
        return [canonical(value), free]
    return [here, free] if as_it_is(value) else [free, here]


def _geometry(op: Conv, x: Type) -> tuple[Any, ...]:
    """Strides, dilations (from zero) and the padding before and after, as the library wants."""
    (top, bottom), (left, right) = op.pads(x)
    return (
        integers((op.stride, op.stride)),
        integers((op.dilation - 1, op.dilation - 1)),
        integers((top, left)),
        integers((bottom, right)),
    )


def _filters(op: Conv, weight: Type) -> tuple[int, ...]:
    return grouped(weight, op.groups)


def _of_weights(op: Conv, weight: Type) -> Handle:
    return descriptor(weight, _filters(op, weight))


CHOOSERS: Choosers = {
    Conv: convolution,
    ConvInputGradient: input_gradient,
    ConvWeightGradient: weight_gradient,
}
