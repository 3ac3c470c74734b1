"""Pictures of networks: SVG drawn here, and text for Graphviz and Mermaid to draw."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from cnndsl.drawing.dot import dot
from cnndsl.drawing.folding import fold
from cnndsl.drawing.mermaid import mermaid
from cnndsl.drawing.scene import Scene, scene
from cnndsl.drawing.svg import svg
from cnndsl.graph.graph import Graph

__all__ = ["DIRECTIONS", "FORMATS", "draw"]

#: How a scene is written, by the name of the format.
FORMATS: Final[dict[str, Callable[[Scene, str], str]]] = {
    "svg": svg,
    "dot": dot,
    "mermaid": mermaid,
}
DIRECTIONS: Final = ("down", "right")


def draw(graph: Graph, form: str, *, expand: bool = False, direction: str = "down") -> str:
    """A picture of a graph as text.

    `form` is one of FORMATS, `direction` one of DIRECTIONS. Blocks that repeat are drawn once, with
    their number, unless `expand` is set.
    """
    whole = scene(graph)
    return FORMATS[form](whole if expand else fold(whole), direction)
