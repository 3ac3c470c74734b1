"""Optimizers: the reference engine's, each thread on a part of the arrays."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

from cnndsl.backends import numpy
from cnndsl.backends.onednn.memory import Layout
from cnndsl.backends.onednn.parallel import parts_of, together
from cnndsl.backends.onednn.primitive import Choice, Choosers
from cnndsl.graph.types import ITEM_BYTES, Type
from cnndsl.ops.optimizer import SGD, Adam, AdamW, Optimizer
from cnndsl.runtime.kernel import Array, Composed, Kernel
from cnndsl.runtime.memory import round_up


def optimizer(op: Optimizer, inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Choice:
    """All moments and the gradient are laid out as the parameter is."""
    layout = inputs[0].layout
    laid = [layout if t.shape == inputs[0].shape else None for t in inputs]

    def make(inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Kernel:
        parameter = inputs[0]
        item = ITEM_BYTES[parameter.dtype]
        nbytes = layout.nbytes if isinstance(layout, Layout) else parameter.total_bytes
        count = nbytes // item
        many = parts_of(count)
        length = round_up(math.ceil(count / many) * item) // item
        part = Type((min(length, count),), parameter.dtype)
        flat = [part if type.shape == parameter.shape else type for type in inputs]
        one = numpy.kernel_of(op, tuple(flat), (part,) * len(outputs))
        scratch_bytes = round_up(one.workspace)

        def bind(*arrays: Array) -> Callable[[], None]:
            values, scratch = (
                arrays[: len(inputs) + len(outputs)],
                arrays[len(inputs) + len(outputs) :],
            )
            calls = []
            for index in range(many):
                piece = slice(index * length, min(count, (index + 1) * length))
                own = [each[index * scratch_bytes :][: one.workspace] for each in scratch]
                cut = [a.reshape(-1)[piece] if a.size == count and a.ndim else a for a in values]
                calls.append(partial(one.run, *cut, *own))
            return together(calls)

        return Composed(
            may_alias=one.may_alias,
            workspace=scratch_bytes * many,
            implementation=f"numpy on {many} threads" if many > 1 else "numpy",
            binder=bind,
        )

    return Choice(tuple(laid), (layout,) * len(outputs), make)


CHOOSERS: Choosers = {SGD: optimizer, Adam: optimizer, AdamW: optimizer}
