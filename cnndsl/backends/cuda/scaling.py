"""Kernels of what watches over steps: they are skipped on the device, nobody asks the host."""

from __future__ import annotations

import re

from cnndsl.backends.cuda.formula import Formula, Read, literal
from cnndsl.backends.cuda.launch import Builders
from cnndsl.backends.cuda.pointwise import WRITERS, pointwise
from cnndsl.graph.types import Type
from cnndsl.ops.scaling import Guarded, NextScale, Tally


def guarded(op: Guarded, inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Formula:
    """The update's formula, of a smaller gradient if it is scaled; or what states were before."""
    inner = WRITERS[type(op.update)](op.update, op.own(inputs), outputs)
    finite, scale = (f"v{len(inputs) - behind}" for behind in (1, 2))
    kept = dict(inner.may_alias)

    def smaller(text: str) -> str:
        return re.sub(r"\bv1\b", "gradient", text) if op.scaled else text

    results = (
        f"({finite} != 0.0f ? {smaller(new)} : v{kept[place]})"
        for place, new in enumerate(inner.results)
    )
    divided = (f"const float gradient = v1 / {scale};",) if op.scaled else ()
    reads = (*inner.reads, *(Read.SCALAR,) * (1 + op.scaled))
    before = (*divided, *map(smaller, inner.before))
    return Formula(reads, tuple(results), before, inner.may_alias, inner.once)


def tally(op: Tally, inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Formula:
    """A thread has all four numbers: what it reads is what was there before it writes."""
    before = (
        "const float more = v1 - x0[1];",
        "const float sum = x0[0] + more;",
        "const float finite = sum - sum == 0.0f ? 1.0f : 0.0f;",
    )
    numbers = "sum", "(sum - x0[0]) - more", "x0[2] + v2", "x0[3] + finite"
    chosen = "i == 0 ? {} : i == 1 ? {} : i == 2 ? {} : {}".format(*numbers)
    return Formula((Read.RAW, Read.SCALAR, Read.SCALAR), (chosen,), before, ((0, 0),))


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
    Guarded: pointwise(guarded),
    Tally: pointwise(tally),
    NextScale: pointwise(next_scale),
}
