"""Depthwise convolutions, one filter a channel, by kernels of our own beside cuDNN's.

They wait for memory: a thread takes a few neighbouring positions, so that it reads what their
windows share once, and few channels, so that sums and weights stay in registers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeGuard

from cnndsl.backends.cuda.cudnn import Convolution, Description, Geometry
from cnndsl.backends.cuda.launch import (
    C_TYPES,
    THREADS,
    Argument,
    Launch,
    Recipe,
    Scratch,
    Source,
    pack_of,
)

#: Channels of a thread at most, and its sums: registers are for loads too. Of windows that see more
#: columns than so many it takes half of these channels.
PACK, SUMS, SEEN = 4, 16, 8
#: The same of a thread that adds up gradients of weights.
WEIGHTS_PACK, WEIGHTS_SUMS = 2, 24
#: Bytes of shared memory for a block's weights.
SHARED = 32 * 1024
#: Blocks that are enough for a large GPU, and of those at most so many along positions where
#: partial sums are to be added up.
BLOCKS, PARTS = 1024, 512
#: Places that a thread does in turn at most: it is for them that a block loads its weights.
STEPS = 8


def is_depthwise(description: Description) -> TypeGuard[Convolution]:
    """Whether these kernels compute it: one filter a channel, which fits in shared memory."""
    if not isinstance(description, Convolution):
        return False
    g = description.geometry
    return g.groups == g.channels == g.filters and 4 * _taps(g) <= SHARED


def recipe(description: Convolution, arguments: tuple[Argument, ...], offset: int = 0) -> Recipe:
    """What computes a description on its operands, in the order of cuDNN's plans.

    Its scratch begins at `offset`, in bytes, and its workspace ends behind that.
    """
    if description.kind == "weight_gradient":
        return _weight_gradient(description, arguments, offset)
    return Recipe((_sums(description, arguments),))


@dataclass(frozen=True)
class _Window:
    """Which positions of a map, (height, width), are seen from those of a result: with tap t from
    position q (q * stride + t * dilation - start) / apart, if that is whole."""

    source: tuple[int, int]
    result: tuple[int, int]
    stride: tuple[int, int]
    apart: tuple[int, int]
    start: tuple[int, int]
    mirrored: bool


def _window(description: Convolution) -> _Window:
    g = description.geometry
    image, once, start = (g.height, g.width), (1, 1), (g.pad[0], g.pad[2])
    if description.kind == "forward":
        return _Window(image, g.output, g.stride, once, start, False)
    reach = [(k - 1) * d for k, d in zip(g.kernel, g.dilation, strict=True)]
    start = reach[0] - start[0], reach[1] - start[1]
    return _Window(g.output, image, once, g.stride, start, True)


def _sums(description: Convolution, arguments: tuple[Argument, ...]) -> Launch:
    """The kernel of a forward convolution, or of the gradient of an input."""
    g, window = description.geometry, _window(description)
    stride, apart = window.stride[1], window.apart[1]
    columns = -(-_columns(stride, window.result[1]) // apart) * apart
    span = (columns - 1) * stride + (g.kernel[1] - 1) * g.dilation[1]
    first, last = -(window.start[1] // apart), (span - window.start[1]) // apart
    most = min(PACK, SUMS // columns)
    pack, lanes = _across(description, most if last - first < SEEN else most // 2)
    places = g.images * window.result[0] * -(-window.result[1] // columns)
    blocks, across = -(-places * lanes // THREADS), -(-g.channels // (lanes * pack))
    steps = max(1, min(STEPS, blocks * across // (2 * BLOCKS)))
    numbers = _numbers(g, window.source, window.result, window.start, window.stride) | {
        "APART_H": window.apart[0],
        "APART_W": apart,
        "PACK": pack,
        "LANES": lanes,
        "COLUMNS": columns,
        "FIRST": first,
        "LAST": last,
        "STEPS": steps,
    }
    kind, result = C_TYPES[description.dtype], C_TYPES[description.result]
    parameters, reads, changes = [f"const {kind} *x", f"const {kind} *filters"], [], []
    if description.bias:
        bias = C_TYPES[description.bias_dtype]
        parameters.append(f"const {bias} *bias")
        reads.append(f"const Pack<{bias}, PACK> biases = load<PACK>(bias + channel);")
        changes.append("v += number(biases.at[k]);")
    if description.add:
        parameters.append(f"const {kind} *addend")
        reads.append(f"const Pack<{kind}, PACK> addends = load<PACK>(addend + to);")
        changes.append("v += number(addends.at[k]);")
    if description.slope:
        parameters.append(f"const {kind} *saved")
        reads.append(f"const Pack<{kind}, PACK> slopes = load<PACK>(saved + to);")
        changes.append("v = number(slopes.at[k]) > 0.0f ? v : 0.0f;")
    if description.relu:
        changes.append("v = v < 0.0f ? 0.0f : v;")
    definitions = (
        *_types(description, places),
        f"using Result = {result};",
        f"constexpr bool MIRRORED = {'true' if window.mirrored else 'false'};",
        *(f"constexpr int {name} = {number};" for name, number in numbers.items()),
        f"#define PARAMETERS {', '.join([*parameters, f'{result} *y'])}",
        f"#define READ {' '.join(reads)}",
        f"#define CHANGE {' '.join(changes)}",
    )
    source = Source("depthwise.cu", "depthwise", definitions)
    return Launch(source, (-(-blocks // steps), across, 1), (THREADS, 1, 1), arguments)


def _weight_gradient(
    description: Convolution, arguments: tuple[Argument, ...], offset: int
) -> Recipe:
    """Partial sums of strips of positions, and their totals in a fixed order."""
    g = description.geometry
    high, wide = g.output
    pack, lanes = _across(description, min(WEIGHTS_PACK, WEIGHTS_SUMS // g.kernel[1]))
    tile_w = _even(g.kernel[1], WEIGHTS_SUMS)
    tile_h = _even(g.kernel[0], WEIGHTS_SUMS // (pack * tile_w))
    columns = _columns(g.stride[1], wide)
    places = g.images * high * -(-wide // columns)
    across = -(-g.channels // (lanes * pack))
    tiles = -(-g.kernel[0] // tile_h) * -(-g.kernel[1] // tile_w)
    wanted = min(PARTS, BLOCKS // (across * tiles), -(-places * lanes // (THREADS * STEPS)))
    strip = -(-places // max(1, wanted))
    parts = -(-places // strip)
    numbers = _numbers(g, (g.height, g.width), g.output, (g.pad[0], g.pad[2]), g.stride) | {
        "PACK": pack,
        "LANES": lanes,
        "TILE_H": tile_h,
        "TILE_W": tile_w,
        "COLUMNS": columns,
        "STRIP": strip,
    }
    definitions = (
        *_types(description, places),
        *(f"constexpr int {name} = {number};" for name, number in numbers.items()),
    )
    x, dy, dw = arguments
    sums = _taps(g) * g.channels
    partial = Scratch(offset, 4 * parts * sums)
    result = C_TYPES[description.result]
    place = f"c % {g.channels} * {_taps(g)} + c / {g.channels}"
    totals = Source(
        "column_totals.cu",
        "column_totals",
        (
            f"constexpr int CHANNELS = {sums}, SUMS = 1, PARTS = {parts};",
            f"using T = {C_TYPES[description.dtype]};",
            "#define PARAMETERS const T *x",
            f"#define RESULTS {result} *dw",
            f"#define FINISH dw[{place}] = rounded<{result}>(total[0]);",
        ),
    )
    source = Source("depthwise_weights.cu", "depthwise_weights", definitions)
    return Recipe(
        (
            Launch(source, (across, parts, tiles), (THREADS, 1, 1), (x, dy, partial)),
            Launch(totals, (-(-sums // 32), 1, 1), (32, 32, 1), (x, partial, dw)),
        ),
        offset + partial.nbytes,
    )


def _taps(g: Geometry) -> int:
    return g.kernel[0] * g.kernel[1]


def _columns(stride: int, width: int) -> int:
    """Neighbouring columns of a result that a thread does: of windows that share more, more."""
    return min(4 if stride == 1 else 2, width)


def _even(extent: int, most: int) -> int:
    """The extent of parts that are at most so long, as few of them and as equal as can be."""
    return -(-extent // -(-extent // most))


def _across(description: Convolution, most: int) -> tuple[int, int]:
    """The channels of a thread, one or at most so many, and threads side by side: as many as leave
    few of them idle, and whose weights fit in shared memory."""
    g = description.geometry
    pack = pack_of([description.dtype], g.channels)
    while pack > 1 and (pack > most or 4 * _taps(g) * pack > SHARED):
        pack //= 2
    packs = -(-g.channels // pack)
    lanes = next((n for n in (32, 16) if 8 * (-packs % n) <= packs), 8)
    while lanes > 1 and (lanes >= 2 * packs or 4 * _taps(g) * pack * lanes > SHARED):
        lanes //= 2
    return pack, lanes


def _numbers(
    g: Geometry,
    source: tuple[int, int],
    result: tuple[int, int],
    start: tuple[int, int],
    stride: tuple[int, int],
) -> dict[str, int]:
    """What both kernels are told of their arrays and windows."""
    pairs = {"KERNEL": g.kernel, "STRIDE": stride, "DILATION": g.dilation}
    return {
        "IMAGES": g.images,
        "HEIGHT": source[0],
        "WIDTH": source[1],
        "CHANNELS": g.channels,
        "OUT_HEIGHT": result[0],
        "OUT_WIDTH": result[1],
        "TOP": start[0],
        "LEFT": start[1],
        **{f"{name}_H": pair[0] for name, pair in pairs.items()},
        **{f"{name}_W": pair[1] for name, pair in pairs.items()},
    }


def _types(description: Convolution, places: int) -> tuple[str, str]:
    index = "int" if places < 2**30 else "long long"
    return f"using T = {C_TYPES[description.dtype]};", f"using Index = {index};"
