"""Pooling in ONNX. The padding says it all: what `ceil` adds is in it, so that ONNX rounds down."""

from __future__ import annotations

from collections.abc import Sequence

from cnndsl.export.conv import onnx_pads
from cnndsl.export.draft import Attribute, Draft, Translations
from cnndsl.graph.types import Type
from cnndsl.ops.geometry import Pads
from cnndsl.ops.pool import GLOBAL, AveragePool, MaxPool, Pool


def window(op: Pool, x: Type, pads: Pads) -> dict[str, Attribute]:
    """The attributes of a window."""
    return {
        "kernel_shape": list(op.size(x)),
        "strides": [op.step(), op.step()],
        "pads": onnx_pads(pads),
    }


def max_pool(draft: Draft, op: MaxPool, types: Sequence[Type], inputs: Sequence[str]) -> str:
    if op.kernel == GLOBAL:
        return draft.add("GlobalMaxPool", *inputs)
    return draft.add("MaxPool", *inputs, **window(op, types[0], op.pads(types[0])))


def average_pool(
    draft: Draft, op: AveragePool, types: Sequence[Type], inputs: Sequence[str]
) -> str:
    """With `count_pad` the stated padding is part of the map, and what `ceil` adds is not."""
    if op.kernel == GLOBAL:
        return draft.add("GlobalAveragePool", *inputs)
    (x,), (values,) = types, inputs
    pads, counted = op.pads(x), op.stated_pads(x)
    if op.count_pad and pads != counted:
        (top, bottom), (left, right) = counted
        margins = draft.integers("pads", [0, 0, top, left, 0, 0, bottom, right])
        values = draft.add("Pad", values, margins)
        pads = (0, pads[0][1] - bottom), (0, pads[1][1] - right)
        return draft.add("AveragePool", values, **window(op, x, pads))
    return draft.add(
        "AveragePool", values, **window(op, x, pads), count_include_pad=int(op.count_pad)
    )


TRANSLATIONS: Translations = {MaxPool: max_pool, AveragePool: average_pool}
