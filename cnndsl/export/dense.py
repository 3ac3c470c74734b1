"""Fully connected layers in ONNX. A map (N, C, H, W) flattens to the order that weights are in."""

from __future__ import annotations

from collections.abc import Sequence

from cnndsl.export.draft import Draft, Translations
from cnndsl.graph.types import Type
from cnndsl.ops.dense import FullyConnected


def fully_connected(
    draft: Draft, op: FullyConnected, types: Sequence[Type], inputs: Sequence[str]
) -> str:
    x, *weights = inputs
    if types[0].is_map:
        x = draft.add("Flatten", x, axis=1)
    return draft.add("Gemm", x, *weights, transB=1)


TRANSLATIONS: Translations = {FullyConnected: fully_connected}
