"""Narrow types: bfloat16 is the library's own where the processor has it; else float32 between
casts."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace
from functools import cache

from cnndsl.backends.numpy.cast import in_float32, widened
from cnndsl.backends.onednn import parallel
from cnndsl.backends.onednn.api import Algorithm, Failure, Propagation, engine, integers
from cnndsl.backends.onednn.memory import Layout, any_layout, nbytes_of_value
from cnndsl.backends.onednn.primitive import Choice, Description, attributes
from cnndsl.graph.leaves import Reorder
from cnndsl.graph.op import Op
from cnndsl.graph.types import Batch, Type
from cnndsl.runtime.kernel import Kernel


def is_native(type: Type) -> bool:
    """Whether the library is to work on a value as it is."""
    return not type.narrow or (type.dtype == "bfloat16" and _has_bfloat16())


@cache
def _has_bfloat16() -> bool:
    """Whether the library has convolutions in bfloat16 on this processor: those with AVX-512."""
    x = any_layout(Type((Batch(1), 8, 8, 32), "bfloat16"))
    weight = any_layout(Type((32, 32, 1, 1), "bfloat16"))
    geometry = [integers(pair) for pair in ((1, 1), (0, 0), (0, 0), (0, 0))]
    way = engine(), Propagation.TRAINING, Algorithm.CONVOLUTION_DIRECT
    try:
        Description("convolution_forward", *way, x, weight, None, x, *geometry, attributes())
    except Failure:
        return False
    return True


def between_casts(
    op: Op,
    inputs: tuple[Type, ...],
    outputs: tuple[Type, ...],
    choose: Callable[[Op, tuple[Type, ...], tuple[Type, ...]], Choice],
) -> Choice:
    """How an operation is done on float32 copies, given how one in float32 is chosen.

    A layout keeps the descriptor of its float32 twin, for nothing else is asked of the library.
    """
    wide = Reorder(_wide(op.layout)) if isinstance(op, Reorder) else widened(op)
    choice = choose(wide, _wide_types(inputs), _wide_types(outputs))

    def make(inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Kernel:
        inner = choice.make(_wide_types(inputs), _wide_types(outputs))
        return in_float32(inner, inputs, outputs, nbytes_of_value, parallel.copying)

    return Choice(
        _layouts(choice.inputs, inputs),
        _layouts(choice.outputs, outputs),
        make,
        choice.implementation,
    )


def _layouts(
    layouts: Sequence[Hashable | None], types: Sequence[Type]
) -> tuple[Hashable | None, ...]:
    """What float32 values are laid out in, for values of types of which some are narrow."""
    pairs = zip(layouts, types, strict=True)
    return tuple(_narrow(layout) if type.narrow else layout for layout, type in pairs)


def _wide_types(types: tuple[Type, ...]) -> tuple[Type, ...]:
    """The types in float32, laid out alike."""
    return tuple(replace(t.widened, layout=_wide(t.layout)) if t.narrow else t for t in types)


def _wide(layout: Hashable | None) -> Hashable | None:
    """The layout of float32 values whose narrow ones have a layout."""
    return replace(layout, nbytes=2 * layout.nbytes) if isinstance(layout, Layout) else layout


def _narrow(layout: Hashable | None) -> Hashable | None:
    return replace(layout, nbytes=layout.nbytes // 2) if isinstance(layout, Layout) else layout
