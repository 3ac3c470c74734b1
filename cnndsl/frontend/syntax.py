"""The abstract syntax of a `.cnn` file: frozen nodes, each with its span."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from cnndsl.diagnostics import Source, Span


@dataclass(frozen=True, slots=True)
class Node:
    """Anything that stands somewhere in a source."""

    span: Span


# Expressions -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Expression(Node):
    """Something with a value."""


@dataclass(frozen=True, slots=True)
class Literal(Expression):
    """A whole number, an exact decimal, a boolean or a string."""

    value: int | Fraction | bool | str


@dataclass(frozen=True, slots=True)
class SizeLiteral(Expression):
    """`3x3` or `227x227x3`."""

    extents: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Name(Expression):
    """A word: a parameter, a `let`, a named value, a layer, a block, or a word such as `global`."""

    id: str


@dataclass(frozen=True, slots=True)
class Unary(Expression):
    """`-x` or `not x`."""

    operator: str
    operand: Expression


@dataclass(frozen=True, slots=True)
class Binary(Expression):
    """Arithmetic, comparison, `and`, `or`; `operator` is as it is written."""

    operator: str
    left: Expression
    right: Expression


@dataclass(frozen=True, slots=True)
class Conditional(Expression):
    """`then if condition else otherwise`."""

    then: Expression
    condition: Expression
    otherwise: Expression


@dataclass(frozen=True, slots=True)
class Range(Expression):
    """`start..stop`, without `stop`."""

    start: Expression
    stop: Expression


@dataclass(frozen=True, slots=True)
class ListLiteral(Expression):
    """`[a, b, c]`."""

    items: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Comprehension(Expression):
    """`[item for names in iterable if condition]`."""

    item: Expression
    names: tuple[Name, ...]
    iterable: Expression
    condition: Expression | None


@dataclass(frozen=True, slots=True)
class Index(Expression):
    """`value[index]`."""

    value: Expression
    index: Expression


@dataclass(frozen=True, slots=True)
class Call(Expression):
    """`len(x)`: a built-in function."""

    function: Name
    arguments: tuple[Expression, ...]


# Steps -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Argument(Node):
    """One argument of a layer, a block or a variant: `64`, `pad=1`, or `/2` (named `stride`)."""

    value: Expression
    name: Name | None = None
    is_stride: bool = False


@dataclass(frozen=True, slots=True)
class Binding(Node):
    """`as name` or `as name[index]`."""

    name: Name
    index: Expression | None = None


@dataclass(frozen=True, slots=True)
class Claim(Node):
    """`: 27x27x96`: one expression an extent, three for a map, one for a vector."""

    extents: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Step(Node):
    """Takes the current value, leaves the next."""


@dataclass(frozen=True, slots=True)
class Layer(Step):
    """A layer, a join or a block call: `conv 64, 3x3`, `concat { … }`, `inception 64, …`."""

    name: Name
    arguments: tuple[Argument, ...]
    body: Body | None
    binding: Binding | None
    claim: Claim | None


@dataclass(frozen=True, slots=True)
class From(Step):
    """`from name` or `from name[index]`."""

    name: Name
    index: Expression | None
    binding: Binding | None
    claim: Claim | None


@dataclass(frozen=True, slots=True)
class Let(Step):
    """`let name = value`, in a body or at the top of a file."""

    name: Name
    value: Expression


@dataclass(frozen=True, slots=True)
class For(Step):
    """`for names in iterable { … }`."""

    names: tuple[Name, ...]
    iterable: Expression
    body: Body


@dataclass(frozen=True, slots=True)
class If(Step):
    """`if condition { … } else { … }`; `else if` is an `otherwise` that holds one `If`."""

    condition: Expression
    then: Body
    otherwise: Body | None


@dataclass(frozen=True, slots=True)
class Branch(Node):
    """`| steps`."""

    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Body(Node):
    """`{ steps | branch | branch }`; steps come before branches, and either may be empty."""

    steps: tuple[Step, ...]
    branches: tuple[Branch, ...]


# Items -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Parameter(Node):
    """A parameter of a block or a model, with its default if it has one."""

    name: Name
    default: Expression | None


@dataclass(frozen=True, slots=True)
class Item(Node):
    """Something at the top of a file."""


@dataclass(frozen=True, slots=True)
class Use(Item):
    """`use "blocks/se.cnn"`; `path_span` is the string's."""

    path: str
    path_span: Span


@dataclass(frozen=True, slots=True)
class Global(Item):
    """A `let` at the top of a file."""

    let: Let


@dataclass(frozen=True, slots=True)
class Block(Item):
    """`block name(parameters) { … }`."""

    name: Name
    parameters: tuple[Parameter, ...]
    body: Body


@dataclass(frozen=True, slots=True)
class Model(Item):
    """`model name(parameters) { … }`."""

    name: Name
    parameters: tuple[Parameter, ...]
    body: Body


@dataclass(frozen=True, slots=True)
class Variant(Item):
    """`model name = base(arguments)`."""

    name: Name
    base: Name
    arguments: tuple[Argument, ...]


@dataclass(frozen=True, slots=True)
class SettingValue(Node):
    """One part of a setting: `0.5`, `momentum=0.9` (named), or `crop 227` (word and value)."""

    value: Expression
    name: Name | None = None
    word: Name | None = None


@dataclass(frozen=True, slots=True)
class Setting(Node):
    """A line of a `train` section: `optimizer sgd, lr=0.01`."""

    name: Name
    values: tuple[SettingValue, ...]


@dataclass(frozen=True, slots=True)
class Train(Item):
    """`train model { settings }`; without a model it is for every model of the file."""

    model: Name | None
    settings: tuple[Setting, ...]


@dataclass(frozen=True, slots=True)
class Path(Node):
    """A weight-like path in an `expect` section: `stage2.0.conv1`."""

    text: str


@dataclass(frozen=True, slots=True)
class Proof(Node):
    """A line of an `expect` section: `shape of conv5 == 13x13x256`; `~` is "to the digits"."""

    quantity: Name
    of: Path | None
    operator: str
    value: Expression


@dataclass(frozen=True, slots=True)
class Expect(Item):
    """`expect model { proofs }`."""

    model: Name
    proofs: tuple[Proof, ...]


@dataclass(frozen=True, slots=True)
class File(Node):
    """A whole `.cnn` file."""

    source: Source
    items: tuple[Item, ...]
