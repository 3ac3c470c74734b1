"""Colours: a fill and an outline for each family of layers."""

from __future__ import annotations

from typing import Final

#: By the module that holds a family's operations: fill, outline.
FAMILIES: Final = {
    "leaves": ("#eef0f4", "#98a1b3"),
    "conv": ("#d6e6fb", "#6f9bd1"),
    "pool": ("#dcf1d9", "#7fb57a"),
    "norm": ("#f1e1f7", "#b68cc6"),
    "activation": ("#ffeccb", "#d9ac5c"),
    "dense": ("#e2dffb", "#9389d6"),
    "merge": ("#ffdcd6", "#d98a7e"),
    "shape": ("#e3f1f2", "#7fb0b5"),
    "dropout": ("#efefef", "#a8a8a8"),
    "head": ("#fff3c4", "#cdb04e"),
}
OTHER: Final = ("#f4f4f4", "#9a9a9a")

INK: Final = "#1f2733"
FAINT: Final = "#5d6778"
LINE: Final = "#566073"
FRAMES: Final = ("#f5f8fc", "#ffffff")
FRAME_LINE: Final = "#b9c4d6"


def colours(family: str) -> tuple[str, str]:
    """Fill and outline of a family of layers."""
    return FAMILIES.get(family, OTHER)
