"""Images that a program prepares itself, from pixels that it is given or has."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from cnndsl.graph.graph import Graph
from cnndsl.graph.leaves import Input
from cnndsl.graph.types import BATCH, Type
from cnndsl.ops.cast import Cast
from cnndsl.ops.prepare import Prepare


@dataclass(frozen=True)
class PixelSource:
    """How a program prepares images, the element type of pixels, and whose pixels it has: those of
    so many images from the start, or with None those of a batch at a time."""

    prepare: Prepare
    dtype: str = "uint8"
    resident: int | None = None


def prepare_images(graph: Graph, source: PixelSource) -> None:
    """Let the input "image" be prepared from the inputs "pixels" and "chosen" (see `Prepare`).

    It gets the element type that its only reader casts it to.
    """
    image = graph.inputs.pop("image")
    readers = [graph.op(reader) for reader, _ in graph.users(image)]
    cast = readers[0] if len(readers) == 1 and isinstance(readers[0], Cast) else None
    prepare = replace(source.prepare, dtype=cast.dtype if cast else image.type.dtype)
    types = {
        "pixels": Type((source.resident or BATCH, math.prod(prepare.stored)), source.dtype),
        "chosen": Type((BATCH, prepare.columns), "int32"),
    }
    for name, type in types.items():
        graph.inputs[name] = graph.add(Input(type), name=name)[0]
    prepared = graph.apply(prepare, *(graph.inputs[name] for name in types), like=image)
    replaced = graph.users(image)[0][0] if cast else image.node
    graph.replace(graph.results(replaced)[0], prepared)
    graph.prune()
