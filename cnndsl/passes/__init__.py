"""Rewrites of graphs, and the ordered lists of those that optimise."""

from __future__ import annotations

from cnndsl.graph.rewrite import Rewrite
from cnndsl.passes.backward import GRADIENTS
from cnndsl.passes.branches import merge_branches
from cnndsl.passes.dense import conv_of_all, flatten_before_fc, flatten_of_vector
from cnndsl.passes.epilogues import EPILOGUES
from cnndsl.passes.fold_batchnorm import batchnorm_before_linear, fold_batchnorm, fold_scale
from cnndsl.passes.linear import conv_of_conv, fc_of_fc
from cnndsl.passes.padding import fold_padding
from cnndsl.passes.pool_first import average_before_pointwise, maximum_before_activation
from cnndsl.passes.pools import pool_of_all, pool_of_pool, stride_of_stride
from cnndsl.passes.redundant import activation_twice, pool_of_one
from cnndsl.passes.siblings import merge_groups, merge_paths, merge_siblings, merge_sums
from cnndsl.passes.slices import (
    activation_before_slices,
    batchnorm_before_slices,
    concat_of_concat,
    concat_of_slices,
    gradients_of_slices,
)
from cnndsl.passes.subexpressions import common_subexpression

_POOLS: tuple[Rewrite, ...] = (
    pool_of_one,
    pool_of_all,
    pool_of_pool,
    fold_padding,
    activation_twice,
    average_before_pointwise,
    maximum_before_activation,
    stride_of_stride,
)
_DENSE: tuple[Rewrite, ...] = (
    conv_of_all,
    flatten_before_fc,
    flatten_of_vector,
)
_LINEAR: tuple[Rewrite, ...] = (
    fold_batchnorm,
    fold_scale,
    batchnorm_before_linear,
    conv_of_conv,
    fc_of_fc,
    merge_branches,
)
_SIBLINGS: tuple[Rewrite, ...] = (
    common_subexpression,
    merge_paths,
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
    *_POOLS,
    *_DENSE,
    *_SIBLINGS,
    gradients_of_slices,
)
#: With statistics and weights that are constant.
FOR_INFERENCE: tuple[Rewrite, ...] = (
    *_POOLS,
    *_DENSE,
    *_LINEAR,
    *_SIBLINGS,
)
#: Whose results are read in slices: a loss on engines that have to copy those.
IN_SLICES: tuple[Rewrite, ...] = (merge_siblings,)
#: All that an engine may ask for, in order; applied last.
FUSIONS: tuple[Rewrite, ...] = (*GRADIENTS, *EPILOGUES)
