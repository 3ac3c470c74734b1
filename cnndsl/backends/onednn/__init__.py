"""The CPU engine: oneDNN's primitives on one planned arena, in the layouts that they like best."""

from __future__ import annotations

from collections.abc import Collection, Hashable
from contextlib import nullcontext
from dataclasses import replace
from functools import cache, partial
from typing import Any

import numpy as np

from cnndsl.backends import numpy
from cnndsl.backends.onednn import (
    activation,
    conv,
    copying,
    dense,
    epilogue,
    images,
    library,
    merge,
    narrow,
    norm,
    optimizer,
    pool,
    preferred,
    response,
    scaling,
    shape,
    winograd,
)
from cnndsl.backends.onednn.api import Failure, Handle
from cnndsl.backends.onednn.memory import Layout, Transformed, canonical, nbytes_of_value
from cnndsl.backends.onednn.preferred import Manner
from cnndsl.backends.onednn.primitive import Choice, Choosers, is_slow
from cnndsl.backends.onednn.reference import reference
from cnndsl.graph.graph import Graph
from cnndsl.graph.op import Op, View
from cnndsl.graph.types import ITEM_BYTES, Type
from cnndsl.passes import FUSIONS
from cnndsl.runtime.kernel import Array, Kernel, Layouts, in_one_piece

FAMILIES = (
    activation,
    conv,
    dense,
    epilogue,
    merge,
    norm,
    optimizer,
    pool,
    response,
    scaling,
    shape,
)

CHOOSERS: Choosers = {
    kind: chooser for family in FAMILIES for kind, chooser in family.CHOOSERS.items()
}


@cache
def _choice(
    op: Op,
    inputs: tuple[Type, ...],
    outputs: tuple[Type, ...],
    manner: Manner,
    between_casts: bool = False,
) -> Choice:
    types = (*inputs, *outputs)
    double = any(type.dtype == "float64" for type in types)
    chooser = reference if double else CHOOSERS.get(type(op), reference)
    if chooser is not reference and not all(narrow.is_native(type) for type in types):
        choose = partial(_choice, manner=manner, between_casts=True)
        return narrow.between_casts(op, inputs, outputs, choose)
    try:
        # What is rounded to bfloat16 is not transformed: that would magnify the rounding.
        exact = winograd.none() if between_casts else nullcontext()
        with preferred.within(manner), exact:
            choice = chooser(op, inputs, outputs)
    except Failure:
        return reference(op, inputs, outputs)
    return reference(op, inputs, outputs) if is_slow(choice.implementation) else choice


@cache
def _kernel(op: Op, inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Kernel:
    plain = tuple(replace(type, layout=None) for type in outputs)
    given = tuple(type.layout for type in inputs), tuple(type.layout for type in outputs)
    for manner in Manner:
        choice = _choice(op, inputs, plain, manner)
        if given == (choice.inputs, choice.outputs):
            with preferred.within(manner):
                return choice.make(inputs, outputs)
    raise ValueError(f"`{op.name}` was not to be in the layouts {given}")


class Engine(numpy.Engine):
    """Arrays are NumPy's: in the canonical layout as they are, in another one flat."""

    name = "onednn"
    fusions = FUSIONS
    strides = False
    spared = 0.03
    prepares = False

    def unavailable(self) -> str | None:
        try:
            library.load()
        except library.Unavailable as reason:
            return str(reason)
        return None

    def use_threads(self, count: int) -> None:
        """Kernels of another number of threads are other ones."""
        library.set_threads(count)
        _choice.cache_clear()
        _kernel.cache_clear()

    def threads(self) -> int:
        return library.threads()

    def kernel(self, op: Op, inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Kernel:
        if any(images.are_apart(type) for type in (*inputs, *outputs)):
            return images.one_by_one(op, inputs, outputs, _kernel)
        return _kernel(op, inputs, outputs)

    def manner(self, graph: Graph) -> Hashable:
        """Where maps are in blocks even of short registers."""
        return preferred.manner_of(graph)

    def layouts(
        self, op: Op, inputs: tuple[Type, ...], outputs: tuple[Type, ...], manner: Hashable
    ) -> Layouts:
        """What the operation wants, and then wants of what is as it wanted."""
        assert isinstance(manner, Manner)
        plain = tuple(replace(type, layout=None) for type in outputs)
        choice = _choice(op, inputs, plain, manner)
        for _ in range(3):
            wanted = zip(inputs, choice.inputs, strict=True)
            inputs = tuple(replace(type, layout=layout) for type, layout in wanted)
            choice = _choice(op, inputs, plain, manner)
            if choice.inputs == tuple(type.layout for type in inputs):
                return choice.inputs, choice.outputs
        raise ValueError(
            f"`{op.name}` of {', '.join(map(str, inputs))} does not know what it wants"
        )

    def keeps(self, layout: Hashable | None) -> bool:
        return not isinstance(layout, Transformed)

    def nbytes(self, type: Type) -> int:
        return nbytes_of_value(type)

    def part(
        self, whole: Type, part: Type, index: View, writer: Op, readers: Collection[Op]
    ) -> tuple[View, Type] | None:
        """A part in one piece: in the canonical layout of the first axis, in blocks of channels.

        Of several images it is in one piece each, for who works by the image.
        """
        if whole.layout is None and part.layout is None:
            return (index, part) if in_one_piece(index) else None
        *others, channels = index
        maps = whole.is_map and part.is_map and len(index) == len(whole.concrete())
        if not maps or any(each != slice(None) for each in others):
            return None
        if not isinstance(whole.layout, Layout) or not isinstance(channels, slice):
            return None
        place = whole.layout.part(part, channels.start or 0)
        if place is None:
            return None
        start, there = place
        by_image = images.are_written_by(writer) and all(map(images.are_read_by, readers))
        if images.are_apart(there) and not by_image:
            return None
        length = there.layout.span if isinstance(there.layout, Layout) else there.elements
        return (slice(start, start + length),), there

    def view(self, buffer: Array, offset: int, type: Type) -> Array:
        if not isinstance(type.layout, Layout | Transformed):
            return super().view(buffer, offset, type)
        part = buffer[offset : offset + type.layout.nbytes]
        return part.view(type.dtype) if part.nbytes % ITEM_BYTES[type.dtype] == 0 else part

    def upload(self, target: Array, type: Type, source: Any) -> None:
        if not isinstance(type.layout, Layout):
            super().upload(target, type, source)
            return
        source = np.ascontiguousarray(source, type.dtype)
        if source.shape != type.concrete():
            wanted = type.concrete()
            raise ValueError(f"an array of shape {wanted} is wanted, this is {source.shape}")
        copying.copy_array(source, _canonical(type), target, type.layout.descriptor)

    def download(self, source: Array, type: Type) -> Any:
        if not isinstance(type.layout, Layout):
            return super().download(source, type)
        target = np.empty(type.concrete(), type.dtype)
        copying.copy_array(source, type.layout.descriptor, target, _canonical(type))
        return target


def _canonical(type: Type) -> Handle:
    """The canonical descriptor of the value of a type in some layout."""
    assert isinstance(type.layout, Layout)
    return canonical(replace(type, layout=None), type.layout.extents)
