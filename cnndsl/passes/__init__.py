"""Rewrites of graphs, and the ordered lists of those that optimise."""

from __future__ import annotations

from cnndsl.graph.rewrite import Rule
from cnndsl.passes.fold_batchnorm import fold_batchnorm
from cnndsl.passes.pool_first import average_before_pointwise, maximum_before_activation
from cnndsl.passes.redundant import activation_twice, pool_of_one

#: Exact in training too: the gradients are equal.
FOR_TRAINING: tuple[Rule, ...] = (
    pool_of_one,
    activation_twice,
    average_before_pointwise,
    maximum_before_activation,
)
#: With statistics that are constant.
FOR_INFERENCE: tuple[Rule, ...] = (
    *FOR_TRAINING,
    fold_batchnorm,
)
