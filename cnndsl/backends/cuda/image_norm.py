"""Kernels of norms of single images: group and layer normalisation, both ways."""

from __future__ import annotations

import math

from cnndsl.backends.cuda.columns import Columns
from cnndsl.backends.cuda.formula import literal
from cnndsl.backends.cuda.launch import THREADS, Argument, Builders, Launch, Recipe, Source, c_type
from cnndsl.graph.types import Type
from cnndsl.ops.image_norm import GroupNorm, LayerNorm, Normalization, NormalizationGradient


def _shape(norm: Normalization, x: Type) -> tuple[int, int, int, int]:
    """Items, their positions, groups and the channels of one."""
    images, *extent, channels = x.concrete()
    positions = math.prod(extent)
    if isinstance(norm, GroupNorm):
        return images, positions, norm.groups, channels // norm.groups
    return images * positions, 1, 1, channels


def _launch(entry: str, norm: Normalization, x: Type, arguments: tuple[Argument, ...]) -> Launch:
    items, positions, groups, inner = _shape(norm, x)
    definitions = (
        f"using T = {c_type(x)};",
        f"constexpr int POSITIONS = {positions}, GROUPS = {groups}, INNER = {inner};",
        f"constexpr int CHANNELS = {x.channels};",
        f"constexpr float EPSILON = {literal(norm.epsilon)};",
    )
    source = Source("groups.cu", entry, definitions)
    return Launch(source, (items * groups, 1, 1), (THREADS, 1, 1), arguments)


def normalization(op: Normalization, inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Recipe:
    return Recipe((_launch("normalize", op, inputs[0], tuple(range(6))),))


def normalization_gradient(
    op: NormalizationGradient, inputs: tuple[Type, ...], outputs: tuple[Type, ...]
) -> Recipe:
    """Inputs: x, gamma, mean, inverse deviation, dy. Results: those of x, gamma and beta."""
    x, *_, dy = inputs
    _, positions, groups, inner = _shape(op.norm, x)
    here = f"[row / {positions} * {groups} + c / {inner}]"
    sums = Columns(
        whole=(x, dy),
        terms=(f"v1 * (v0 - w0{here}) * w1{here}", "v1"),
        finish=("if (r0) r0[at] = total[0];", "if (r1) r1[at] = total[1];"),
        vectors=2,
    )
    slopes = _launch("normalize_gradient", op.norm, x, tuple(range(6)))
    return Recipe((*sums.launches((0, 4, 2, 3), (6, 7)), slopes), sums.nbytes)


BUILDERS: Builders = {
    GroupNorm: normalization,
    LayerNorm: normalization,
    NormalizationGradient: normalization_gradient,
}
