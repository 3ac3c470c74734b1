"""Places a scene: every frame laid out alone, then put as one item into the frame around it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from cnndsl.drawing.arrange import arrange
from cnndsl.drawing.lettering import width, wrap
from cnndsl.drawing.pieces import Item, Key, Link, Piece, Point, Wire
from cnndsl.drawing.scene import Box, Frame, Scene

#: Font sizes and line heights: of a layer, of what follows it in its box, of its shape.
LAYER, LAYER_LINE = 11.0, 14.0
FOLLOWER, FOLLOWER_LINE = 9.5, 12.0
SHAPE, SHAPE_LINE = 9.0, 11.5
TITLE, TITLE_LINE = 10.5, 13.0
CAPTION, CAPTION_LINE = 8.5, 11.0

WIDEST_TEXT: Final = 170.0
BOX_SIDE: Final = 10.0
BOX_TOP: Final = 4.0
BOX_STEP: Final = 16.0
NARROWEST_BOX: Final = 80.0
FRAME_SIDE: Final = 12.0
FRAME_END: Final = 12.0

#: How far the outlines behind a frame that stands for several look out.
STACK: Final = 4.0


@dataclass(frozen=True)
class Text:
    """A line of text in a box: its baseline and middle are chosen when it is drawn."""

    text: str
    size: float
    line: float
    role: str


@dataclass(frozen=True)
class PlacedBox:
    """A box at its place."""

    box: Box
    x: float
    y: float
    width: float
    height: float
    texts: tuple[Text, ...]


@dataclass(frozen=True)
class PlacedFrame:
    """A frame at its place; `depth` counts the frames around it."""

    frame: Frame
    x: float
    y: float
    width: float
    height: float
    depth: int


@dataclass(frozen=True)
class Line:
    """A line at its place, from the box `value`, with an arrowhead if it ends at a box."""

    value: Box
    points: tuple[Point, ...]
    arrow: bool


@dataclass
class Placement:
    """Everything at its place; frames stand before what is in them."""

    width: float = 0.0
    height: float = 0.0
    boxes: list[PlacedBox] = field(default_factory=list)
    frames: list[PlacedFrame] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)


@dataclass
class _Inside:
    """What a frame's item holds: the frame, its own size, and its piece with the piece's place."""

    frame: Frame
    across: float
    along: float
    piece: Piece
    at: Point


def box_texts(box: Box) -> tuple[Text, ...]:
    """The lines of a box: the layer, what follows it, the shape; those too wide are broken."""
    first, *further = box.label
    texts = [Text(t, LAYER, LAYER_LINE, "layer") for t in wrap(first, LAYER, WIDEST_TEXT)]
    for row in further:
        if row == box.shape:
            texts.append(Text(row, SHAPE, SHAPE_LINE, "shape"))
        else:
            followers = wrap(row, FOLLOWER, WIDEST_TEXT)
            texts += [Text(t, FOLLOWER, FOLLOWER_LINE, "follower") for t in followers]
    return tuple(texts)


def place(scene: Scene, direction: str = "down") -> Placement:
    """A scene's boxes, frames and lines at their places; the flow goes `down` or to the `right`."""
    layout = _Layout(scene, direction == "right")
    inside = layout.inside(scene.root, 0)
    placement = Placement()
    layout.flatten(inside, (0.0, 0.0), 0, placement)
    size = (inside.across, inside.along)
    placement.width, placement.height = layout.on_page(size)
    return placement


class _Layout:
    def __init__(self, scene: Scene, to_the_right: bool) -> None:
        self.to_the_right = to_the_right
        self.path_of: dict[Box, list[Frame]] = {}
        self._find_paths(scene.root, [])
        self.edges_in: dict[Frame, list[tuple[Box, Box]]] = {}
        for edge in scene.edges:
            around = {*self.path_of[edge.source], *self.path_of[edge.target]}
            for frame in around:
                self.edges_in.setdefault(frame, []).append((edge.source, edge.target))

    def _find_paths(self, frame: Frame, around: list[Frame]) -> None:
        inner = [*around, frame]
        for child in frame.children:
            if isinstance(child, Box):
                self.path_of[child] = inner
            else:
                self._find_paths(child, inner)

    def on_page(self, point: Point) -> Point:
        """(across, along) as (x, y), and the other way round."""
        return (point[1], point[0]) if self.to_the_right else point

    # Frames --------------------------------------------------------------------------------------

    def inside(self, frame: Frame, depth: int) -> _Inside:
        """Lay out a frame by itself."""
        items: dict[Key, Item] = {}
        child_of: dict[Box, Key] = {}
        for child in frame.children:
            if isinstance(child, Box):
                items[child] = self._box_item(child)
                child_of[child] = child
            else:
                items[child] = self._frame_item(child, depth + 1)
                child_of.update(dict.fromkeys(child.boxes(), child))
        ports, links = self._links(frame, child_of)
        items.update(ports)
        piece = arrange([*ports, *frame.children], links, items) if frame.children else Piece()
        return self._framed(frame, piece, depth)

    def _links(self, frame: Frame, child_of: dict[Box, Key]) -> tuple[dict[Key, Item], list[Link]]:
        """The points where values enter, and the lines between children and to the outside."""
        ports: dict[Key, Item] = {}
        links: list[Link] = []
        seen: set[tuple[Key, Key, Box]] = set()
        for source, target in self.edges_in.get(frame, []):
            start, stop = child_of.get(source), child_of.get(target)
            if start is None:
                start = ("enters", source)
                ports.setdefault(start, Item(start, 0.0, 0.0, 0.0))
            elif start == stop:
                continue
            repeats = (start, stop, source) in seen
            if repeats and (stop is None or not isinstance(stop, Box)):
                continue
            seen.add((start, stop, source))
            links.append(Link(start, stop, source))
        return ports, links

    def _framed(self, frame: Frame, piece: Piece, depth: int) -> _Inside:
        """A piece within the border of its frame, which leaves room for its title."""
        low, high = piece.extent()
        if depth == 0:
            return _Inside(frame, high - low, piece.length, piece, (-low, 0.0))
        title = self._title_size(frame)
        before, after = low - FRAME_SIDE, high + FRAME_SIDE
        begin, end = title[1] - 2.0, FRAME_END
        if self.to_the_right:
            before -= title[1]
            begin = FRAME_END
            along = max(begin + piece.length + end, title[0] + 2 * FRAME_SIDE)
        else:
            # The title stands left of the first line that enters.
            entering = [x for item, x, _ in piece.items if item.content is None]
            before = min(before, min(entering, default=after) - title[0] - FRAME_SIDE)
            along = begin + piece.length + end
        return _Inside(frame, after - before, along, piece, (-before, begin))

    def _title_size(self, frame: Frame) -> tuple[float, float]:
        text = frame.caption
        across = max(width(frame.title, TITLE, bold=True), width(text, CAPTION))
        return across, TITLE_LINE + (CAPTION_LINE if text else 0.0)

    # Items ---------------------------------------------------------------------------------------

    def _box_item(self, box: Box) -> Item:
        texts = box_texts(box)
        across = max(width(t.text, t.size, t.role == "layer") for t in texts)
        steps = math.ceil((across + 2 * BOX_SIDE) / BOX_STEP)
        height = 2 * math.ceil(sum(t.line for t in texts) / 2 + BOX_TOP)
        size = (max(steps * BOX_STEP, NARROWEST_BOX), height)
        across, along = self.on_page(size)
        return Item(box, across, along, across / 2, texts, is_box=True, weight=1)

    def _frame_item(self, frame: Frame, depth: int) -> Item:
        inside = self.inside(frame, depth)
        stack = STACK * min(frame.times - 1, 2)
        shift = inside.at[0]
        ins = {i.key[1]: x for i, x, _ in inside.piece.items if i.content is None}  # type: ignore[index]
        outs = {end.link.value: end.across for end in inside.piece.exits}
        through = list(ins.values()) if len(ins) == 1 else list(outs.values())
        axis = through[0] if len(through) == 1 else 0.0
        return Item(
            frame,
            inside.across + stack,
            inside.along + stack,
            shift + axis,
            inside,
            weight=sum(1 for _ in frame.boxes()),
            ins={value: x - axis for value, x in ins.items()},
            outs={value: x - axis for value, x in outs.items()},
        )

    # The page ------------------------------------------------------------------------------------

    def flatten(self, inside: _Inside, at: Point, depth: int, placement: Placement) -> None:
        """Put a frame's contents on the page; `at` is the frame's corner (across, along)."""
        if depth:
            (x, y), (w, h) = self.on_page(at), self.on_page((inside.across, inside.along))
            placement.frames.append(PlacedFrame(inside.frame, x, y, w, h, depth))
        across, along = at[0] + inside.at[0], at[1] + inside.at[1]
        for item, x, y in inside.piece.items:
            corner = (across + x - item.axis, along + y)
            if isinstance(item.content, _Inside):
                self.flatten(item.content, corner, depth + 1, placement)
            elif item.is_box:
                (px, py), (w, h) = self.on_page(corner), self.on_page((item.across, item.along))
                assert isinstance(item.key, Box)
                placement.boxes.append(PlacedBox(item.key, px, py, w, h, item.content))
        stack = STACK * min(inside.frame.times - 1, 2)
        for wire in self._through_border(inside, along - at[1], inside.along + stack):
            points = [self.on_page((x + across, y + along)) for x, y in wire.points]
            assert isinstance(wire.link.value, Box)
            placement.lines.append(Line(wire.link.value, tuple(_simplified(points)), wire.arrow))

    def _through_border(self, inside: _Inside, begin: float, end: float) -> list[Wire]:
        """A frame's lines, each in one part, those that enter or leave up to the border."""
        piece = inside.piece
        ports = {item.key: x for item, x, _ in piece.items if item.content is None}
        parts: dict[Link, list[Wire]] = {}
        for wire in piece.wires:
            parts.setdefault(wire.link, []).append(wire)
        for link in parts:
            if link.source in ports:
                x = ports[link.source]
                parts[link].insert(0, Wire(link, [(x, -begin), (x, 0.0)]))
        for exit in piece.exits:
            x = exit.across
            parts.setdefault(exit.link, []).append(
                Wire(exit.link, [(x, piece.length), (x, end - begin)])
            )
        return [_joined(wires) for wires in parts.values()]


def _joined(wires: Sequence[Wire]) -> Wire:
    """The parts of one line as one."""
    ordered = sorted(wires, key=lambda wire: (wire.points[0][1], wire.points[-1][1]))
    points = [point for wire in ordered for point in wire.points]
    return Wire(ordered[0].link, points, any(wire.arrow for wire in ordered))


def _simplified(points: Sequence[Point]) -> list[Point]:
    """The points without those between two on one straight line."""
    kept: list[Point] = []
    for x, y in points:
        if kept and abs(kept[-1][0] - x) < 0.01 and abs(kept[-1][1] - y) < 0.01:
            continue
        while len(kept) > 1 and (
            abs(kept[-2][0] - kept[-1][0]) + abs(kept[-1][0] - x) < 0.01
            or abs(kept[-2][1] - kept[-1][1]) + abs(kept[-1][1] - y) < 0.01
        ):
            kept.pop()
        kept.append((x, y))
    return kept
