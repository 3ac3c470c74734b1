"""Rewrites of graphs, and the ordered lists of those that optimise."""

from __future__ import annotations

from cnndsl.graph.rewrite import Rewrite
from cnndsl.passes.common import common_subexpression
from cnndsl.passes.fold_batchnorm import fold_batchnorm
from cnndsl.passes.pool_first import average_before_pointwise, maximum_before_activation
from cnndsl.passes.redundant import activation_twice, pool_of_one
from cnndsl.passes.siblings import merge_groups, merge_siblings, merge_sums
from cnndsl.passes.slices import (
    activation_before_slices,
    batchnorm_before_slices,
    concat_of_concat,
    concat_of_slices,
    gradients_of_slices,
)

_SIBLINGS: tuple[Rewrite, ...] = (
    common_subexpression,
    merge_siblings,
    batchnorm_before_slices,
    activation_before_slices,
    merge_sums,
    merge_groups,
    concat_of_slices,
    concat_of_concat,
)
#: Exact in training too: the gradients are equal. Applied before gradients are added, and after.
FOR_TRAINING: tuple[Rewrite, ...] = (
    pool_of_one,
    activation_twice,
    average_before_pointwise,
    maximum_before_activation,
    *_SIBLINGS,
    gradients_of_slices,
)
#: With statistics that are constant.
FOR_INFERENCE: tuple[Rewrite, ...] = (
    pool_of_one,
    activation_twice,
    average_before_pointwise,
    maximum_before_activation,
    fold_batchnorm,
    *_SIBLINGS,
)
