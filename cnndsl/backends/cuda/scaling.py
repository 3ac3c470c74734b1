"""Kernels of loss scaling: steps are skipped on the device, and the host learns nothing of it."""

from __future__ import annotations

import re

from cnndsl.backends.cuda.formula import Formula, Read, literal
from cnndsl.backends.cuda.launch import (
    THREADS,
    Builders,
    Launch,
    Recipe,
    Scratch,
    Source,
    c_type,
    count_of,
)
from cnndsl.backends.cuda.loss import total
from cnndsl.backends.cuda.pointwise import WRITERS, launch, pointwise
from cnndsl.graph.types import Type
from cnndsl.ops.scaling import AllFinite, Guarded, NextScale
from cnndsl.runtime.memory import round_up

#: Blocks that look at an array at most.
BLOCKS = 64


def all_finite(op: AllFinite, inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Recipe:
    """Each array's blocks say what they found; the sum of all that is 0 where all is finite."""
    launches = []
    found = 0
    for place, type in enumerate(inputs):
        blocks = min(BLOCKS, -(-count_of(type) // THREADS))
        definitions = (
            f"using T = {c_type(type)};",
            f"constexpr long long COUNT = {count_of(type)};",
        )
        source = Source("finite.cu", "not_finite", definitions)
        here = Scratch(4 * found, 4 * blocks)
        launches.append(Launch(source, (blocks, 1, 1), (THREADS, 1, 1), (place, here)))
        found += blocks
    whole = Scratch(0, 4 * found)
    sum_of_all = Scratch(round_up(4 * found), 4)
    summed = total("const float *x", "x[i]", found, 1.0, (whole, sum_of_all))
    said = Formula((Read.ELEMENT,), ("v0 == 0.0f ? 1.0f : 0.0f",))
    answer = launch(said, outputs, outputs, (sum_of_all, len(inputs)))
    return Recipe((*launches, summed, answer), sum_of_all.offset + 4)


def guarded(op: Guarded, inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Formula:
    """The optimizer's formula of a smaller gradient; its results, or what they were before."""
    inner = WRITERS[type(op.optimizer)](op.optimizer, inputs[:-2], outputs)
    scale, finite = (f"v{len(inputs) - behind}" for behind in (2, 1))
    kept = dict(inner.may_alias)

    def smaller(text: str) -> str:
        return re.sub(r"\bv1\b", "gradient", text)

    results = (
        f"({finite} != 0.0f ? {smaller(new)} : v{kept[place]})"
        for place, new in enumerate(inner.results)
    )
    before = (f"const float gradient = v1 / {scale};", *map(smaller, inner.before))
    reads = (*inner.reads, Read.SCALAR, Read.SCALAR)
    return Formula(reads, tuple(results), before, inner.may_alias)


def next_scale(op: NextScale, inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Formula:
    before = (
        "const bool finite = v2 != 0.0f;",
        f"const bool enough = finite && v1 + 1.0f >= {literal(op.interval)};",
    )
    results = (
        "v0 * (enough ? 2.0f : finite ? 1.0f : 0.5f)",
        "finite && !enough ? v1 + 1.0f : 0.0f",
    )
    return Formula((Read.ELEMENT,) * 3, results, before)


BUILDERS: Builders = {
    AllFinite: all_finite,
    Guarded: pointwise(guarded),
    NextScale: pointwise(next_scale),
}
