"""From a network's graph to operators of ONNX, node by node."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from cnndsl.data.preprocess import Preprocessing
from cnndsl.export import activation, conv, dense, merge, norm, pool, shape
from cnndsl.export.draft import Draft, Operator, Translations
from cnndsl.graph.graph import Graph, Value
from cnndsl.graph.leaves import STATE, Input

FAMILIES = (activation, conv, dense, merge, norm, pool, shape)

TRANSLATIONS: Translations = {
    kind: translation for family in FAMILIES for kind, translation in family.TRANSLATIONS.items()
}

IMAGE = "image"


def translate(
    graph: Graph,
    arrays: Mapping[str, np.ndarray[Any, Any]],
    preprocessing: Preprocessing | None = None,
) -> Draft:
    """The operators that compute a graph's outputs from "image", values named as in the graph.

    The graph is one for inference, and the arrays those of its parameters and buffers, by path.
    With a preprocessing the image is pixels from 0 to 255, and its normalisation comes first.
    """
    draft = Draft()
    names: dict[tuple[int, int], str] = {}
    for name in (*graph.inputs, *graph.outputs):
        draft.name(name)
    for node in graph.of(*STATE):
        name = draft.name(graph.name(node))
        draft.constants[name] = arrays[graph.name(node)].astype(
            graph.types(node)[0].dtype, copy=False
        )
        names[node, 0] = name
    for name, value in graph.inputs.items():
        names[value.node, 0] = _normalised(draft, value, preprocessing) if preprocessing else name
    for node in graph.nodes():
        op = graph.op(node)
        if isinstance(op, (*STATE, Input)):
            continue
        draft.layer = graph.name(node)
        operands = graph.operands(node)
        inputs = [names[value.node, value.output] for value in operands]
        result = TRANSLATIONS[type(op)](draft, op, [value.type for value in operands], inputs)
        names[node, 0] = result
        draft.types[result] = graph.types(node)[0]
    for name, value in graph.outputs.items():
        _call_output(draft, names[value.node, value.output], name)
    return draft


def _normalised(draft: Draft, image: Value, preprocessing: Preprocessing) -> str:
    """`(pixel / 255 − mean) / std` a channel, as one product and one sum."""
    draft.layer = "preprocessing"
    scale, shift = (
        draft.constant(role, np.reshape(values, (-1, 1, 1)), image.type.dtype)
        for role, values in zip(("scale", "shift"), preprocessing.affine(), strict=True)
    )
    return draft.add("Add", draft.add("Mul", IMAGE, scale), shift)


def _call_output(draft: Draft, result: str, name: str) -> None:
    """Let a result be called as the graph's output; an input is copied for it."""
    if draft.types.pop(result, None) is None:
        draft.operators.append(Operator("Identity", (result,), name, {}))
        return
    draft.operators = [
        replace(
            operator,
            inputs=tuple(name if each == result else each for each in operator.inputs),
            output=name if operator.output == result else operator.output,
        )
        for operator in draft.operators
    ]
