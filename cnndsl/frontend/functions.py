"""The built-in functions of expressions."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

from cnndsl.frontend.values import Unfit, describe, is_number, whole
from cnndsl.graph.types import Size


def _numbers(*values: Any) -> list[Any]:
    items = values[0] if len(values) == 1 and isinstance(values[0], list | range) else values
    for item in items:
        if not is_number(item):
            raise Unfit(f"numbers are wanted, this is {describe(item)}")
    return list(items)


def _extremum(choose: Callable[[list[Any]], Any]) -> Callable[..., Any]:
    def function(*values: Any) -> Any:
        items = _numbers(*values)
        if not items:
            raise Unfit("there is no number to choose from")
        return choose(items)

    return function


def _length(value: Any) -> int:
    if not isinstance(value, list | range | Size):
        raise Unfit(f"a list is wanted, this is {describe(value)}")
    return len(value)


def _rounding(function: Callable[[Any], int]) -> Callable[[Any], int]:
    def rounded(value: Any) -> int:
        (number,) = _numbers(value)
        return function(number)

    return rounded


def round_to(value: Any, multiple: Any) -> int:
    """The nearest multiple, at least one and never less than nine tenths of the value.

    Source: Sandler et al., MobileNetV2, 2018 (`make_divisible`).
    """
    number, step = _numbers(value, multiple)
    step = whole(step)
    if step < 1:
        raise Unfit(f"a multiple of at least 1 is wanted, this is {step}")
    rounded = max(step, math.floor(Fraction(number) + Fraction(step, 2)) // step * step)
    return rounded + step if rounded < Fraction(9, 10) * Fraction(number) else rounded


def make_size(height: Any, width: Any) -> Size:
    return Size(whole(height), whole(width))


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "len": _length,
    "max": _extremum(max),
    "min": _extremum(min),
    "sum": lambda *values: sum(_numbers(*values)),
    "floor": _rounding(math.floor),
    "ceil": _rounding(math.ceil),
    "round_to": round_to,
    "size": make_size,
}
SIGNATURES = {
    "len": "len(list)",
    "max": "max(a, b, …) or max(list)",
    "min": "min(a, b, …) or min(list)",
    "sum": "sum(list)",
    "floor": "floor(number)",
    "ceil": "ceil(number)",
    "round_to": "round_to(number, multiple)",
    "size": "size(height, width)",
}
