"""The layout that maps are best kept in: the one that convolutions ask for."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from cnndsl.backends.onednn.api import Algorithm, Handle, Propagation, Query, engine, integers
from cnndsl.backends.onednn.memory import Layout, any_layout, by_blocks, layout_of, sizes
from cnndsl.backends.onednn.primitive import Description, attributes
from cnndsl.graph.types import Batch, Type


@cache
def block() -> int:
    """How many channels stand side by side: a register's worth, 8 or 16."""
    x = Type((Batch(1), 8, 8, 64))
    free = any_layout((1, 64, 8, 8))
    geometry = [integers(pair) for pair in ((1, 1), (0, 0), (1, 1), (1, 1))]
    way = engine(), Propagation.TRAINING, Algorithm.CONVOLUTION_DIRECT
    filters = any_layout((64, 64, 3, 3))
    description = Description(
        "convolution_forward", *way, free, filters, None, free, *geometry, attributes()
    )
    layout = layout_of(description.layout(Query.RESULT), x)
    inner = layout.axes[1][-1][0] if layout is not None and len(layout.axes[1]) > 1 else 0
    return inner if inner in (8, 16) else 8


def preferred(type: Type) -> Layout | None:
    """Channels in blocks, where a map is made of whole ones; else the canonical layout."""
    return by_blocks(type, block())


def blocked(type: Type) -> bool:
    """Whether a map is made of whole blocks of channels."""
    return type.is_map and type.channels % block() == 0


def common(types: Sequence[Type]) -> Layout | None:
    """The layout for values of one shape that meet: the first that is not the canonical one."""
    return next((type.layout for type in types if isinstance(type.layout, Layout)), None)


def wish(type: Type) -> Handle:
    """The descriptor to ask a primitive for: the preferred layout, or whichever it likes."""
    layout = preferred(type)
    return layout.descriptor if layout is not None else any_layout(sizes(type))
