"""Joins in ONNX."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

from cnndsl.export.activation import one
from cnndsl.export.draft import Draft, Translations, spatial
from cnndsl.graph.types import Type
from cnndsl.ops.merge import Add, Concat, Gate, Multiply


def add(draft: Draft, op: Add, types: Sequence[Type], inputs: Sequence[str]) -> str:
    return draft.add("Add" if len(inputs) == 2 else "Sum", *inputs)


def multiply(draft: Draft, op: Multiply, types: Sequence[Type], inputs: Sequence[str]) -> str:
    if len(inputs) == 1:
        return draft.add("Identity", *inputs)
    return reduce(lambda first, second: draft.add("Mul", first, second), inputs)


def gate(draft: Draft, op: Gate, types: Sequence[Type], inputs: Sequence[str]) -> str:
    x, factors = inputs
    if types[0].is_map and not types[1].is_map:
        factors = draft.add("Unsqueeze", factors, draft.integers("axes", spatial(types[0])))
    return draft.add("Mul", x, factors)


TRANSLATIONS: Translations = {
    Add: add,
    Concat: one("Concat", axis=1),
    Multiply: multiply,
    Gate: gate,
}
