"""Memory descriptors: which element of a value stands where; layouts are their equality."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cache

from cnndsl.backends.onednn.api import (
    AXES,
    BLOCKED,
    Data,
    Handle,
    Query,
    Tag,
    descriptor_size,
    engine,
    function,
    integers,
)
from cnndsl.graph.types import Type

DATA = {"bfloat16": Data.BF16, "float32": Data.F32, "uint8": Data.U8}

#: The parts of an axis, from the outermost: how many, and how far apart.
Axis = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Layout:
    """Where the elements of a value stand.

    `axes` are those of oneDNN (N, C, H, W of a map, O, I, H, W of filters) with padding to whole
    blocks; `nbytes` are those of the whole value. Equal layouts have equal memory.
    """

    axes: tuple[Axis, ...]
    nbytes: int
    extents: tuple[int, ...] = field(compare=False, repr=False)
    descriptor: Handle = field(compare=False, repr=False)
    letters: str = field(default="", compare=False, repr=False)

    def __str__(self) -> str:
        """As oneDNN writes it: `nChw8c` is channels in blocks of 8."""
        outer: list[tuple[float, str]] = []
        inner: list[tuple[float, str]] = []
        for letter, parts in zip(self.letters, self.axes, strict=False):
            first, *rest = parts
            outer.append((first[1] if first[1] else math.inf, letter.upper() if rest else letter))
            inner += [(stride, f"{count}{letter}") for count, stride in rest]
        return "".join(text for _, text in (*_descending(outer), *_descending(inner)))

    @property
    def span(self) -> int:
        """From the first element to behind the last."""
        parts = [each for axis in self.axes for each in axis]
        return 1 + sum((count - 1) * stride for count, stride in parts)

    @property
    def apart(self) -> bool:
        """Whether images, along the first axis, do not follow each other at once."""
        count, stride = self.axes[0][0]
        return count > 1 and stride > math.prod(n for axis in self.axes[1:] for n, _ in axis)

    def part(self, part: Type, channel: int) -> tuple[int, Type] | None:
        """Where the elements begin that a map of the channels from one on has, and its type there.

        It is laid out as by itself, but that its images may be farther apart; None if it is not.
        """
        own = part.layout if isinstance(part.layout, Layout) else _layout(canonical(part))
        images, *axes = own.axes
        for here, there in zip(self.axes[1:], axes, strict=True):
            strides = [stride for _, stride in here]
            if any(count > 1 and stride not in strides for count, stride in there):
                return None
        (_, stride), *inner = self.axes[1]
        block = math.prod(count for count, _ in inner)
        if channel % block:
            return None
        start = channel // block * stride
        if images == self.axes[0]:
            return start, part
        handle = part_of(self.descriptor, own.extents, [0] * len(own.extents))
        return start, replace(part, layout=replace(_layout(handle), letters=own.letters))


@dataclass(frozen=True)
class Transformed:
    """The layout of filters as their Winograd transforms, 36 matrices: channels by filters.

    `turned` are those of filters turned by 180 degrees, for the gradient of the input. No state is
    kept so: 36 numbers do not give 9 back to the bit.
    """

    nbytes: int
    turned: bool = False

    def __str__(self) -> str:
        return "winograd turned" if self.turned else "winograd"


def _descending(parts: list[tuple[float, str]]) -> list[tuple[float, str]]:
    return sorted(parts, key=lambda part: part[0], reverse=True)


def sizes(type: Type) -> tuple[int, ...]:
    """The extents in oneDNN's order: N, C, H, W of a map; a scalar is one element."""
    shape = type.concrete()
    if type.is_map:
        n, height, width, channels = shape
        return n, channels, height, width
    return shape or (1,)


def grouped(type: Type, groups: int) -> tuple[int, ...]:
    """The extents of filters in groups, which oneDNN gives an axis of their own."""
    filters, *rest = type.concrete()
    return (groups, filters // groups, *rest) if groups > 1 else (filters, *rest)


@cache
def canonical(type: Type, extents: tuple[int, ...] | None = None) -> Handle:
    """The descriptor of the canonical layout, seen as `extents`."""
    extents = extents or sizes(type)
    strides = [math.prod(extents[axis + 1 :]) for axis in range(len(extents))]
    if type.is_map and len(extents) == 4:
        _, channels, height, width = extents
        strides = [height * width * channels, 1, width * channels, channels]
    return with_strides(extents, strides, DATA[type.dtype])


def descriptor(type: Type, extents: tuple[int, ...] | None = None) -> Handle:
    """The descriptor of a value; of a canonical one, seen as `extents`."""
    if isinstance(type.layout, Layout):
        return type.layout.descriptor
    return canonical(type, extents)


def with_strides(extents: Sequence[int], strides: Sequence[int], data: Data) -> Handle:
    arguments = (len(extents), integers(extents), data, integers(strides))
    return Handle("memory_desc_destroy", "memory_desc_create_with_strides", *arguments)


def any_layout(type: Type, extents: tuple[int, ...] | None = None) -> Handle:
    """A descriptor that leaves the layout of a value to the primitive."""
    extents = extents or sizes(type)
    arguments = (len(extents), integers(extents), DATA[type.dtype], Tag.ANY)
    return Handle("memory_desc_destroy", "memory_desc_create_with_tag", *arguments)


def part_of(whole: Handle, extents: Sequence[int], offsets: Sequence[int]) -> Handle:
    """The descriptor of a part of a memory."""
    arguments = (whole, integers(extents), integers(offsets))
    return Handle("memory_desc_destroy", "memory_desc_create_submemory", *arguments)


def nbytes_of_value(type: Type) -> int:
    """The bytes of a value in its layout."""
    layout = type.layout
    return layout.nbytes if isinstance(layout, Layout | Transformed) else type.total_bytes


def nbytes_of(handle: Handle) -> int:
    """The bytes that a memory of a descriptor takes."""
    size: int = descriptor_size()(handle)
    return size


def layout_of(handle: Handle | None, type: Type) -> Layout | None:
    """The layout of a value with a descriptor; None if its memory is the canonical one."""
    if handle is None:
        return None
    found = replace(_layout(handle), letters="nchw" if type.batched else "goihw"[-_rank(handle) :])
    return None if found == _of_canonical(_plain(type), found.extents) else found


@cache
def _of_canonical(type: Type, extents: tuple[int, ...]) -> Layout:
    return _layout(canonical(type, extents))


@cache
def by_blocks(type: Type, block: int) -> Layout | None:
    """Channels in blocks of 8 or 16; None if the memory is the canonical one all the same."""
    tag = {8: Tag.CHANNELS_BY_8, 16: Tag.CHANNELS_BY_16}[block]
    arguments = (4, integers(sizes(type)), DATA[type.dtype], tag)
    handle = Handle("memory_desc_destroy", "memory_desc_create_with_tag", *arguments)
    return layout_of(handle, _plain(type))


def _plain(type: Type) -> Type:
    return replace(type, layout=None)


def _layout(handle: Handle) -> Layout:
    if _integer(handle, Query.FORMAT_KIND) != BLOCKED:
        raise ValueError("a layout that only oneDNN knows")
    extents = _integers(handle, Query.SIZES, _rank(handle))
    return Layout(tuple(_axes(handle)), nbytes_of(handle), tuple(extents), handle)


def workspace_of(handle: Handle) -> Layout:
    """What is nobody's business but a primitive's."""
    nbytes = nbytes_of(handle)
    return Layout((((nbytes, 1),),), nbytes, (nbytes,), handle)


def _axes(handle: Handle) -> Iterator[Axis]:
    count = _rank(handle)
    extents = _integers(handle, Query.PADDED_SIZES, count)
    strides = _integers(handle, Query.STRIDES, count)
    blocks = _integer(handle, Query.BLOCK_COUNT)
    block_sizes = _integers(handle, Query.BLOCK_SIZES, blocks)
    block_axes = _integers(handle, Query.BLOCK_AXES, blocks)
    inner: list[list[tuple[int, int]]] = [[] for _ in range(count)]
    stride = 1
    for size, axis in zip(reversed(block_sizes), reversed(block_axes), strict=True):
        inner[axis].insert(0, (size, stride))
        stride *= size
    for axis in range(count):
        outer = extents[axis] // math.prod(size for size, _ in inner[axis])
        yield _merged([(outer, strides[axis]), *inner[axis]])


def _merged(parts: Sequence[tuple[int, int]]) -> Axis:
    """The parts of an axis without those of length 1, neighbours in memory as one."""
    merged: list[tuple[int, int]] = []
    for count, stride in parts:
        if count == 1:
            continue
        if merged and merged[-1][1] == count * stride:
            merged[-1] = merged[-1][0] * count, stride
        else:
            merged.append((count, stride))
    return tuple(merged) or ((1, 0),)


def _rank(handle: Handle) -> int:
    return _integer(handle, Query.DIMENSIONS)


def _integer(handle: Handle, what: Query) -> int:
    value = ctypes.c_int32()
    function("memory_desc_query")(handle, what, ctypes.byref(value))
    return value.value


def _integers(handle: Handle, what: Query, count: int) -> list[int]:
    values = ctypes.POINTER(ctypes.c_int64 * AXES)()
    function("memory_desc_query")(handle, what, ctypes.byref(values))
    return list(values.contents)[:count]


def memory(handle: Handle, address: int) -> Handle:
    """Memory of a descriptor at an address."""
    return Handle("memory_destroy", "memory_create", handle, engine(), address, keeps=(handle,))
