"""What moves elements: from one layout to another, and some of the channels."""

from __future__ import annotations

from collections.abc import Callable

from cnndsl.backends.onednn import winograd
from cnndsl.backends.onednn.api import Argument, Handle
from cnndsl.backends.onednn.copying import copy
from cnndsl.backends.onednn.memory import Layout, Transformed, descriptor, part_of, sizes
from cnndsl.backends.onednn.preferred import block, blocked, preferred
from cnndsl.backends.onednn.primitive import (
    Choice,
    Choosers,
    kernel,
)
from cnndsl.graph.leaves import Reorder
from cnndsl.graph.types import Type
from cnndsl.ops.shape import Identity, Slice, SliceGradient
from cnndsl.runtime.kernel import Array, Composed, Kernel


def reorder(op: Reorder, inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Choice:
    if isinstance(op.layout, Transformed):
        return winograd.reorder(op.layout, inputs, outputs)
    layouts = (inputs[0].layout,), (op.layout,)

    def make(inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Kernel:
        layouts = (t.layout for t in (*inputs, *outputs))
        extents = next((each.extents for each in layouts if isinstance(each, Layout)), None)
        source, target = (descriptor(t, extents) for t in (inputs[0], outputs[0]))
        roles = (Argument.SOURCE, source), (Argument.RESULT, target)
        return kernel(copy(source, target), *roles)

    return Choice(*layouts, make)


def identity(op: Identity, inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Choice:
    return reorder(Reorder(inputs[0].layout), inputs, outputs)


def _in_blocks(channels: range, type: Type) -> bool:
    """Whether some channels are whole blocks of a map in blocks."""
    size = block()
    ends = (channels.start, channels.stop)
    return size is not None and blocked(type) and all(end % size == 0 for end in ends)


def cut(op: Slice, inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Choice:
    (x,) = inputs
    blocks = _in_blocks(op.channels, x)
    layouts = (preferred(x), preferred(outputs[0])) if blocks else (None, None)

    def make(inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Kernel:
        part = _part(descriptor(inputs[0]), op.channels, outputs[0])
        target = descriptor(outputs[0])
        return kernel(copy(part, target), (Argument.SOURCE, part), (Argument.RESULT, target))

    return Choice(layouts[:1], layouts[1:], make)


def gradient(op: SliceGradient, inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Choice:
    (dx,) = outputs
    blocks = _in_blocks(op.channels, dx)
    layouts = (preferred(inputs[0]), preferred(dx)) if blocks else (None, None)

    def make(inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Kernel:
        source, part = descriptor(inputs[0]), _part(descriptor(outputs[0]), op.channels, inputs[0])
        copied = kernel(copy(source, part), (Argument.SOURCE, source), (Argument.RESULT, part))

        def bind(dy: Array, dx: Array, *scratch: Array) -> Callable[[], None]:
            call = copied.bind(dy, dx, *scratch)

            def run() -> None:
                dx.fill(0)
                call()

            return run

        return Composed(
            workspace=copied.workspace, implementation=copied.implementation, binder=bind
        )

    return Choice(layouts[:1], layouts[1:], make)


def _part(whole: Handle, channels: range, type: Type) -> Handle:
    extents = sizes(type)
    return part_of(whole, extents, [0, channels.start, *[0] * (len(extents) - 2)])


CHOOSERS: Choosers = {Reorder: reorder, Identity: identity, Slice: cut, SliceGradient: gradient}
