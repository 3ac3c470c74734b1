"""What an operation is: fields, shape rule, parameters, gradient and costs; and the registry."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, dataclass_transform

from cnndsl.graph.types import Size, Type

if TYPE_CHECKING:
    from cnndsl.graph.graph import Value

__all__ = [
    "KW_ONLY",
    "LOSSES",
    "OPS",
    "OPTIMIZERS",
    "Index",
    "Initial",
    "Mismatch",
    "Op",
    "Parameters",
    "Pattern",
    "View",
    "Weight",
    "Window",
    "op",
    "spell",
]


class Mismatch(Exception):
    """An operation cannot take these types or arguments. Knows nothing of spans.

    `argument` is the field that no type of the inputs could make right, if it is one.
    """

    def __init__(
        self, message: str, help: str | None = None, *, argument: str | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.help = help
        self.argument = argument


@dataclass(frozen=True, slots=True)
class Initial:
    """How a parameter or a buffer starts: a constant, or random with the given fans.

    `kind` is "constant" (of `value`) or "weights"; for weights a recipe chooses the distribution
    (He, Xavier, LeCun) from `fan_in` and `fan_out`.
    """

    kind: str = "constant"
    value: float = 0.0
    fan_in: int = 1
    fan_out: int = 1


@dataclass(frozen=True, slots=True)
class Weight:
    """A parameter that an operation owns; `decays` unless it is a bias or belongs to a norm."""

    shape: tuple[int, ...]
    initial: Initial
    decays: bool = True


#: A part of an array: a slice an axis, from the first on.
Index = tuple[slice, ...]

#: What an array is seen as: parts of axes, the only element of one, and new axes of length 1.
View = tuple[slice | int | None, ...]

#: Parameters by role ("weight", "bias", …), in the order in which `infer` takes them.
Parameters = dict[str, Weight]


@dataclass(frozen=True, slots=True)
class Window:
    """What an operation reads: each axis's kernel (dilated), stride and leading pad.

    `kernel` None means everything; `upsampling` is how many outputs share one input along an axis.
    """

    kernel: Size | None
    stride: tuple[int, int] = (1, 1)
    before: tuple[int, int] = (0, 0)
    upsampling: int = 1


@dataclass(frozen=True)
class Pattern:
    """Operations to look for: a kind or several, and what its operands are.

    An operand is a pattern or a name that stands for any value; `"bias?"` may be missing.
    `operands` None says nothing of them. The operation is found under `name`, by default its own.
    """

    kind: type[Op] | tuple[type[Op], ...]
    operands: tuple[Pattern | str, ...] | None
    name: str = ""

    def named(self, name: str) -> Pattern:
        """The same pattern, its operation found under another name."""
        return replace(self, name=name)


def side_by_side(axis: int, inputs: Sequence[Type]) -> tuple[Index, ...]:
    """Where values stand that follow one another along an axis."""
    places, first = [], 0
    for x in inputs:
        last = first + x.features[axis - x.batched]
        places.append((*[slice(None)] * axis, slice(first, last)))
        first = last
    return tuple(places)


class Op:
    """An operation: a frozen dataclass whose fields are its arguments in the language.

    Fields before `_: KW_ONLY` may be given by position, the others by name.
    """

    #: The word in the language, or the printed name of an internal operation.
    name: ClassVar[str]
    #: Whether it has a gradient; one that has none says so.
    differentiable: ClassVar[bool] = True
    #: Programs, each a one-line chain, that document and test the operation.
    examples: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def of(cls, *operands: Pattern | str) -> Pattern:
        """A pattern: this operation, applied to these operands."""
        return Pattern(cls, operands)

    def infer(self, *inputs: Any, **_: Any) -> Type | tuple[Type, ...]:
        """The types of the results, for those of the inputs; an operation names its own inputs.

        Raises:
            Mismatch: the inputs do not fit.
        """
        raise TypeError(f"`{self.name}` stands in no graph: it resolves to another operation")

    def resolve(self, x: Type) -> Op:
        """The operation that stands in the graph when this one is applied to `x`."""
        return self

    def parameters(self, x: Type) -> Parameters:
        """The parameters that this operation owns when it is applied to `x`."""
        return {}

    def buffers(self, x: Type) -> Parameters:
        """The state that is no parameter, taken by `infer` after the parameters."""
        return {}

    def gradient(
        self,
        inputs: Sequence[Value],
        outputs: Sequence[Value],
        grads: Sequence[Value | None],
    ) -> Sequence[Value | None]:
        """The gradient of the loss for each input, given that of each output, in operations.

        `grads` holds None for outputs that the loss does not depend on; a result is None where an
        input has no gradient.
        """
        raise TypeError(f"`{self.name}` has no gradient")

    def multiply_adds(self, outputs: Sequence[Type], *inputs: Type) -> int:
        """Multiply-adds an image in convolutions and fully connected layers; zero for all else."""
        return 0

    def flops(self, outputs: Sequence[Type], *inputs: Type) -> int:
        """Floating-point operations an image; one an output element unless said otherwise."""
        return 2 * self.multiply_adds(outputs, *inputs) or outputs[0].elements

    def again(
        self, inputs: Sequence[Value], outputs: Sequence[Value]
    ) -> tuple[Op, Sequence[Value]]:
        """What computes the results of images once more, results of the batch being at hand."""
        return self, inputs

    def view(self, x: Type) -> View | None:
        """How its operand is seen as the result, of an operation that computes nothing."""
        return None

    def places(self, *inputs: Type) -> tuple[Index, ...]:
        """Where each operand stands in the result, of an operation that puts them side by side."""
        return ()

    def elementwise(self, *inputs: Type) -> tuple[int, ...]:
        """The slots of operands that have the only result's shape and of which element i goes into
        element i of it and no other; none of an operation that does more than that."""
        return ()

    def window(self, x: Type) -> Window:
        """The part of the input that one output element sees."""
        return Window(Size(1, 1))

    def spell(self, *inputs: Type) -> str:
        """The operation as it is written in the language, for the given input types."""
        return spell(self)


Kind = TypeVar("Kind", bound=type[Op])

#: The layers that users may write, by their word.
OPS: dict[str, type[Op]] = {}
#: The losses and the optimisers that a recipe may name, by their word.
LOSSES: dict[str, type[Op]] = {}
OPTIMIZERS: dict[str, type[Op]] = {}


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def op(name: str, *, registry: dict[str, type[Op]] | None = OPS) -> Callable[[Kind], Kind]:
    """Make a class a frozen dataclass operation and register it; `registry=None` is internal."""

    def decorate(kind: Kind) -> Kind:
        made: Any = dataclass(frozen=True)(kind)
        made.name = name
        if registry is not None:
            if name in registry:
                raise ValueError(f"operation {name!r} is registered twice")
            registry[name] = made
        result: Kind = made
        return result

    return decorate


def spell_value(value: object) -> str:
    """An argument as it is written in the language."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, range):
        return f"{value.start}..{value.stop}"
    if isinstance(value, float):
        text = repr(value)
        return text if "e" in text or "." in text else text + ".0"
    return str(value)


def spell(operation: Op, hide: Sequence[str] = ()) -> str:
    """Name, positional arguments, `/stride`, and the named arguments that differ from defaults."""
    words = []
    for argument in fields(operation):  # type: ignore[arg-type]
        value = getattr(operation, argument.name)
        unset = value is None or (argument.kw_only and value == argument.default)
        if unset or argument.name in hide:
            continue
        if argument.name == "stride":
            words.append(f"/{value}")
        elif argument.kw_only:
            words.append(f"{argument.name}={spell_value(value)}")
        else:
            words.append(spell_value(value))
    return " ".join([operation.name, ", ".join(words)]).strip()
