"""Convolutions in ONNX. Weights are O, I, H, W in both."""

from __future__ import annotations

from collections.abc import Sequence

from cnndsl.export.draft import Draft, Translations
from cnndsl.graph.types import Type
from cnndsl.ops.conv import Conv
from cnndsl.ops.geometry import Pads


def onnx_pads(pads: Pads) -> list[int]:
    """Top, left, bottom, right."""
    (top, bottom), (left, right) = pads
    return [top, left, bottom, right]


def conv(draft: Draft, op: Conv, types: Sequence[Type], inputs: Sequence[str]) -> str:
    return draft.add(
        "Conv",
        *inputs,
        kernel_shape=list(op.kernel),
        strides=[op.stride, op.stride],
        pads=onnx_pads(op.pads(types[0])),
        dilations=[op.dilation, op.dilation],
        group=op.groups,
    )


TRANSLATIONS: Translations = {Conv: conv}
