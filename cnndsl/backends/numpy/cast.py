"""Narrow element types: casts, and kernels that work on copies in float32 between casts."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, fields, replace
from functools import partial

import ml_dtypes  # noqa: F401  It makes "bfloat16" a type of NumPy's.
import numpy as np

from cnndsl.graph.op import Op
from cnndsl.graph.types import Type
from cnndsl.ops.cast import Cast
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
from cnndsl.runtime.kernel import Array, Builders, Kernel
from cnndsl.runtime.memory import round_up

#: What moves elements as they are, of whatever type.
MOVES = (Crop, Concat, Flatten, Identity, Pad, Shuffle, Slice, SliceGradient, Unflatten)


def cast(op: Cast, inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Kernel:
    return Kernel(lambda x, y: np.copyto(y, x, "same_kind"))


def wants_float32(op: Op, types: Iterable[Type]) -> bool:
    """Whether an operation is to be done on copies in float32."""
    return not isinstance(op, (Cast, *MOVES)) and any(type.narrow for type in types)


def widened(op: Op) -> Op:
    """The operation as it is for values that are not narrow: no type among its fields is."""
    values = {each.name: getattr(op, each.name) for each in fields(op)}  # type: ignore[arg-type]
    types = {name: t.widened for name, t in values.items() if isinstance(t, Type)}
    return replace(op, **types)  # type: ignore[type-var]


@dataclass(frozen=True)
class InFloat32(Kernel):
    """A kernel on float32 copies of what is narrow.

    `copies` are the bytes that the copy of each input and output takes, None of one that needs
    none; the inputs are the first `count`; `copying` gives what copies an array to another one.
    """

    inner: Kernel = field(kw_only=True)
    copies: tuple[int | None, ...] = field(kw_only=True)
    count: int = field(kw_only=True)
    copying: Callable[[Array, Array], Callable[[], None]] = field(kw_only=True)

    def bind(self, *arrays: Array) -> Callable[[], None]:
        values, scratch = arrays[: len(self.copies)], arrays[-1]
        written_over = {self.count + out: slot for out, slot in self.inner.may_alias}
        wide: list[Array] = []
        used = 0
        for place, (array, nbytes) in enumerate(zip(values, self.copies, strict=True)):
            slot = written_over.get(place)
            if array is None or nbytes is None:
                wide.append(array)
            elif slot is not None and self.copies[slot] == nbytes:
                wide.append(wide[slot])
            else:
                copy = scratch[used : used + nbytes].view(np.float32)
                wide.append(copy.reshape(array.shape))
                used += round_up(nbytes)
        own = (scratch[used : used + self.inner.workspace],) if self.inner.workspace else ()
        call = self.inner.bind(*wide, *own)
        copied = [
            None if nbytes is None or array is None else (array, copy)
            for array, copy, nbytes in zip(values, wide, self.copies, strict=True)
        ]
        before = [self.copying(copy, array) for array, copy in filter(None, copied[: self.count])]
        after = [self.copying(array, copy) for array, copy in filter(None, copied[self.count :])]
        calls = (*before, call, *after)

        def run() -> None:
            for each in calls:
                each()

        return run


def in_float32(
    inner: Kernel,
    inputs: tuple[Type, ...],
    outputs: tuple[Type, ...],
    nbytes: Callable[[Type], int] = lambda type: type.total_bytes,
    copying: Callable[[Array, Array], Callable[[], None]] | None = None,
) -> Kernel:
    """The kernel for narrow values, given the one for the same in float32.

    `nbytes` says what a value takes; `copying` gives what copies an array to another one.
    """
    types = (*inputs, *outputs)
    copies = tuple(2 * nbytes(type) if type.narrow else None for type in types)
    return InFloat32(
        _bound,
        inner.may_alias,
        sum(round_up(each) for each in copies if each) + inner.workspace,
        f"{inner.implementation or 'numpy'} in float32",
        inner=inner,
        copies=copies,
        count=len(inputs),
        copying=copying or partial(partial, np.copyto),
    )


def _bound(*arrays: Array) -> None:
    raise TypeError("the kernel is bound to its arrays before it is executed")


KERNELS: Builders = {Cast: cast}
