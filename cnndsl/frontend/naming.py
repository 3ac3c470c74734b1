"""Stable names: the segment of a path that each step of a body contributes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from cnndsl.frontend import syntax


@dataclass(frozen=True, slots=True)
class Numbered:
    """A step's ordinal among the steps of its word in the block's text, and all those words."""

    ordinal: int
    words: frozenset[str]


def number_steps(body: syntax.Body) -> dict[int, Numbered]:
    """For every layer of a block's text, untaken branches included, its ordinal; by `id`."""
    counts: Counter[str] = Counter()
    ordinals = {}
    for layer in _layers(body):
        counts[layer.name.id] += 1
        ordinals[id(layer)] = counts[layer.name.id]
    words = frozenset(counts)
    return {key: Numbered(ordinal, words) for key, ordinal in ordinals.items()}


def segment(layer: syntax.Layer, kind: str, numbered: Numbered) -> str:
    """The plain `as` name, else the kind and its ordinal.

    A step whose word is a parameter (`unit 64`) is called by the kind that it stands for
    (`bottleneck1`), unless the body has steps of that word too.
    """
    if layer.binding is not None and layer.binding.index is None:
        return layer.binding.name.id
    word = layer.name.id
    shown = kind if kind == word or kind not in numbered.words else word
    return f"{shown}{numbered.ordinal}"


def loop_segment(names: tuple[syntax.Name, ...], row: int, first: object, is_index: bool) -> str:
    """`stage2` for a long index name, `1` for a one-letter one or a loop without an index."""
    name = names[0].id
    number = first if isinstance(first, int) and is_index else row
    return f"{name}{number}" if is_index and len(name) > 1 else str(number)


def _layers(body: syntax.Body) -> Iterator[syntax.Layer]:
    for steps in (body.steps, *(branch.steps for branch in body.branches)):
        for step in steps:
            yield from _in_step(step)


def _in_step(step: syntax.Step) -> Iterator[syntax.Layer]:
    match step:
        case syntax.Layer():
            yield step
            if step.body is not None:
                yield from _layers(step.body)
        case syntax.For():
            yield from _layers(step.body)
        case syntax.If():
            yield from _layers(step.then)
            if step.otherwise is not None:
                yield from _layers(step.otherwise)
