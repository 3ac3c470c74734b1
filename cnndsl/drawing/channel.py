"""Routes lines through the space between two rows: at right angles, each on a track of its own."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import Final

from cnndsl.drawing.pieces import Link, Point

#: The space between rows, of which the arrowhead takes a part, and that between two tracks.
GAP: Final = 20.0
ABOVE: Final = 8.0
BELOW: Final = 14.0
TRACK: Final = 7.0

#: Lines this close to each other count as one.
NEAR: Final = 0.05


@dataclass(frozen=True)
class Crossing:
    """A line that enters the space at `start` above and leaves it at `end` below."""

    link: Link
    start: float
    end: float


@dataclass
class _Bus:
    """Lines that share a track, since they have the same source or the same target."""

    lines: list[Crossing]
    track: int = 0
    before: set[int] = field(default_factory=set)

    @property
    def low(self) -> float:
        return min(min(line.start, line.end) for line in self.lines)

    @property
    def high(self) -> float:
        return max(max(line.start, line.end) for line in self.lines)

    def touches(self, other: _Bus) -> bool:
        return self.low <= other.high + TRACK and other.low <= self.high + TRACK


def route(lines: Sequence[Crossing]) -> tuple[float, dict[Link, list[Point]]]:
    """How high the space is, and for each link its points (across, down) from top to bottom."""
    buses = _buses(lines)
    tracks = _choose_tracks(buses)
    height = max(GAP, ABOVE + TRACK * (tracks - 1) + BELOW) if tracks else GAP
    paths: dict[Link, list[Point]] = {}
    for bus in buses:
        down = ABOVE + TRACK * bus.track
        for line in bus.lines:
            middle = [(line.start, down), (line.end, down)]
            straight = abs(line.start - line.end) < NEAR
            inner = [] if straight else middle
            paths[line.link] = [(line.start, 0.0), *inner, (line.end, height)]
    return height, paths


def _buses(lines: Sequence[Crossing]) -> list[_Bus]:
    """Lines by source, and those whose source has no other by target."""
    by_source: dict[Hashable, list[Crossing]] = {}
    for line in lines:
        by_source.setdefault((line.link.value, round(line.start)), []).append(line)
    by_target: dict[Hashable, list[Crossing]] = {}
    buses = []
    for group in by_source.values():
        if len(group) > 1:
            buses.append(_Bus(group))
        else:
            key = (group[0].link.target, round(group[0].end))
            by_target.setdefault(key, []).append(group[0])
    return buses + [_Bus(group) for group in by_target.values()]


def _choose_tracks(buses: Sequence[_Bus]) -> int:
    """Give each bus a track that no other has where it runs; the number of tracks."""
    bent = [bus for bus in buses if any(abs(line.start - line.end) >= NEAR for line in bus.lines)]
    for bus in bent:
        for index, other in enumerate(bent):
            if other is not bus and _must_stand_below(bus, other):
                bus.before.add(index)
    placed: dict[int, _Bus] = {}
    waiting = list(range(len(bent)))
    while waiting:
        free = [index for index in waiting if bent[index].before <= placed.keys()]
        index = free[0] if free else waiting[0]
        waiting.remove(index)
        bus = bent[index]
        first = max((placed[i].track + 1 for i in bus.before if i in placed), default=0)
        taken = {other.track for other in placed.values() if other.touches(bus)}
        bus.track = next(t for t in range(first, first + len(bent) + 1) if t not in taken)
        placed[index] = bus
    return max((bus.track + 1 for bus in bent), default=0)


def _must_stand_below(bus: _Bus, other: _Bus) -> bool:
    """Whether a line of this bus goes down where one of the other comes from above."""
    return any(
        abs(line.end - another.start) < TRACK / 2
        for line in bus.lines
        for another in other.lines
        if abs(line.start - line.end) >= NEAR and abs(another.start - another.end) >= NEAR
    )
