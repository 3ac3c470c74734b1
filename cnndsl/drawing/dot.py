"""Writes a scene for Graphviz."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

from cnndsl.drawing.palette import FRAME_LINE, FRAMES, LINE, colours
from cnndsl.drawing.scene import Box, Frame, Scene


def dot(scene: Scene, direction: str = "down") -> str:
    """The network as a graph of Graphviz; frames are clusters."""
    lines = [
        f"digraph {_quoted(scene.root.words[0])} {{",
        f"    rankdir={'LR' if direction == 'right' else 'TB'}",
        "    newrank=true",
        '    fontname="Helvetica"; fontsize=11',
        '    node [shape=box, style="rounded,filled", fontname="Helvetica", fontsize=11]',
        f'    edge [color="{LINE}", arrowsize=0.7]',
        *_members(scene.root, 1, count(1)),
        *(f"    n{edge.source.number} -> n{edge.target.number}" for edge in scene.edges),
        "}",
    ]
    return "\n".join(lines) + "\n"


def _members(frame: Frame, depth: int, numbers: Iterator[int]) -> Iterator[str]:
    margin = "    " * depth
    for child in frame.children:
        if isinstance(child, Box):
            fill, outline = colours(child.family)
            label = _quoted("\n".join(child.label))
            tooltip = _quoted(child.tooltip())
            yield (
                f"{margin}n{child.number} [label={label}, tooltip={tooltip}, "
                f'fillcolor="{fill}", color="{outline}"]'
            )
        else:
            title = _quoted(", ".join(filter(None, [child.title, child.caption])))
            yield f"{margin}subgraph cluster_{next(numbers)} {{"
            yield f'{margin}    label={title}; labeljust=l; style="rounded,filled"'
            yield f'{margin}    color="{FRAME_LINE}"; fillcolor="{FRAMES[(depth - 1) % 2]}"'
            yield from _members(child, depth + 1, numbers)
            yield f"{margin}}}"


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
