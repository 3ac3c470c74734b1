"""Builds the abstract syntax from Lark's parse tree."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Any

from lark import Token, Tree
from lark.tree import Meta
from lark.visitors import Transformer_NonRecursive, v_args

from cnndsl.diagnostics import Diagnostic, Label, Source, Span
from cnndsl.frontend import syntax

#: A number has at most this many digits, and an exponent at most this size.
LONGEST = 18
LARGEST_EXPONENT = 99


def pairs(items: Sequence[Any]) -> Iterator[tuple[Any, Any]]:
    return zip(items[::2], items[1::2], strict=True)


@v_args(meta=True, inline=True)
class Builder(Transformer_NonRecursive[Token, Any]):
    """One method a rule of the grammar; mistakes that no rule can see are left in `mistakes`."""

    def __init__(self, source: Source) -> None:
        super().__init__(visit_tokens=False)
        self.source = source
        self.mistakes: list[Diagnostic] = []

    # Places --------------------------------------------------------------------------------------

    def at(self, place: Meta | Token) -> Span:
        if isinstance(place, Token):
            start, end = place.start_pos, place.end_pos
        elif place.empty:
            start = end = 0
        else:
            start, end = place.start_pos, place.end_pos
        assert start is not None
        assert end is not None
        return Span(self.source, start, end)

    def named(self, token: Token) -> syntax.Name:
        return syntax.Name(self.at(token), str(token))

    # Numbers -------------------------------------------------------------------------------------

    def whole(self, text: str, span: Span) -> int:
        digits = text.replace("_", "")
        if len(digits) <= LONGEST:
            return int(digits)
        message = f"a number of {len(digits)} digits: {LONGEST} is the most"
        self.mistakes.append(Diagnostic("E0116", message, Label(span)))
        return 0

    def exact(self, text: str, span: Span) -> Fraction:
        mantissa, _, exponent = text.replace("_", "").lower().partition("e")
        digits = len(mantissa) - mantissa.count(".")
        if digits > LONGEST:
            message = f"a number of {digits} digits: {LONGEST} is the most"
        elif len(exponent) > LONGEST or abs(int(exponent or "0")) > LARGEST_EXPONENT:
            message = f"an exponent beyond {LARGEST_EXPONENT}"
        else:
            return Fraction(mantissa) * Fraction(10) ** int(exponent or "0")
        self.mistakes.append(Diagnostic("E0116", message, Label(span)))
        return Fraction(0)

    def extents(self, token: Token) -> tuple[syntax.Literal, ...]:
        """The numbers of `227x227x3`, or of `227x227x`, each with its own span."""
        assert token.start_pos is not None
        found = []
        for digits in re.finditer("[0-9]+", str(token)):
            start, end = (token.start_pos + offset for offset in digits.span())
            span = Span(self.source, start, end)
            found.append(syntax.Literal(span, self.whole(digits[0], span)))
        return tuple(found)

    # Items ---------------------------------------------------------------------------------------

    def file(self, meta: Meta, *items: syntax.Item | None) -> syntax.File:
        span = Span(self.source, 0, len(self.source.text))
        return syntax.File(span, self.source, tuple(item for item in items if item is not None))

    def expression(self, meta: Meta, value: syntax.Expression) -> syntax.Expression:
        return value

    def use(self, meta: Meta, path: Token) -> syntax.Use:
        return syntax.Use(self.at(meta), str(path)[1:-1], self.at(path))

    def global_let(self, meta: Meta, let: syntax.Let) -> syntax.Global:
        return syntax.Global(self.at(meta), let)

    def block(self, meta: Meta, name: Token, parameters: Any, body: syntax.Body) -> syntax.Block:
        return syntax.Block(self.at(meta), self.named(name), parameters or (), body)

    def model(self, meta: Meta, name: Token, parameters: Any, body: syntax.Body) -> syntax.Model:
        return syntax.Model(self.at(meta), self.named(name), parameters or (), body)

    def variant(self, meta: Meta, name: Token, base: Token, arguments: Any) -> syntax.Variant:
        named, of = self.named(name), self.named(base)
        return syntax.Variant(self.at(meta), named, of, arguments or ())

    def parameters(self, meta: Meta, *parameters: Any) -> tuple[syntax.Parameter, ...]:
        return tuple(parameter for parameter in parameters if parameter is not None)

    def parameter(self, meta: Meta, name: Token, default: Any) -> syntax.Parameter:
        return syntax.Parameter(self.at(meta), self.named(name), default)

    def train(self, meta: Meta, model: Token | None, *settings: Any) -> syntax.Train:
        of = None if model is None else self.named(model)
        return syntax.Train(self.at(meta), of, tuple(s for s in settings if s is not None))

    def setting(self, meta: Meta, name: Token, *values: Any) -> syntax.Setting:
        return syntax.Setting(self.at(meta), self.named(name), values)

    def setting_value(self, meta: Meta, value: Any) -> syntax.SettingValue:
        return syntax.SettingValue(self.at(meta), value)

    def named_value(self, meta: Meta, name: Token, value: Any) -> syntax.SettingValue:
        return syntax.SettingValue(self.at(meta), value, name=self.named(name))

    def worded_value(self, meta: Meta, word: Token, value: Any) -> syntax.SettingValue:
        return syntax.SettingValue(self.at(meta), value, word=self.named(word))

    def expect(self, meta: Meta, model: Token, *proofs: Any) -> syntax.Expect:
        stated = tuple(proof for proof in proofs if proof is not None)
        return syntax.Expect(self.at(meta), self.named(model), stated)

    def proof(self, meta: Meta, quantity: Token, of: Any, sign: Token, value: Any) -> syntax.Proof:
        return syntax.Proof(self.at(meta), self.named(quantity), of, str(sign), value)

    def path(self, meta: Meta, path: Token) -> syntax.Path:
        return syntax.Path(self.at(path), str(path))

    # Steps ---------------------------------------------------------------------------------------

    def body(self, meta: Meta, *parts: Any) -> syntax.Body:
        present = [part for part in parts if part is not None]
        branches = tuple(part for part in present if isinstance(part, syntax.Branch))
        return syntax.Body(self.at(meta), tuple(present[: len(present) - len(branches)]), branches)

    def branch(self, meta: Meta, *steps: syntax.Step) -> syntax.Branch:
        return syntax.Branch(self.at(meta), steps)

    def layer(
        self, meta: Meta, name: Token, arguments: Any, body: Any, binding: Any, claim: Any
    ) -> syntax.Layer:
        called = self.named(name)
        return syntax.Layer(self.at(meta), called, arguments or (), body, binding, claim)

    def restart(self, meta: Meta, name: Token, index: Any, binding: Any, claim: Any) -> syntax.From:
        return syntax.From(self.at(meta), self.named(name), index, binding, claim)

    def let(self, meta: Meta, name: Token, value: syntax.Expression) -> syntax.Let:
        return syntax.Let(self.at(meta), self.named(name), value)

    def loop(self, meta: Meta, names: Any, iterable: Any, body: syntax.Body) -> syntax.For:
        return syntax.For(self.at(meta), names, iterable, body)

    def choice(self, meta: Meta, condition: Any, then: syntax.Body, otherwise: Any) -> syntax.If:
        if isinstance(otherwise, syntax.If):
            otherwise = syntax.Body(otherwise.span, (otherwise,), ())
        return syntax.If(self.at(meta), condition, then, otherwise)

    def arguments(self, meta: Meta, *arguments: Any) -> tuple[syntax.Argument, ...]:
        return tuple(argument for argument in arguments if argument is not None)

    call_arguments = arguments

    def argument(self, meta: Meta, value: syntax.Expression) -> syntax.Argument:
        return syntax.Argument(self.at(meta), value)

    def named_argument(self, meta: Meta, name: Token, value: Any) -> syntax.Argument:
        return syntax.Argument(self.at(meta), value, name=self.named(name))

    def stride_argument(self, meta: Meta, slash: Token, value: Any) -> syntax.Argument:
        return syntax.Argument(self.at(meta), value, is_stride=True)

    def binding(self, meta: Meta, name: Token, index: Any) -> syntax.Binding:
        return syntax.Binding(self.at(meta), self.named(name), index)

    def claim(self, meta: Meta, *parts: Any) -> syntax.Claim:
        extents: list[syntax.Expression] = []
        for part in parts:
            if not isinstance(part, Token):
                extents.append(part)
            elif part.type == "NAME":
                extents.append(self.named(part))
            elif part.type == "INTEGER":
                extents.append(self.integer(meta, part))
            else:
                extents += self.extents(part)
        if len(extents) == 2:
            message = "a shape is HxWxC, or one number for a vector"
            label = Label(self.at(meta), "this has two extents")
            self.mistakes.append(Diagnostic("E0116", message, label))
        return syntax.Claim(self.at(meta), tuple(extents))

    def names(self, meta: Meta, *names: Token) -> tuple[syntax.Name, ...]:
        return tuple(self.named(name) for name in names)

    # Expressions ---------------------------------------------------------------------------------

    def conditional(self, meta: Meta, then: Any, test: Any, otherwise: Any) -> syntax.Conditional:
        return syntax.Conditional(self.at(meta), then, test, otherwise)

    def binary(self, meta: Meta, left: Any, sign: Token, right: Any) -> syntax.Binary:
        return syntax.Binary(self.at(meta), str(sign), left, right)

    def unary(self, meta: Meta, sign: Token, operand: syntax.Expression) -> syntax.Unary:
        return syntax.Unary(self.at(meta), str(sign), operand)

    def from_to(self, meta: Meta, start: Any, stop: Any) -> syntax.Range:
        return syntax.Range(self.at(meta), start, stop)

    def integer(self, meta: Meta, token: Token) -> syntax.Literal:
        span = self.at(token)
        return syntax.Literal(span, self.whole(str(token), span))

    def decimal(self, meta: Meta, token: Token) -> syntax.Literal:
        span = self.at(token)
        return syntax.Literal(span, self.exact(str(token), span))

    def size(self, meta: Meta, token: Token) -> syntax.SizeLiteral:
        extents = tuple(extent.value for extent in self.extents(token))
        return syntax.SizeLiteral(self.at(token), tuple(e for e in extents if isinstance(e, int)))

    def string(self, meta: Meta, token: Token) -> syntax.Literal:
        return syntax.Literal(self.at(token), str(token)[1:-1])

    def true(self, meta: Meta, token: Token) -> syntax.Literal:
        return syntax.Literal(self.at(token), True)

    def false(self, meta: Meta, token: Token) -> syntax.Literal:
        return syntax.Literal(self.at(token), False)

    def name(self, meta: Meta, token: Token) -> syntax.Name:
        return self.named(token)

    def call(self, meta: Meta, function: Token, *arguments: Any) -> syntax.Call:
        given = tuple(argument for argument in arguments if argument is not None)
        return syntax.Call(self.at(meta), self.named(function), given)

    def index(self, meta: Meta, value: Any, index: Any) -> syntax.Index:
        return syntax.Index(self.at(meta), value, index)

    def list_literal(self, meta: Meta, *items: Any) -> syntax.ListLiteral:
        return syntax.ListLiteral(self.at(meta), tuple(i for i in items if i is not None))

    def comprehension(
        self, meta: Meta, item: Any, names: Any, iterable: Any, condition: Any
    ) -> syntax.Comprehension:
        return syntax.Comprehension(self.at(meta), item, names, iterable, condition)


def build(tree: Tree[Token], source: Source) -> tuple[Any, list[Diagnostic]]:
    """The syntax of a parse tree, and the mistakes that its numbers and shapes hold."""
    builder = Builder(source)
    return builder.transform(tree), builder.mistakes
