"""Draws a placed scene as SVG."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Final
from xml.sax.saxutils import escape, quoteattr

from cnndsl.drawing.layout import (
    CAPTION,
    STACK,
    TITLE,
    TITLE_LINE,
    Line,
    PlacedBox,
    PlacedFrame,
    Placement,
    place,
)
from cnndsl.drawing.lettering import short_number, width
from cnndsl.drawing.palette import FAINT, FRAME_LINE, FRAMES, INK, LINE, colours
from cnndsl.drawing.pieces import Point
from cnndsl.drawing.scene import Scene

MARGIN: Final = 16.0
HEADING: Final = 46.0
ROUNDING: Final = 6.0
ARROW: Final = 6.5
FONT: Final = "Helvetica, Arial, sans-serif"


def svg(scene: Scene, direction: str = "down") -> str:
    """The picture of a network: boxes, frames and lines under a heading."""
    placement = place(scene, direction)
    name = scene.root.words[0]
    facts = (
        f"input {scene.input}, {scene.parameters:,} parameters, "
        f"{short_number(scene.multiply_adds)} multiply-adds"
    )
    wide = max(placement.width, width(name, 16, bold=True), width(facts, 10)) + 2 * MARGIN
    high = placement.height + HEADING + MARGIN
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{wide:.0f}" height="{high:.0f}" '
        f'viewBox="0 0 {wide:.0f} {high:.0f}" font-family={quoteattr(FONT)} font-size="11">',
        f"<title>{escape(name)}</title>",
        '<rect width="100%" height="100%" fill="#ffffff"/>',
        _text(MARGIN, 24, name, 16, INK, bold=True),
        _text(MARGIN, 38, facts, 10, FAINT),
        f'<g transform="translate({(wide - placement.width) / 2:.1f},{HEADING:.1f})">',
        *_contents(placement),
        "</g>",
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def _contents(placement: Placement) -> Iterator[str]:
    for frame in placement.frames:
        yield from _frame(frame)
    yield f'<g fill="none" stroke="{LINE}" stroke-width="1.1">'
    for line in placement.lines:
        yield f'<path d="{path(line)}"/>'
    yield "</g>"
    yield f'<g fill="{LINE}">'
    for line in placement.lines:
        if line.arrow:
            yield f'<path d="{_arrowhead(line.points)}"/>'
    yield "</g>"
    for box in placement.boxes:
        yield from _box(box)


def _text(
    x: float, y: float, text: str, size: float, fill: str, bold: bool = False, middle: bool = False
) -> str:
    attributes = f'x="{x:.1f}" y="{y:.1f}" font-size="{size:g}" fill="{fill}"'
    attributes += ' font-weight="bold"' if bold else ""
    attributes += ' text-anchor="middle"' if middle else ""
    return f"<text {attributes}>{escape(text)}</text>"


def _frame(placed: PlacedFrame) -> Iterator[str]:
    fill = FRAMES[(placed.depth - 1) % len(FRAMES)]
    style = f'rx="7" fill="{fill}" stroke="{FRAME_LINE}"'
    size = f'width="{placed.width:.1f}" height="{placed.height:.1f}"'
    yield "<g>"
    yield f"<title>{escape(placed.frame.tooltip())}</title>"
    for back in range(min(placed.frame.times - 1, 2), -1, -1):
        x, y = placed.x + STACK * back, placed.y + STACK * back
        yield f'<rect x="{x:.1f}" y="{y:.1f}" {size} {style}/>'
    x, y = placed.x + 8, placed.y + TITLE_LINE
    yield _text(x, y, placed.frame.title, TITLE, INK, bold=True)
    if placed.frame.caption:
        yield _text(x, y + 11, placed.frame.caption, CAPTION, FAINT)
    yield "</g>"


def _box(placed: PlacedBox) -> Iterator[str]:
    fill, outline = colours(placed.box.family)
    yield "<g>"
    yield f"<title>{escape(placed.box.tooltip())}</title>"
    yield (
        f'<rect x="{placed.x:.1f}" y="{placed.y:.1f}" width="{placed.width:.1f}" '
        f'height="{placed.height:.1f}" rx="5" fill="{fill}" stroke="{outline}"/>'
    )
    middle = placed.x + placed.width / 2
    y = placed.y + (placed.height - sum(text.line for text in placed.texts)) / 2
    for text in placed.texts:
        y += text.line
        base = y - text.line * 0.27
        is_layer = text.role == "layer"
        colour = FAINT if text.role == "shape" else INK
        yield _text(middle, base, text.text, text.size, colour, bold=is_layer, middle=True)
    yield "</g>"


# Lines -------------------------------------------------------------------------------------------


def path(line: Line) -> str:
    """The line with round corners; it ends where its arrowhead begins."""
    points = list(line.points)
    if line.arrow:
        points[-1] = _before(points[-1], points[-2], ARROW - 1)
    words = [f"M{_at(points[0])}"]
    for before, corner, after in zip(points, points[1:], points[2:], strict=False):
        radius = min(ROUNDING, _length(before, corner) / 2, _length(corner, after) / 2)
        start, end = _before(corner, before, radius), _before(corner, after, radius)
        words += [f"L{_at(start)}", f"Q{_at(corner)} {_at(end)}"]
    words.append(f"L{_at(points[-1])}")
    return "".join(words)


def _arrowhead(points: Sequence[Point]) -> str:
    (x0, y0), (x, y) = points[-2], points[-1]
    length = math.hypot(x - x0, y - y0) or 1.0
    dx, dy = (x - x0) / length, (y - y0) / length
    side = ARROW * 0.42
    back = (x - dx * ARROW, y - dy * ARROW)
    left = (back[0] - dy * side, back[1] + dx * side)
    right = (back[0] + dy * side, back[1] - dx * side)
    return f"M{_at((x, y))}L{_at(left)}L{_at(right)}Z"


def _before(end: Point, start: Point, distance: float) -> Point:
    """The point at a distance from an end, on the way to a start."""
    length = _length(start, end) or 1.0
    share = min(1.0, distance / length)
    return end[0] + (start[0] - end[0]) * share, end[1] + (start[1] - end[1]) * share


def _length(a: Point, b: Point) -> float:
    return math.hypot(b[0] - a[0], b[1] - a[1])


def _at(point: Point) -> str:
    return f"{point[0]:.1f},{point[1]:.1f}"
