"""Finds what a drawing must not have: overlaps, lines through boxes, edges that are lost."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from cnndsl.drawing.layout import Line, PlacedBox, PlacedFrame, Placement
from cnndsl.drawing.pieces import Point
from cnndsl.drawing.scene import Scene

Rectangle = tuple[float, float, float, float]
NEAR = 0.2


def rectangle(placed: PlacedBox | PlacedFrame, shrink: float = 0.0) -> Rectangle:
    """Left, right, top, bottom."""
    return (
        placed.x + shrink,
        placed.x + placed.width - shrink,
        placed.y + shrink,
        placed.y + placed.height - shrink,
    )


def overlap(a: Rectangle, b: Rectangle) -> bool:
    return a[0] < b[1] and b[0] < a[1] and a[2] < b[3] and b[2] < a[3]


def within(a: Rectangle, b: Rectangle) -> bool:
    return b[0] <= a[0] and a[1] <= b[1] and b[2] <= a[2] and a[3] <= b[3]


def segments(line: Line) -> Iterator[Rectangle]:
    for (x, y), (x2, y2) in pairwise(line.points):
        yield min(x, x2), max(x, x2), min(y, y2), max(y, y2)


def faults(scene: Scene, placement: Placement) -> list[str]:
    """What is wrong with a drawing, in words."""
    return [
        *_overlaps(placement),
        *_outside(placement),
        *_through_boxes(placement),
        *_through_frames(scene, placement),
        *_lost(scene, placement),
    ]


def _overlaps(placement: Placement) -> Iterator[str]:
    boxes = placement.boxes
    for index, one in enumerate(boxes):
        for other in boxes[index + 1 :]:
            if overlap(rectangle(one), rectangle(other)):
                yield f"{one.box.names} and {other.box.names} overlap"
    for index, frame in enumerate(placement.frames):
        inside = set(frame.frame.boxes())
        for placed in boxes:
            if placed.box in inside and not within(rectangle(placed), rectangle(frame)):
                yield f"{placed.box.names} sticks out of {frame.frame.title}"
            if placed.box not in inside and overlap(rectangle(placed), rectangle(frame)):
                yield f"{placed.box.names} overlaps {frame.frame.title}"
        for other in placement.frames[index + 1 :]:
            nested = within(rectangle(other), rectangle(frame))
            if overlap(rectangle(frame), rectangle(other)) and not nested:
                yield f"{frame.frame.title} and {other.frame.title} overlap"


def _outside(placement: Placement) -> Iterator[str]:
    page = (-NEAR, placement.width + NEAR, -NEAR, placement.height + NEAR)
    for placed in (*placement.boxes, *placement.frames):
        if not within(rectangle(placed), page):
            yield f"something lies outside the page: {rectangle(placed)}"
    for line in placement.lines:
        if not all(within(segment, page) for segment in segments(line)):
            yield f"a line of {line.value.names} leaves the page"


def _through_boxes(placement: Placement) -> Iterator[str]:
    for line in placement.lines:
        for x, x2, y, y2 in segments(line):
            if x2 - x > NEAR and y2 - y > NEAR:
                yield f"a line of {line.value.names} is not at right angles"
            for placed in placement.boxes:
                if overlap((x, x2 + 0.01, y, y2 + 0.01), rectangle(placed, 0.5)):
                    yield f"a line of {line.value.names} runs through {placed.box.names}"


def _through_frames(scene: Scene, placement: Placement) -> Iterator[str]:
    for frame in placement.frames:
        inside = set(frame.frame.boxes())
        concerned = {e.source for e in scene.edges if {e.source, e.target} & inside}
        for line in placement.lines:
            if line.value not in concerned and any(
                overlap((x, x2 + 0.01, y, y2 + 0.01), rectangle(frame, 0.5))
                for x, x2, y, y2 in segments(line)
            ):
                yield f"a line of {line.value.names} runs through {frame.frame.title}"


def _lost(scene: Scene, placement: Placement) -> Iterator[str]:
    at = {placed.box: rectangle(placed) for placed in placement.boxes}
    for source in {edge.source for edge in scene.edges}:
        lines = [line for line in placement.lines if line.value is source]
        reached = _reached(at[source], lines)
        for edge in scene.edges:
            if edge.source is source and not any(
                line.arrow and _touches(line.points[-1], at[edge.target]) for line in reached
            ):
                yield f"no line leads from {source.names} to {edge.target.names}"


def _reached(start: Rectangle, lines: list[Line]) -> list[Line]:
    """The lines that begin at a box, or where another such line ends."""
    reached: list[Line] = []
    waiting = list(lines)
    while True:
        ends = [line.points[-1] for line in reached]
        more = [
            line
            for line in waiting
            if _touches(line.points[0], start) or any(_same(line.points[0], end) for end in ends)
        ]
        if not more:
            return reached
        reached += more
        waiting = [line for line in waiting if line not in more]


def _same(a: Point, b: Point) -> bool:
    return abs(a[0] - b[0]) < NEAR and abs(a[1] - b[1]) < NEAR


def _touches(point: Point, area: Rectangle) -> bool:
    """Whether a point lies on the border of a rectangle."""
    x, y = point
    inside = area[0] - NEAR <= x <= area[1] + NEAR and area[2] - NEAR <= y <= area[3] + NEAR
    distance = min(abs(x - area[0]), abs(x - area[1]), abs(y - area[2]), abs(y - area[3]))
    return inside and distance < NEAR


def ambiguous(placement: Placement) -> list[str]:
    """Where two values' lines run on top of each other though they lead to different places."""
    found = []
    pieces = [(line, s) for line in placement.lines for s in segments(line)]
    for index, (one, a) in enumerate(pieces):
        for other, b in pieces[index + 1 :]:
            if one.value is other.value or _same(one.points[-1], other.points[-1]):
                continue
            level = a[3] - a[2] < NEAR and b[3] - b[2] < NEAR and abs(a[2] - b[2]) < NEAR
            upright = a[1] - a[0] < NEAR and b[1] - b[0] < NEAR and abs(a[0] - b[0]) < NEAR
            shared = min(a[1], b[1]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[2], b[2])
            if (level and shared[0] > 1) or (upright and shared[1] > 1):
                found.append(f"lines of {one.value.names} and {other.value.names} run together")
    return found
