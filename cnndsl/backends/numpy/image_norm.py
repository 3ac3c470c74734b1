"""Kernels of norms of single images: group and layer normalisation."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from cnndsl.backends.numpy.blocks import Blocks
from cnndsl.graph.types import Type
from cnndsl.ops.image_norm import GroupNorm, LayerNorm, Normalization, NormalizationGradient
from cnndsl.runtime.kernel import Array, Builders, Kernel


@dataclass(frozen=True)
class Groups:
    """A value as `(items, positions, groups, channels of a group)`.

    Each item has a statistic a group, over its positions and the group's channels.
    """

    items: int
    positions: int
    groups: int
    inner: int
    dtype: str
    temporaries: int

    @staticmethod
    def of(norm: Normalization, x: Type, temporaries: int) -> Groups:
        images, *extent, channels = x.concrete()
        positions = math.prod(extent)
        if isinstance(norm, GroupNorm):
            inner = channels // norm.groups
            return Groups(images, positions, norm.groups, inner, x.dtype, temporaries)
        return Groups(images * positions, 1, 1, channels, x.dtype, temporaries)

    @property
    def channels(self) -> int:
        return self.groups * self.inner

    @property
    def blocks(self) -> Blocks:
        """Blocks of whole items."""
        item = self.positions * self.channels
        return Blocks(self.items * item, self.dtype, self.temporaries, item)

    def parts(self, scratch: tuple[Array, ...], *arrays: Array) -> Iterator[tuple[Array, ...]]:
        """The items of a block as a slice; then arrays and temporaries, (items, positions, C)."""
        first = 0
        for part in self.blocks.parts(scratch, *arrays):
            shaped = [a.reshape(-1, self.positions, self.channels) for a in part]
            last = first + len(shaped[0])
            yield (slice(first, last), *shaped)
            first = last

    def means(self, values: Array) -> Array:
        """The mean of every item's groups, (items, groups)."""
        sums = values
        if self.positions > 1:
            sums = np.matmul(np.ones((1, self.positions), self.dtype), values)
        parts = sums.reshape(-1, self.inner) @ np.ones(self.inner, self.dtype)
        result: Array = parts.reshape(-1, self.groups) / (self.positions * self.inner)
        return result

    def spread(self, statistics: Array) -> Array:
        """Numbers of items' groups, (items, groups), for every channel."""
        if self.groups == 1:
            return statistics.reshape(-1, 1, 1)
        return np.repeat(statistics, self.inner, axis=1)[:, None, :]


def normalization(op: Normalization, inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Kernel:
    groups = Groups.of(op, inputs[0], temporaries=2)

    def run(x: Array, gamma: Array, beta: Array, y: Array, *rest: Array) -> None:
        mean, inverse, *scratch = rest
        for items, source, target, centred, squares in groups.parts(tuple(scratch), x, y):
            means = groups.means(source)
            np.subtract(source, groups.spread(means), out=centred)
            np.square(centred, out=squares)
            deviations = 1 / np.sqrt(groups.means(squares) + op.epsilon)
            if mean is not None:
                mean.reshape(-1, groups.groups)[items] = means
            if inverse is not None:
                inverse.reshape(-1, groups.groups)[items] = deviations
            np.multiply(centred, groups.spread(deviations), out=centred)
            np.multiply(centred, gamma, out=centred)
            np.add(centred, beta, out=target)

    return Kernel(run, may_alias=((0, 0),), workspace=groups.blocks.workspace)


def normalization_gradient(
    op: NormalizationGradient, inputs: tuple[Type, ...], outputs: tuple[Type, ...]
) -> Kernel:
    groups = Groups.of(op.norm, inputs[0], temporaries=2)

    def run(*arrays: Array) -> None:
        x, gamma, mean, inverse, dy, dx, dgamma, dbeta, *scratch = arrays
        mean, inverse = (a.reshape(-1, groups.groups) for a in (mean, inverse))
        scale, shift = np.zeros((2, groups.channels))
        for items, source, slopes, target, normal, spare in groups.parts(
            tuple(scratch), x, dy, x if dx is None else dx
        ):
            np.subtract(source, groups.spread(mean[items]), out=normal)
            np.multiply(normal, groups.spread(inverse[items]), out=normal)
            np.multiply(slopes, normal, out=spare)
            scale += _column_sums(spare)
            shift += _column_sums(slopes)
            if dx is None:
                continue
            np.multiply(spare, gamma, out=spare)
            np.multiply(normal, groups.spread(groups.means(spare)), out=normal)
            np.multiply(slopes, gamma, out=target)
            np.add(normal, groups.spread(groups.means(target)), out=normal)
            np.subtract(target, normal, out=target)
            np.multiply(target, groups.spread(inverse[items]), out=target)
        if dgamma is not None:
            dgamma[...] = scale
        if dbeta is not None:
            dbeta[...] = shift

    return Kernel(run, may_alias=((0, 4),), workspace=groups.blocks.workspace)


def _column_sums(values: Array) -> Array:
    rows = values.reshape(-1, values.shape[-1])
    return np.ones(len(rows), rows.dtype) @ rows


KERNELS: Builders = {
    GroupNorm: normalization,
    LayerNorm: normalization,
    NormalizationGradient: normalization_gradient,
}
