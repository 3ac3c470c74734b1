"""Kernels of local response normalisation, both ways."""

from __future__ import annotations

from cnndsl.backends.cuda.formula import literal
from cnndsl.backends.cuda.launch import (
    THREADS,
    Builders,
    Launch,
    Recipe,
    Source,
    blocks_for,
    c_type,
    count_of,
)
from cnndsl.graph.types import Type
from cnndsl.ops.norm import LocalResponseNorm, LocalResponseNormGradient


def _recipe(entry: str, op: LocalResponseNorm, x: Type, arguments: int) -> Recipe:
    definitions = (
        f"using T = {c_type(x)};",
        f"constexpr long long COUNT = {count_of(x)};",
        f"constexpr int CHANNELS = {x.channels};",
        f"constexpr int BEFORE = {op.size // 2}, BEHIND = {(op.size - 1) // 2};",
        f"constexpr float FACTOR = {literal(op.factor)}, BASE = {literal(op.k)};",
        f"constexpr float POWER = {literal(op.beta)};",
    )
    grid = blocks_for(count_of(x))
    source = Source("lrn.cu", entry, definitions)
    return Recipe((Launch(source, grid, (THREADS, 1, 1), tuple(range(arguments))),))


def lrn(op: LocalResponseNorm, inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Recipe:
    return _recipe("lrn", op, inputs[0], 2)


def lrn_gradient(
    op: LocalResponseNormGradient, inputs: tuple[Type, ...], outputs: tuple[Type, ...]
) -> Recipe:
    return _recipe("lrn_gradient", op.norm, inputs[0], 3)


BUILDERS: Builders = {LocalResponseNorm: lrn, LocalResponseNormGradient: lrn_gradient}
