"""The values of expressions, and how they become the arguments of operations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Final

from cnndsl.frontend import syntax
from cnndsl.graph.graph import Value
from cnndsl.graph.op import Op
from cnndsl.graph.types import Size


@dataclass(frozen=True, slots=True)
class Word:
    """A bare word that means itself: `global`, `same`, `project`."""

    text: str

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class LayerKind:
    """A layer as a value: `relu` given to a parameter."""

    name: str
    kind: type[Op]


@dataclass(frozen=True, slots=True, eq=False)
class BlockKind:
    """A block as a value, with the file in which its free names are looked up."""

    block: syntax.Block
    module: Any

    @property
    def name(self) -> str:
        return self.block.name.id


class _Unknown:
    """What a mistake leaves behind; whatever needs it is skipped without another report."""

    def __repr__(self) -> str:
        return "UNKNOWN"


UNKNOWN: Final = _Unknown()

#: The largest whole number that is an argument, an index or an extent.
LARGEST = 1_000_000_000

#: The words that need no definition.
WORDS = ("global", "same", "valid", "project", "pad", "if_same")


class Unfit(Exception):
    """A value is not of the kind that is wanted. Knows nothing of spans."""

    def __init__(self, message: str, code: str = "E0405") -> None:
        super().__init__(message)
        self.message = message
        self.code = code


#: Whole numbers from here on are shown rounded.
LONG = 10**15


def describe(value: object) -> str:
    """What a value is, in words: "the whole number 3", "a list of 4"."""
    match value:
        case bool():
            return f"the boolean {str(value).lower()}"
        case int():
            return f"the number {show(value)}"
        case Fraction():
            return f"the number {show(value)}"
        case str():
            return f'the string "{value}"'
        case Size():
            return f"the size {value}"
        case list():
            return f"a list of {len(value)}"
        case range():
            return f"the range {value.start}..{value.stop}"
        case Word():
            return f"the word `{value}`"
        case LayerKind():
            return f"the layer `{value.name}`"
        case BlockKind():
            return f"the block `{value.name}`"
        case Value():
            return f"a value that flows, {value.type}"
        case dict():
            return f"a family of {len(value)} values that flow"
    return "something else"


def show(value: object) -> str:
    """A value as it is written."""
    match value:
        case bool():
            return str(value).lower()
        case int() if abs(value) >= LONG:
            return f"{value:.6g}"
        case Fraction():
            decimal = float(value)
            if Fraction(str(decimal)) == value:
                return str(decimal)
            return f"{value.numerator}/{value.denominator}"
        case str():
            return f'"{value}"'
        case list():
            return "[" + ", ".join(map(show, value)) + "]"
        case range():
            return f"{value.start}..{value.stop}"
        case LayerKind() | BlockKind():
            return value.name
        case Value():
            return value.name or str(value.type)
    return str(value)


def simplify(number: int | Fraction) -> int | Fraction:
    """A whole fraction as an int."""
    if isinstance(number, Fraction) and number.denominator == 1:
        return number.numerator
    return number


def is_number(value: object) -> bool:
    return isinstance(value, int | Fraction) and not isinstance(value, bool)


def whole(value: object) -> int:
    """A whole number."""
    if isinstance(value, Fraction) and value.denominator != 1:
        raise Unfit(f"a whole number is wanted here, this is {show(value)}", "E0406")
    if not is_number(value):
        raise Unfit(f"a whole number is wanted here, this is {describe(value)}")
    number: int = int(value)  # type: ignore[call-overload]
    if abs(number) > LARGEST:
        raise Unfit(f"a whole number of at most {LARGEST:,} is wanted here, this is {show(number)}")
    return number


def real(value: object) -> float:
    if not is_number(value):
        raise Unfit(f"a number is wanted here, this is {describe(value)}")
    return float(value)  # type: ignore[arg-type]


def boolean(value: object) -> bool:
    if not isinstance(value, bool):
        raise Unfit(f"`true` or `false` is wanted here, this is {describe(value)}")
    return value


def size(value: object) -> Size:
    """A window: `3x5`, or a whole number for a square one."""
    if isinstance(value, Size):
        if len(value) != 2:
            raise Unfit(f"a window has two extents, this is {value}")
        return value
    if is_number(value):
        n = whole(value)
        return Size(n, n)
    raise Unfit(f"a size such as 3x3 is wanted here, this is {describe(value)}")


def padding(value: object) -> int | str:
    if isinstance(value, Word) and value.text in ("same", "valid"):
        return value.text
    if is_number(value):
        return whole(value)
    raise Unfit(f"padding is a whole number, `same` or `valid`; this is {describe(value)}")


def pool_kernel(value: object) -> Size | str:
    if isinstance(value, Word) and value.text == "global":
        return "global"
    if isinstance(value, Word):
        raise Unfit(f"a window such as 3x3, or `global`, is wanted here, not {describe(value)}")
    return size(value)


def channel_range(value: object) -> range:
    if not isinstance(value, range):
        raise Unfit(f"a range such as 0..32 is wanted here, this is {describe(value)}")
    return value


#: How a value becomes a field of an operation, by the field's annotation.
CONVERTERS: dict[str, Callable[[object], object]] = {
    "int": whole,
    "int | None": whole,
    "float": real,
    "bool": boolean,
    "bool | None": boolean,
    "Size": size,
    "Padding": padding,
    "PoolKernel": pool_kernel,
    "range": channel_range,
}
