"""Folds blocks that repeat: several alike in a row become one that says how many."""

from __future__ import annotations

from dataclasses import dataclass, replace

from cnndsl.drawing.scene import HEAD, Box, Edge, Frame, Scene, merged


@dataclass(frozen=True)
class _Look:
    """How a frame looks: its layers and wiring, its one input, its one output."""

    wiring: tuple[object, ...]
    boxes: set[Box]
    source: Box
    result: Box


def fold(scene: Scene) -> Scene:
    """A scene, which is taken over, with every row of identical blocks as one frame.

    Blocks are identical if their layers and wiring are, whatever the channels that flow in; each
    must read only the one before.
    """
    folding = _Folding(scene.edges)
    root = folding.folded(scene.root)
    return replace(scene, root=root, edges=folding.edges)


class _Folding:
    def __init__(self, edges: list[Edge]) -> None:
        self.edges = edges
        self.sources: dict[Box, list[Box]] = {}
        self.targets: dict[Box, list[Box]] = {}
        for edge in edges:
            self.sources.setdefault(edge.target, []).append(edge.source)
            self.targets.setdefault(edge.source, []).append(edge.target)

    def folded(self, frame: Frame) -> Frame:
        """A frame whose rows of identical children are folded, at every depth."""
        children: list[Box | Frame] = []
        row: list[Frame] = []
        last: _Look | None = None
        for child in frame.children:
            look = self._look(child) if isinstance(child, Frame) else None
            if row and not (last and look and self._continues(last, look)):
                children.append(self._one(row))
                row = []
            last = look
            if isinstance(child, Frame):
                row.append(child)
            else:
                children.append(child)
        if row:
            children.append(self._one(row))
        return replace(frame, children=children)

    def _one(self, row: list[Frame]) -> Box | Frame:
        """A row of identical frames as one."""
        first = row[0]
        stands_for: dict[Box, Box] = {}
        for other in row[1:]:
            for box, twin in zip(first.boxes(), other.boxes(), strict=True):
                box.twins.append(twin)
                stands_for[twin] = box
        if stands_for:
            self.edges = [
                Edge(stands_for.get(edge.source, edge.source), edge.target)
                for edge in self.edges
                if edge.target not in stands_for
            ]
        return merged(replace(self.folded(first), times=len(row)))

    def _look(self, frame: Frame) -> _Look | None:
        """None for a frame that has several inputs or outputs, or a side head."""
        boxes = list(frame.boxes())
        place = {box: index for index, box in enumerate(boxes)}
        outside = {s for box in boxes for s in self.sources.get(box, []) if s not in place}
        read = {b for b in boxes if any(t not in place for t in self.targets.get(b, []))}
        if len(outside) != 1 or len(read) > 1 or any(box.family == HEAD for box in boxes):
            return None
        wiring = tuple(
            (
                tuple(box.ops),
                box.path[len(frame.path) :],
                box.type.features[:-1],
                tuple(place.get(source, -1) for source in self.sources.get(box, [])),
            )
            for box in boxes
        )
        return _Look(wiring, set(boxes), outside.pop(), read.pop() if read else boxes[-1])

    def _continues(self, before: _Look, after: _Look) -> bool:
        """Whether a block is as the one before it, and alone reads its result."""
        if before.wiring != after.wiring or before.result is not after.source:
            return False
        both = before.boxes | after.boxes
        return all(target in both for target in self.targets[before.result])
