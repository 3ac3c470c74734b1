"""What a program may cost, so that a stranger's file cannot hang the tool."""

from __future__ import annotations

from dataclasses import dataclass

#: The deepest nesting of blocks and braces.
MAX_DEPTH = 200
#: The largest extent or number of channels of an input.
MAX_EXTENT = 1 << 20
#: The most bits of a number, and the longest range or list.
MAX_BITS = 256
MAX_LENGTH = 100_000


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits that a caller may set: nodes of the graph, and steps of evaluation."""

    nodes: int = 25_000
    steps: int = 500_000
