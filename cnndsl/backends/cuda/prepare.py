"""Images from pixels, with what augmentation does to them, in one kernel."""

from __future__ import annotations

from cnndsl.backends.cuda.formula import literal
from cnndsl.backends.cuda.launch import (
    THREADS,
    Builders,
    Launch,
    Recipe,
    Source,
    blocks_for,
    c_type,
    count_of,
    pack_of,
)
from cnndsl.graph.types import Type
from cnndsl.ops.prepare import Hole, Mirror, Move, Prepare, WideImages


def prepare(op: Prepare, inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Recipe:
    """Inputs: pixels, what is chosen and drawn."""
    (y,) = outputs
    images, height, width, pitch = y.concrete()
    rows, columns, stored = op.stored
    numbers = {
        "COUNT": images * height * width,
        "HEIGHT": height,
        "WIDTH": width,
        "ROWS": rows,
        "COLUMNS": columns,
        "STORED": stored,
        "CHANNELS": len(op.scale),
        "PITCH": pitch,
        "PACK": pack_of([y.dtype], pitch),
        "DRAWS": op.columns,
    }
    definitions = [f"constexpr int {name} = {number};" for name, number in numbers.items()]
    definitions += [f"using Pixel = {c_type(inputs[0])};", f"using Number = {c_type(y)};"]
    definitions += [f"#define MOVES {' '.join(_backwards(op))}"]
    definitions += [
        f"#define {name}(c) ({_of_channel(values)})"
        for name, values in (("SCALE", op.scale), ("SHIFT", op.shift))
    ]
    source = Source("prepare.cu", "prepare", tuple(definitions))
    return Recipe(
        (Launch(source, blocks_for(images * height * width), (THREADS, 1, 1), (0, 1, 2)),)
    )


def _of_channel(values: tuple[float, ...]) -> str:
    """A number of a channel `c`."""
    *first, last = map(literal, values)
    return "".join(f"c == {c} ? {value} : " for c, value in enumerate(first)) + last


def _backwards(op: Prepare) -> list[str]:
    """From a position of an image to that of the pixel that is there, the last move first."""
    column = 1
    found = []
    for move, extent in zip(op.moves, op.extents, strict=False):
        found.append(_before(move, extent, f"drawn[{column}]", f"drawn[{column + 1}]"))
        column += move.draws
    return found[::-1]


def _before(move: Move, extent: tuple[int, int], first: str, second: str) -> str:
    """Statements that take (h, w) back to where it was before a move of images of an extent."""
    if isinstance(move, Mirror):
        return f"if ({first}) w = {extent[1] - 1} - w;"
    if isinstance(move, Hole):
        rows = f"h >= {first} && h < {first} + {move.size}"
        return f"kept &= !({rows} && w >= {second} && w < {second} + {move.size});"
    words = [f"h += {first} - {move.pad}; w += {second} - {move.pad};"]
    for name, length in zip("hw", extent, strict=True):
        last = length - 1
        words.append(
            {
                "zero": f"kept &= {name} >= 0 && {name} <= {last};",
                "edge": f"{name} = {name} < 0 ? 0 : {name} > {last} ? {last} : {name};",
                "reflect": f"{name} = {name} < 0 ? -{name} : {name} > {last} ?"
                f" {2 * last} - {name} : {name};",
            }[move.fill]
        )
    return " ".join(words)


def wide_images(op: WideImages, inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Recipe:
    (x,), (y,) = inputs, outputs
    count = count_of(x) // x.channels
    definitions = (
        f"using From = {c_type(x)};",
        f"using Number = {c_type(y)};",
        f"constexpr long long COUNT = {count};",
        f"constexpr int CHANNELS = {x.channels}, PITCH = {y.channels};",
        f"constexpr int PACK = {pack_of([y.dtype], y.channels)};",
    )
    source = Source("wide_images.cu", "wide_images", definitions)
    return Recipe((Launch(source, blocks_for(count), (THREADS, 1, 1), (0, 1)),))


BUILDERS: Builders = {Prepare: prepare, WideImages: wide_images}
