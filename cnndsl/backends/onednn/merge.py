"""Joins: sums and products of values in one layout, and channels side by side."""

from __future__ import annotations

import ctypes
from collections.abc import Callable

from cnndsl.backends.onednn.api import Algorithm, Argument, engine
from cnndsl.backends.onednn.memory import descriptor
from cnndsl.backends.onednn.preferred import blocked, common, preferred
from cnndsl.backends.onednn.primitive import (
    Choice,
    Choosers,
    Description,
    Elementwise,
    attributes,
    kernel,
)
from cnndsl.backends.onednn.shape import reorder
from cnndsl.graph.leaves import Accumulate, Reorder
from cnndsl.graph.types import Type
from cnndsl.ops.merge import Add, Concat, Multiply
from cnndsl.runtime.kernel import Array, Composed, Kernel, in_turn


def add(
    op: Add | Accumulate,
    inputs: tuple[Type, ...],
    outputs: tuple[Type, ...],
    then: Elementwise | None = None,
) -> Choice:
    return _folded(Algorithm.BINARY_ADD, inputs, then)


def multiply(op: Multiply, inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Choice:
    return _folded(Algorithm.BINARY_MULTIPLY, inputs)


def _folded(
    algorithm: Algorithm, inputs: tuple[Type, ...], then: Elementwise | None = None
) -> Choice:
    """`then(x₀ ∘ x₁ ∘ x₂ …)`: the first two, then one after another into the result."""
    layout = common(inputs)
    if len(inputs) == 1:
        return reorder(Reorder(layout), inputs, inputs)

    def make(inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Kernel:
        here = descriptor(inputs[0])
        roles = (Argument.SOURCE, here), (Argument.SOURCE_1, here), (Argument.RESULT, here)
        way = engine(), algorithm, here, here, here
        inner = kernel(Description("binary", *way, attributes()), *roles)
        last = kernel(Description("binary", *way, attributes([then] if then else [])), *roles)

        def bind(*arrays: Array) -> Callable[[], None]:
            *parts, total = arrays[: len(inputs) + 1]
            scratch = arrays[len(inputs) + 1 :]
            firsts = [parts[0], *[total] * (len(parts) - 2)]
            kernels = [*[inner] * (len(parts) - 2), last]
            triples = zip(kernels, firsts, parts[1:], strict=True)
            return in_turn(*(k.bind(first, part, total, *scratch) for k, first, part in triples))

        return Composed(
            may_alias=((0, 0),),
            workspace=max(inner.workspace, last.workspace),
            implementation=last.implementation,
            binder=bind,
        )

    return Choice((layout,) * len(inputs), (layout,), make)


def concat(op: Concat, inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Choice:
    """In blocks of channels where all parts are made of whole ones."""
    types = (*inputs, *outputs)
    whole = all(blocked(type) for type in types)
    layouts = [preferred(type) if whole else None for type in types]

    def make(inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Kernel:
        parts, y = [descriptor(type) for type in inputs], descriptor(outputs[0])
        table = (ctypes.c_void_p * len(parts))(*(part.address for part in parts))
        description = Description("concat", engine(), y, len(parts), 1, table, attributes())
        roles = [(Argument.SEVERAL + place, part) for place, part in enumerate(parts)]
        return kernel(description, *roles, (Argument.RESULT, y))

    return Choice(tuple(layouts[:-1]), (layouts[-1],), make)


CHOOSERS: Choosers = {Add: add, Accumulate: add, Multiply: multiply, Concat: concat}
