"""Kernels of what moves elements: pads and crops, parts and joins of channels and of weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from cnndsl.backends.cuda.launch import (
    THREADS,
    Argument,
    Builders,
    Launch,
    Recipe,
    Source,
    blocks_for,
    c_type,
    pack_of,
)
from cnndsl.backends.cuda.pool import windows
from cnndsl.graph.types import Batch, Size, Type
from cnndsl.ops.merge import Concat
from cnndsl.ops.parts import Join, Take, Widen
from cnndsl.ops.pool import AveragePool
from cnndsl.ops.shape import (
    Crop,
    Flatten,
    Pad,
    Shuffle,
    Slice,
    SliceGradient,
    Unflatten,
    Upsample,
    UpsampleGradient,
)
from cnndsl.runtime.kernel import Array


def are_filters(type: Type) -> bool:
    """Whether a value is filters (O, I, H, W), which are stored in the order O, H, W, I."""
    return not type.batched and len(type.shape) == 4


def physical(type: Type) -> tuple[int, ...]:
    """The shape in the order of memory."""
    shape = type.concrete()
    if not are_filters(type):
        return shape
    filters, inner, height, width = shape
    return filters, height, width, inner


def in_memory_order(array: Array, type: Type) -> Array:
    """A view of an array of a type whose axes are in the order of memory."""
    return array.transpose(0, 2, 3, 1) if are_filters(type) else array


def gather(
    x: Type,
    extent: tuple[int, int],
    channels: int,
    pack: int,
    source: str,
    arguments: tuple[Argument, ...] = (0, 1),
) -> Launch:
    """A map of so many rows, columns and channels, each element from where `source` says."""
    count = x.concrete()[0] * math.prod(extent) * channels
    definitions = (
        f"using T = {c_type(x)};",
        f"constexpr int PACK = {pack};",
        f"constexpr long long COUNT = {count};",
        f"constexpr int HEIGHT = {extent[0]}, WIDTH = {extent[1]}, CHANNELS = {channels};",
        f"#define SOURCE {source}",
    )
    grid = blocks_for(count // pack)
    return Launch(Source("gather.cu", "gather", definitions), grid, (THREADS, 1, 1), arguments)


def _map(type: Type) -> tuple[int, int, int, int]:
    """Images, rows, columns and channels; a vector is a map of one position."""
    images, *rest = type.concrete()
    height, width, channels = rest if type.is_map else (1, 1, *rest)
    return images, height, width, channels


def _moved(x: Type, y: Type, top: int, left: int) -> Recipe:
    """Position (h, w) from (h - top, w - left), zero where the operand has none."""
    _, height, width, channels = _map(x)
    _, high, wide, wanted = _map(y)
    source = (
        f"const int row = h - {top}, column = w - {left};"
        f" if (row >= 0 && row < {height} && column >= 0 && column < {width} && c < {channels})"
        f" from = ((n * {height} + row) * {width} + column) * {channels} + c;"
    )
    return Recipe((gather(x, (high, wide), wanted, pack_of([x.dtype], channels, wanted), source),))


def pad(op: Pad, inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Recipe:
    top, _, left, _ = op.sides()
    return _moved(inputs[0], outputs[0], top, left)


def crop(op: Crop, inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Recipe:
    top, _, left, _ = op.sides()
    return _moved(inputs[0], outputs[0], -top, -left)


def upsample(op: Upsample, inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Recipe:
    _, height, width, channels = _map(inputs[0])
    source = (
        f"from = ((n * {height} + h / {op.factor}) * {width} + w / {op.factor}) * {channels} + c;"
    )
    _, high, wide, _ = _map(outputs[0])
    return Recipe(
        (gather(inputs[0], (high, wide), channels, pack_of([inputs[0].dtype], channels), source),)
    )


def upsample_gradient(
    op: UpsampleGradient, inputs: tuple[Type, ...], outputs: tuple[Type, ...]
) -> Recipe:
    """The sum of each window of copies."""
    pool = AveragePool(Size(op.factor, op.factor), stride=op.factor)
    return windows("avgpool", pool, inputs[0], outputs[0], outputs[0], 2, "#define SUM")


def shuffle(op: Shuffle, inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Recipe:
    """Channel c is the (c / groups)-th of group c % groups."""
    _, height, width, channels = _map(inputs[0])
    place = f"c % {op.groups} * {channels // op.groups} + c / {op.groups}"
    source = f"from = at - c + {place};"
    return Recipe((gather(inputs[0], (height, width), channels, 1, source),))


def flattening(x: Type, arguments: tuple[Argument, ...]) -> Launch:
    """A map as a vector in the order channel, row, column."""
    _, height, width, channels = _map(x)
    area = height * width
    source = f"from = n * {area * channels} + c % {area} * {channels} + c / {area};"
    return gather(x, (1, 1), area * channels, 1, source, arguments)


def unflattening(x: Type, arguments: tuple[Argument, ...]) -> Launch:
    """A vector in the order channel, row, column as the map."""
    _, height, width, channels = _map(x)
    source = f"from = ((n * {channels} + c) * {height} + h) * {width} + w;"
    return gather(x, (height, width), channels, 1, source, arguments)


def flatten(op: Flatten, inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Recipe:
    return Recipe((flattening(inputs[0], (0, 1)),))


def unflatten(op: Unflatten, inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Recipe:
    return Recipe((unflattening(outputs[0], (0, 1)),))


def _slab(
    type: Type,
    rows: int,
    length: int,
    source: tuple[int, int],
    target: tuple[int, int],
    arguments: tuple[Argument, ...],
) -> Launch:
    """Parts of rows of a value as parts of other rows; strides and offsets in elements."""
    pack = pack_of([type.dtype], length, *source, *target)
    numbers = {
        "COUNT": rows * length,
        "LENGTH": length,
        "STRIDE": source[0],
        "OFFSET": source[1],
        "TO_STRIDE": target[0],
        "TO_OFFSET": target[1],
    }
    definitions = [f"constexpr long long {name} = {number};" for name, number in numbers.items()]
    definitions += [f"using T = {c_type(type)};", f"constexpr int PACK = {pack};"]
    grid = blocks_for(rows * length // pack)
    return Launch(Source("slab.cu", "slab", tuple(definitions)), grid, (THREADS, 1, 1), arguments)


def _along(type: Type, axis: int) -> tuple[int, int]:
    """Rows before an axis, in the order of memory, and the elements from it on."""
    shape = physical(type)
    return math.prod(shape[:axis]), math.prod(shape[axis:])


def _axis(type: Type, axis: int) -> int:
    """Where an axis is in the order of memory."""
    return {0: 0, 1: 3, 2: 1, 3: 2}[axis] if are_filters(type) else axis


def _joined(inputs: Sequence[Type], whole: Type, axis: int) -> Recipe:
    """One value beside the other along an axis of memory."""
    rows, stride = _along(whole, axis)
    launches = []
    offset = 0
    for place, type in enumerate(inputs):
        _, length = _along(type, axis)
        arguments = (place, len(inputs))
        launches.append(_slab(type, rows, length, (length, 0), (stride, offset), arguments))
        offset += length
    return Recipe(tuple(launches))


def _taken(x: Type, y: Type, axis: int, first: int) -> Recipe:
    """What stands from a place on along an axis of memory."""
    rows, stride = _along(x, axis)
    _, length = _along(y, axis)
    offset = first * (length // physical(y)[axis])
    return Recipe((_slab(x, rows, length, (stride, offset), (length, 0), (0, 1)),))


def concat(op: Concat, inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Recipe:
    return _joined(inputs, outputs[0], len(outputs[0].shape) - 1)


def join(op: Join, inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Recipe:
    return _joined(inputs, outputs[0], _axis(outputs[0], op.axis))


def cut(op: Slice, inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Recipe:
    return _taken(inputs[0], outputs[0], len(inputs[0].shape) - 1, op.channels.start)


def take(op: Take, inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Recipe:
    return _taken(inputs[0], outputs[0], _axis(inputs[0], op.axis), op.first)


def widen(op: Widen, inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Recipe:
    return _moved(_as_map(inputs[0]), _as_map(outputs[0]), 0, 0)


def _as_map(filters: Type) -> Type:
    """Filters as the map that is stored as they are."""
    count, *rest = physical(filters)
    return replace(filters, shape=(Batch(count), *rest))


def slice_gradient(
    op: SliceGradient, inputs: tuple[Type, ...], outputs: tuple[Type, ...]
) -> Recipe:
    _, height, width, channels = _map(outputs[0])
    first, length = op.channels.start, len(op.channels)
    source = (
        f"if (c >= {first} && c < {first + length})"
        f" from = ((n * {height} + h) * {width} + w) * {length} + c - {first};"
    )
    pack = pack_of([inputs[0].dtype], channels, first, length)
    return Recipe((gather(inputs[0], (height, width), channels, pack, source),))


BUILDERS: Builders = {
    Pad: pad,
    Crop: crop,
    Upsample: upsample,
    UpsampleGradient: upsample_gradient,
    Shuffle: shuffle,
    Flatten: flatten,
    Unflatten: unflatten,
    Concat: concat,
    Join: join,
    Slice: cut,
    Take: take,
    SliceGradient: slice_gradient,
    Widen: widen,
}
