"""Narrow element types: casts, and kernels that work on copies in float32 between casts."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import fields, replace
from functools import partial

import ml_dtypes  # noqa: F401  It makes "bfloat16" a type of NumPy's.
import numpy as np

from cnndsl.graph.op import Op
from cnndsl.graph.types import Type
from cnndsl.ops.cast import Cast
from cnndsl.ops.chain import Chain
from cnndsl.ops.merge import Concat
from cnndsl.ops.shape import (
    Crop,
    Flatten,
    Identity,
    Pad,
    Shuffle,
    Slice,
    SliceGradient,
    Unflatten,
)
from cnndsl.runtime.kernel import Array, Builder, Builders, Composed, Kernel
from cnndsl.runtime.memory import round_up

#: What moves elements as they are, of whatever type.
MOVES = (Crop, Concat, Flatten, Identity, Pad, Shuffle, Slice, SliceGradient, Unflatten)


def cast(op: Cast, inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Kernel:
    return Kernel(lambda x, y: rounding(y, x))


def rounding(target: Array, source: Array) -> None:
    """Copy numbers to another element type; what is too large for it is infinite."""
    with np.errstate(over="ignore"):
        np.copyto(target, source, "same_kind")


def wants_float32(op: Op, types: Iterable[Type]) -> bool:
    """Whether an operation is to be done on copies in float32."""
    return not isinstance(op, (Cast, Chain, *MOVES)) and any(type.narrow for type in types)


def widened(op: Op) -> Op:
    """The operation as it is for values that are not narrow: no type among its fields is."""
    values = {each.name: getattr(op, each.name) for each in fields(op)}  # type: ignore[arg-type]
    types = {name: t.widened for name, t in values.items() if isinstance(t, Type)}
    return replace(op, **types)  # type: ignore[type-var]


def kernel_from(
    builder: Builder, op: Op, inputs: tuple[Type, ...], outputs: tuple[Type, ...]
) -> Kernel:
    """The kernel that a builder makes, where it has to be on copies in float32."""
    if not wants_float32(op, (*inputs, *outputs)):
        return builder(op, inputs, outputs)
    wide = (tuple(type.widened for type in types) for types in (inputs, outputs))
    return in_float32(builder(widened(op), *wide), inputs, outputs)


def in_float32(
    inner: Kernel,
    inputs: tuple[Type, ...],
    outputs: tuple[Type, ...],
    nbytes: Callable[[Type], int] = lambda type: type.total_bytes,
    copying: Callable[[Array, Array], Callable[[], None]] | None = None,
) -> Kernel:
    """The kernel for narrow values, given the one for the same in float32: it works on copies.

    `nbytes` says what a value takes; `copying` gives what copies an array to another one.
    """
    copies = [2 * nbytes(type) if type.narrow else None for type in (*inputs, *outputs)]
    written_over = {len(inputs) + out: slot for out, slot in inner.may_alias}
    copying = copying or partial(partial, rounding)

    def bind(*arrays: Array) -> Callable[[], None]:
        values, scratch = arrays[: len(copies)], arrays[-1]
        wide: list[Array] = []
        used = 0
        for place, (array, size) in enumerate(zip(values, copies, strict=True)):
            slot = written_over.get(place)
            if array is None or size is None:
                wide.append(array)
            elif slot is not None and copies[slot] == size:
                wide.append(wide[slot])
            else:
                wide.append(scratch[used : used + size].view(np.float32).reshape(array.shape))
                used += round_up(size)
        own = (scratch[used : used + inner.workspace],) if inner.workspace else ()
        pairs = [
            (array, copy) if size is not None and array is not None else None
            for array, copy, size in zip(values, wide, copies, strict=True)
        ]
        calls = [copying(copy, array) for array, copy in filter(None, pairs[: len(inputs)])]
        calls.append(inner.bind(*wide, *own))
        calls += [copying(array, copy) for array, copy in filter(None, pairs[len(inputs) :])]

        def run() -> None:
            for call in calls:
                call()

        return run

    return Composed(
        may_alias=inner.may_alias,
        workspace=sum(round_up(size) for size in copies if size) + inner.workspace,
        implementation=f"{inner.implementation or 'numpy'} in float32",
        binder=bind,
    )


KERNELS: Builders = {Cast: cast}
