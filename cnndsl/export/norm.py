"""Norms and learned scales in ONNX."""

from __future__ import annotations

from collections.abc import Sequence

from cnndsl.export.draft import Draft, Translations
from cnndsl.graph.types import Type
from cnndsl.ops.image_norm import GroupNorm, LayerNorm
from cnndsl.ops.norm import BatchNorm, LocalResponseNorm, Scale


def batch_norm(draft: Draft, op: BatchNorm, types: Sequence[Type], inputs: Sequence[str]) -> str:
    return draft.add("BatchNormalization", *inputs, epsilon=float(op.epsilon))


def local_response_norm(
    draft: Draft, op: LocalResponseNorm, types: Sequence[Type], inputs: Sequence[str]
) -> str:
    """ONNX divides `alpha` by the size, and an even window reaches further to the other side.

    So an even window, and a vector, are written out: the sum is `size` times an average along the
    channels as an axis of space.
    """
    (x,) = types
    alpha = float(op.factor * op.size)
    if x.is_map and op.size % 2:
        return draft.add(
            "LRN", *inputs, size=op.size, alpha=alpha, beta=float(op.beta), bias=float(op.k)
        )
    first = draft.integers("axes", [1])
    flat = [1] * (len(x.shape) - 2)
    squares = draft.add("Unsqueeze", draft.add("Mul", *inputs, *inputs), first)
    means = draft.add(
        "AveragePool",
        squares,
        kernel_shape=[op.size, *flat],
        strides=[1, *flat],
        pads=[op.size // 2, *(0 for _ in flat), (op.size - 1) // 2, *(0 for _ in flat)],
        count_include_pad=1,
    )
    sums = draft.add(
        "Mul", draft.add("Squeeze", means, first), draft.constant("alpha", alpha, x.dtype)
    )
    base = draft.add("Add", sums, draft.constant("k", op.k, x.dtype))
    power = draft.add("Pow", base, draft.constant("beta", op.beta, x.dtype))
    return draft.add("Div", *inputs, power)


def group_norm(draft: Draft, op: GroupNorm, types: Sequence[Type], inputs: Sequence[str]) -> str:
    return draft.add("GroupNormalization", *inputs, num_groups=op.groups, epsilon=float(op.epsilon))


def layer_norm(draft: Draft, op: LayerNorm, types: Sequence[Type], inputs: Sequence[str]) -> str:
    """Of a map the channels go last and come back, for ONNX normalises the last axes."""
    x, *affine = inputs
    is_map = types[0].is_map
    if is_map:
        x = draft.add("Transpose", x, perm=[0, 2, 3, 1])
    y = draft.add("LayerNormalization", x, *affine, axis=-1, epsilon=float(op.epsilon))
    return draft.add("Transpose", y, perm=[0, 3, 1, 2]) if is_map else y


def scale(draft: Draft, op: Scale, types: Sequence[Type], inputs: Sequence[str]) -> str:
    x, factors = inputs
    if types[0].is_map:
        factors = draft.add("Unsqueeze", factors, draft.integers("axes", [1, 2]))
    return draft.add("Mul", x, factors)


TRANSLATIONS: Translations = {
    BatchNorm: batch_norm,
    LocalResponseNorm: local_response_norm,
    GroupNorm: group_norm,
    LayerNorm: layer_norm,
    Scale: scale,
}
