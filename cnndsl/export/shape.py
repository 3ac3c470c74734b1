"""Operations that move elements, in ONNX."""

from __future__ import annotations

from collections.abc import Sequence

from cnndsl.export.activation import one
from cnndsl.export.draft import Draft, Translations, spatial
from cnndsl.graph.types import Type
from cnndsl.ops.shape import Crop, Flatten, Pad, Shuffle, Slice, Upsample


def pad(draft: Draft, op: Pad, types: Sequence[Type], inputs: Sequence[str]) -> str:
    top, bottom, left, right = op.sides()
    margins = [0, 0, top, left, 0, op.channels, bottom, right]
    return draft.add("Pad", *inputs, draft.integers("pads", margins))


def crop(draft: Draft, op: Crop, types: Sequence[Type], inputs: Sequence[str]) -> str:
    top, bottom, left, right = op.sides()
    height, width = types[0].extent
    starts = draft.integers("starts", [top, left])
    ends = draft.integers("ends", [height - bottom, width - right])
    return draft.add("Slice", *inputs, starts, ends, draft.integers("axes", spatial(types[0])))


def slice_channels(draft: Draft, op: Slice, types: Sequence[Type], inputs: Sequence[str]) -> str:
    starts = draft.integers("starts", [op.channels.start])
    ends = draft.integers("ends", [op.channels.stop])
    return draft.add("Slice", *inputs, starts, ends, draft.integers("axes", [1]))


def upsample(draft: Draft, op: Upsample, types: Sequence[Type], inputs: Sequence[str]) -> str:
    scales = draft.constant("scales", [1, 1, op.factor, op.factor], "float32")
    return draft.add(
        "Resize",
        *inputs,
        "",
        scales,
        mode="nearest",
        coordinate_transformation_mode="asymmetric",
        nearest_mode="floor",
    )


def shuffle(draft: Draft, op: Shuffle, types: Sequence[Type], inputs: Sequence[str]) -> str:
    """A length of 0 in a shape is that of the input: the batch's."""
    (x,) = types
    each = x.channels // op.groups
    rows = draft.add("Reshape", *inputs, draft.integers("rows", [0, op.groups, each, -1]))
    columns = draft.add("Transpose", rows, perm=[0, 2, 1, 3])
    extent = list(x.extent) if x.is_map else []
    return draft.add("Reshape", columns, draft.integers("shape", [0, x.channels, *extent]))


TRANSLATIONS: Translations = {
    Pad: pad,
    Crop: crop,
    Slice: slice_channels,
    Upsample: upsample,
    Shuffle: shuffle,
    Flatten: one("Flatten", axis=1),
}
