"""Arena planning: which bytes each value occupies, from when it is made to when it is last read."""

from __future__ import annotations

from bisect import insort
from collections.abc import Sequence
from dataclasses import dataclass
from operator import itemgetter

ALIGNMENT = 64


@dataclass(frozen=True, slots=True)
class Lifetime:
    """A buffer of `nbytes`, needed from step `first` to step `last`, both included."""

    nbytes: int
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Plan:
    """The offset of every buffer, and the bytes of the whole arena."""

    offsets: tuple[int, ...]
    nbytes: int


def plan(lifetimes: Sequence[Lifetime]) -> Plan:
    """Place buffers so that those alive at the same time never overlap; largest first, best fit.

    Source: Pisarchyk & Lee, Efficient memory management for deep neural net inference, 2020
    (greedy by size).
    """
    offsets = [0] * len(lifetimes)
    # Those with a place: where they begin and end, and their lifetimes; in the order of places, so
    # that one pass finds the gaps.
    placed: list[tuple[int, int, int, int]] = []
    total = 0
    order = sorted(range(len(lifetimes)), key=lambda i: (-lifetimes[i].nbytes, lifetimes[i].first))
    for index in order:
        item = lifetimes[index]
        size, first, last = round_up(item.nbytes), item.first, item.last
        best, best_gap, end = None, None, 0
        for here, there, earliest, latest in placed:
            if earliest > last or latest < first:
                continue
            gap = here - end
            if gap >= size and (best_gap is None or gap < best_gap):
                best, best_gap = end, gap
            if there > end:
                end = there
        offset = offsets[index] = end if best is None else best
        total = max(total, offset + size)
        insort(placed, (offset, offset + size, first, last), key=itemgetter(0))
    return Plan(tuple(offsets), total)


def round_up(nbytes: int) -> int:
    """The next multiple of the alignment."""
    return -(-nbytes // ALIGNMENT) * ALIGNMENT
