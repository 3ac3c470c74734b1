"""A graph of ONNX operators in the making: names and arrays, without the library that writes it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from cnndsl.graph.op import Op
from cnndsl.graph.types import Type

Attribute = int | float | str | Sequence[int]


@dataclass(frozen=True)
class Operator:
    """An ONNX operator applied to values, which are known by name; its own name is its result's."""

    kind: str
    inputs: tuple[str, ...]
    output: str
    attributes: Mapping[str, Any]


class Draft:
    """Operators in the order of execution, and constants, by the names of their values.

    Maps are (N, C, H, W), vectors (N, C).

    Attributes:
        layer: the path of the layer that is being translated: what is added is called after it.
        types: the type in cnndsl, NHWC, of each value between layers.
    """

    def __init__(self) -> None:
        self.operators: list[Operator] = []
        self.constants: dict[str, np.ndarray[Any, Any]] = {}
        self.types: dict[str, Type] = {}
        self.layer = ""
        self._names: set[str] = set()

    def name(self, wanted: str) -> str:
        """The wanted name, or the first of `wanted2`, `wanted3`, … that no value has."""
        name, number = wanted, 2
        while name in self._names:
            name, number = f"{wanted}{number}", number + 1
        self._names.add(name)
        return name

    def add(self, kind: str, *inputs: str, **attributes: Attribute) -> str:
        """Apply an ONNX operator; the name of its result."""
        output = self.name(f"{self.layer}.{kind}")
        self.operators.append(Operator(kind, inputs, output, attributes))
        return output

    def constant(self, role: str, values: ArrayLike, dtype: str) -> str:
        """The name of an array that the layer needs."""
        name = self.name(f"{self.layer}.{role}")
        self.constants[name] = np.asarray(values, dtype)
        return name

    def integers(self, role: str, values: Sequence[int]) -> str:
        """The name of a list of integers: axes, a shape, what to pad."""
        return self.constant(role, values, "int64")


#: `translate(draft, op, types, inputs)` adds what an operation is in ONNX, and returns the name of
#: its result. The types are those of its operands in cnndsl, the inputs their names.
Translation = Callable[[Draft, Any, Sequence[Type], Sequence[str]], str]

#: By the class of an operation.
Translations = dict[type[Op], Translation]


def spatial(x: Type) -> list[int]:
    """The axes of height and width in ONNX; none of a vector."""
    return [2, 3] if x.is_map else []
