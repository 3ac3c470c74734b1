"""Activations in ONNX."""

from __future__ import annotations

from collections.abc import Sequence

from cnndsl.export.draft import Attribute, Draft, Translation, Translations
from cnndsl.graph.op import Op
from cnndsl.graph.types import Type
from cnndsl.ops.activation import (
    Elu,
    Gelu,
    HardSigmoid,
    HardSwish,
    LeakyRelu,
    Relu,
    Relu6,
    Sigmoid,
    Silu,
    Softmax,
    Tanh,
)


def one(kind: str, **attributes: Attribute) -> Translation:
    """The translation to one operator, which needs nothing from the operation."""

    def translate(draft: Draft, op: Op, types: Sequence[Type], inputs: Sequence[str]) -> str:
        return draft.add(kind, *inputs, **attributes)

    return translate


def relu6(draft: Draft, op: Relu6, types: Sequence[Type], inputs: Sequence[str]) -> str:
    least = draft.constant("least", 0, types[0].dtype)
    most = draft.constant("most", 6, types[0].dtype)
    return draft.add("Clip", *inputs, least, most)


def leaky_relu(draft: Draft, op: LeakyRelu, types: Sequence[Type], inputs: Sequence[str]) -> str:
    return draft.add("LeakyRelu", *inputs, alpha=float(op.slope))


def elu(draft: Draft, op: Elu, types: Sequence[Type], inputs: Sequence[str]) -> str:
    return draft.add("Elu", *inputs, alpha=float(op.alpha))


def silu(draft: Draft, op: Silu, types: Sequence[Type], inputs: Sequence[str]) -> str:
    return draft.add("Mul", *inputs, draft.add("Sigmoid", *inputs))


TRANSLATIONS: Translations = {
    Relu: one("Relu"),
    Relu6: relu6,
    LeakyRelu: leaky_relu,
    Elu: elu,
    Sigmoid: one("Sigmoid"),
    Tanh: one("Tanh"),
    Silu: silu,
    Gelu: one("Gelu", approximate="none"),
    HardSwish: one("HardSwish"),
    HardSigmoid: one("HardSigmoid", alpha=1 / 6, beta=0.5),
    Softmax: one("Softmax", axis=1),
}
