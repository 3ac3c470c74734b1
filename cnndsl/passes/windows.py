"""Windows that rewrites put together: what `pad=` says of them, and what they read."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

from cnndsl.graph.op import Mismatch
from cnndsl.graph.types import Size, Type
from cnndsl.ops.conv import Conv
from cnndsl.ops.geometry import SAME, Padding
from cnndsl.ops.pool import AveragePool, MaxPool, Pool

Windowed = TypeVar("Windowed", bound=Conv | MaxPool | AveragePool)

#: From which to before which element of an axis something reads.
Span = tuple[int, int]


def padded(op: Windowed, x: Type, before: tuple[int, int], extent: Size) -> Windowed | None:
    """The operation on `x` with padding such that its first window starts `before` the map.

    How much padding follows the map is as much as it takes to leave `extent`. None if no `pad=`
    says so.
    """
    keeps: tuple[Padding, ...] = (None,) if isinstance(op, Conv) else ()
    for pad in (*keeps, before[0], SAME):
        candidate = replace(op, pad=pad)
        try:
            if candidate.extent(x) != extent:
                continue
        except Mismatch:
            continue
        (top, _), (left, _) = candidate.pads(x)
        if (top, left) == before:
            return candidate
    return None


def before(op: Conv | Pool, x: Type) -> tuple[int, int]:
    """How far the first window starts before the map, along height and width."""
    (top, _), (left, _) = op.pads(x)
    return top, left


def is_padded(op: Conv | Pool, x: Type) -> bool:
    """Whether any window of the operation on `x` may reach beyond the map."""
    return any(map(sum, op.pads(x)))


def spans(pool: Pool, x: Type) -> tuple[list[Span], list[Span]]:
    """What each window reads of the map, along height and width."""
    stride = pool.step()
    rows, columns = (
        [(max(0, i * stride - first), min(length, i * stride - first + size)) for i in range(count)]
        for length, size, first, count in zip(
            x.extent, pool.size(x), before(pool, x), pool.extent(x), strict=True
        )
    )
    return rows, columns
