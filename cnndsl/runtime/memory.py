"""Arena planning: which bytes each value occupies, from when it is made to when it is last read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

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
    placed: list[int] = []
    total = 0
    order = sorted(range(len(lifetimes)), key=lambda i: (-lifetimes[i].nbytes, lifetimes[i].first))
    for index in order:
        item = lifetimes[index]
        size = round_up(item.nbytes)
        best, best_gap, end = None, None, 0
        for other in placed:
            there = lifetimes[other]
            if there.first > item.last or there.last < item.first:
                continue
            gap = offsets[other] - end
            if gap >= size and (best_gap is None or gap < best_gap):
                best, best_gap = end, gap
            end = max(end, offsets[other] + round_up(there.nbytes))
        offsets[index] = end if best is None else best
        total = max(total, offsets[index] + size)
        # `placed` stays in the order of offsets, so that one pass finds the gaps.
        position = next(
            (i for i, other in enumerate(placed) if offsets[other] > offsets[index]), len(placed)
        )
        placed.insert(position, index)
    return Plan(tuple(offsets), total)


def round_up(nbytes: int) -> int:
    """The next multiple of the alignment."""
    return -(-nbytes // ALIGNMENT) * ALIGNMENT
