"""Writes a scene for Mermaid, which Markdown viewers draw."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import count

from cnndsl.drawing.palette import FRAME_LINE, FRAMES, INK, colours
from cnndsl.drawing.scene import Box, Frame, Scene


def mermaid(scene: Scene, direction: str = "down") -> str:
    """The network as a flowchart of Mermaid; frames are subgraphs."""
    families = sorted({box.family for box in scene.root.boxes()})
    numbers = count(1)
    lines = [
        f"flowchart {'LR' if direction == 'right' else 'TD'}",
        *_members(scene.root, 1, numbers),
        *(f"    n{edge.source.number} --> n{edge.target.number}" for edge in scene.edges),
        *(_style(family, *colours(family)) for family in families),
    ]
    frames = ",".join(f"f{number}" for number in range(1, next(numbers)))
    if frames:
        lines += [_style("frame", FRAMES[0], FRAME_LINE), f"    class {frames} frame"]
    return "\n".join(lines) + "\n"


def _members(frame: Frame, depth: int, numbers: Iterator[int]) -> Iterator[str]:
    margin = "    " * depth
    for child in frame.children:
        if isinstance(child, Box):
            yield f"{margin}n{child.number}[{_quoted(child.label)}]:::{child.family}"
        else:
            title = _quoted([", ".join(filter(None, [child.title, child.caption]))])
            yield f"{margin}subgraph f{next(numbers)}[{title}]"
            yield from _members(child, depth + 1, numbers)
            yield f"{margin}end"


def _style(name: str, fill: str, outline: str) -> str:
    return f"    classDef {name} fill:{fill},stroke:{outline},color:{INK}"


def _quoted(lines: Iterable[str]) -> str:
    """Text in quotes, with what Mermaid would take for its own signs written as entities."""
    entities = {"#": "#35;", '"': "#quot;", "<": "#lt;", ">": "#gt;", "`": "#96;", "&": "#amp;"}
    escaped = ("".join(entities.get(c, c) for c in line) for line in lines)
    return '"' + "<br>".join(escaped) + '"'
