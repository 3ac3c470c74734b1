"""Pooling, on a map in whatever layout it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from cnndsl.backends.onednn.api import Algorithm, Argument, Propagation, Query, engine, integers
from cnndsl.backends.onednn.memory import Layout, any_layout, descriptor, layout_of
from cnndsl.backends.onednn.preferred import preferred
from cnndsl.backends.onednn.primitive import (
    Choice,
    Choosers,
    Description,
    attributes,
    kernel,
)
from cnndsl.graph.types import Type
from cnndsl.ops.pool import AveragePool, AveragePoolGradient, MaxPool, MaxPoolGradient, Pool
from cnndsl.runtime.kernel import Array, Composed, Kernel


def _geometry(op: Pool, x: Type) -> tuple[Any, ...]:
    """Strides, kernel, dilations (from zero) and the padding before and after."""
    (top, bottom), (left, right) = op.pads(x)
    return (
        integers((op.step(), op.step())),
        integers(op.size(x)),
        integers((0, 0)),
        integers((top, left)),
        integers((bottom, right)),
    )


def _algorithm(op: Pool) -> Algorithm:
    if isinstance(op, MaxPool):
        return Algorithm.POOLING_MAX
    assert isinstance(op, AveragePool)
    return Algorithm.POOLING_AVERAGE_WITH_PADDING if op.count_pad else Algorithm.POOLING_AVERAGE


def _forward(op: Pool, x: Type, y: Type, way: Propagation) -> Description:
    values = descriptor(x), any_layout(y)
    arguments = engine(), way, _algorithm(op), *values, *_geometry(op, x), attributes()
    return Description("pooling_forward", *arguments)


def _winner(forward: Description, winner: Type) -> Layout | None:
    """The layout of what says which elements won."""
    return layout_of(forward.layout(Query.WORKSPACE), winner)


def max_pool(op: MaxPool, inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Choice:
    """Results: y, and which element won, as the library says it."""
    (x,) = inputs
    training = _forward(op, x, outputs[0], Propagation.TRAINING)
    winner = _winner(training, outputs[1])
    result = training.layout(Query.RESULT)
    assert result is not None
    layout = layout_of(result, outputs[0])

    def make(inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Kernel:
        roles = (Argument.SOURCE, descriptor(x)), (Argument.RESULT, result)
        inference = _forward(op, x, outputs[0], Propagation.INFERENCE)
        alone = kernel(inference, *roles, (None, descriptor(x)))
        both = alone
        if training.layout(Query.WORKSPACE) is not None:
            both = kernel(training, *roles, (Argument.WORKSPACE, descriptor(outputs[1])))

        def bind(*arrays: Array) -> Callable[[], None]:
            return (alone if arrays[2] is None else both).bind(*arrays)

        return Composed(
            workspace=max(alone.workspace, both.workspace),
            implementation=training.implementation,
            binder=bind,
        )

    return Choice((x.layout,), (layout, winner), make)


def average_pool(op: AveragePool, inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Choice:
    (x,) = inputs
    description = _forward(op, x, outputs[0], Propagation.INFERENCE)
    result = description.layout(Query.RESULT)
    assert result is not None
    layout = layout_of(result, outputs[0])

    def make(inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Kernel:
        roles = (Argument.SOURCE, descriptor(x)), (Argument.RESULT, result)
        return kernel(description, *roles)

    return Choice((x.layout,), (layout,), make)


def pool_gradient(
    op: MaxPoolGradient | AveragePoolGradient, inputs: tuple[Type, ...], outputs: tuple[Type, ...]
) -> Choice:
    """Inputs: what won, of a max pooling; the output gradient, whose layout is kept."""
    *winners, dy = inputs
    (dx,) = outputs
    flat = bool(winners) and winners[0].layout is None and winners[0].extent != (1, 1)
    source = None if flat else preferred(dx)
    x = replace(dx, layout=source)
    forward = _forward(op.pool, x, dy, Propagation.TRAINING)
    winner = _winner(forward, winners[0]) if winners else None
    gradient = forward.layout(Query.RESULT)
    assert gradient is not None
    layout = layout_of(gradient, dy)

    def make(inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Kernel:
        target = descriptor(outputs[0])
        way = engine(), _algorithm(op.pool), target, gradient, *_geometry(op.pool, x)
        backward = Description("pooling_backward", *way, forward.handle, attributes())
        roles = (Argument.RESULT_GRADIENT, gradient), (Argument.SOURCE_GRADIENT, target)
        if winners:
            return kernel(backward, (Argument.WORKSPACE, descriptor(inputs[0])), *roles)
        return kernel(backward, *roles)

    return Choice((*[winner] * len(winners), layout), (source,), make)


CHOOSERS: Choosers = {
    MaxPool: max_pool,
    AveragePool: average_pool,
    MaxPoolGradient: pool_gradient,
    AveragePoolGradient: pool_gradient,
}
