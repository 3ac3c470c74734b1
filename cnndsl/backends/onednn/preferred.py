"""The layout that maps are best kept in: the one that convolutions ask for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from enum import Enum, auto
from functools import cache

from cnndsl.backends.onednn.api import Algorithm, Handle, Propagation, Query, engine, integers
from cnndsl.backends.onednn.memory import Layout, any_layout, by_blocks, canonical, layout_of
from cnndsl.backends.onednn.primitive import Description, attributes
from cnndsl.graph.analysis import multiply_adds
from cnndsl.graph.graph import Graph
from cnndsl.graph.types import Batch, Type
from cnndsl.ops.conv import Conv, ConvWeightGradient
from cnndsl.ops.epilogue import Epilogue

#: A map of fewer channels stays as it is: it has no whole block.
FEW_CHANNELS = 8
#: From so many on, the gradient of a convolution's weight is slow in the canonical layout.
MANY_CHANNELS = 128
#: Of how many channels, the harmonic mean of inputs and filters, a larger convolution than 1x1 is
#: so much slower in blocks of 8 that two reorders pay.
WIDE = 200
#: The part of a network's multiply-adds that pointwise and grouped convolutions have to have for
#: blocks of 8 to serve it.
SHARE = 0.1


class Manner(Enum):
    """Where maps are in blocks even of short registers (8 numbers): nowhere, everywhere, or
    everywhere but at wide convolutions."""

    CANONICAL = auto()
    BLOCKS = auto()
    MIXED = auto()


_manner: ContextVar[Manner] = ContextVar("manner", default=Manner.BLOCKS)


@contextmanager
def within(manner: Manner) -> Iterator[None]:
    """What is chosen within is chosen in a manner."""
    token = _manner.set(manner)
    try:
        yield
    finally:
        _manner.reset(token)


def manner_of(graph: Graph) -> Manner:
    """What serves a network, as was measured.

    Wide convolutions are faster in the canonical layout, pointwise and depthwise ones in blocks,
    and so are the gradients of the weights of many channels, by more.
    """
    maps = [graph.operands(node)[0].type for node in graph.of(ConvWeightGradient)]
    if maps:
        many = any(x.channels >= MANY_CHANNELS for x in maps)
        return Manner.BLOCKS if many else Manner.CANONICAL
    small = every = 0
    for node in graph.of(Conv, Epilogue):
        op, work = graph.op(node), multiply_adds(graph, node)
        conv = op.first if isinstance(op, Epilogue) else op
        if isinstance(conv, Conv):
            every += work
            small += work if conv.groups > 1 or conv.kernel == (1, 1) else 0
    return Manner.MIXED if small > SHARE * every else Manner.CANONICAL


def at(conv: Conv, x: Type) -> AbstractContextManager[None]:
    """The manner in which one convolution is done, where others are done in another."""
    mean = 2 / (1 / x.channels + 1 / conv.filters)
    wide = conv.groups == 1 and conv.kernel != (1, 1) and mean >= WIDE
    manner = _manner.get()
    return within(Manner.CANONICAL if wide and manner is Manner.MIXED else manner)


def block() -> int | None:
    """How many channels are to stand side by side; None for the canonical layout.

    With registers of 16 numbers (AVX-512) 16, with shorter ones 8 if they are wanted.
    """
    size = _library_block()
    return size if size == 16 or _manner.get() is not Manner.CANONICAL else None


def has_short_registers() -> bool:
    """Whether registers are of 8 numbers: AVX2."""
    return _library_block() == 8


@cache
def _library_block() -> int:
    """A register's worth of channels, 8 or 16: as the library blocks them if it is free to."""
    x = Type((Batch(1), 8, 8, 64))
    free, filters = any_layout(x), any_layout(Type((64, 64, 3, 3)))
    geometry = [integers(pair) for pair in ((1, 1), (0, 0), (1, 1), (1, 1))]
    way = engine(), Propagation.TRAINING, Algorithm.CONVOLUTION_DIRECT
    description = Description(
        "convolution_forward", *way, free, filters, None, free, *geometry, attributes()
    )
    layout = layout_of(description.layout(Query.RESULT), x)
    return 16 if layout is not None and layout.axes[1][-1][0] == 16 else 8


def preferred(type: Type) -> Layout | None:
    """Channels in blocks, where a map is made of whole ones; else the canonical layout."""
    size = block()
    return by_blocks(type, size) if size and blocked(type) else None


def blocked(type: Type) -> bool:
    """Whether a map is best kept in blocks and made of whole ones."""
    size = block()
    return size is not None and type.is_map and type.channels % size == 0


def common(types: Sequence[Type]) -> Layout | None:
    """The layout for values of one shape that meet: the first that is not the canonical one."""
    return next((type.layout for type in types if isinstance(type.layout, Layout)), None)


def wish(type: Type) -> Handle:
    """The descriptor to ask a primitive for: the preferred layout, or whichever it likes."""
    layout = preferred(type)
    if layout is not None:
        return layout.descriptor
    return any_layout(type) if block() else canonical(type)


def as_it_is(value: Type) -> bool:
    """Whether a map is to stay in the layout that it has."""
    return block() is None or value.layout is not None or value.channels < FEW_CHANNELS
