"""Evaluation of expressions, in exact arithmetic and bounded time."""

from __future__ import annotations

import operator
from collections.abc import Callable
from fractions import Fraction
from typing import Any

from cnndsl.diagnostics import did_you_mean, suggest
from cnndsl.frontend import syntax
from cnndsl.frontend.functions import FUNCTIONS, SIGNATURES
from cnndsl.frontend.limits import MAX_BITS, MAX_LENGTH
from cnndsl.frontend.loops import rows
from cnndsl.frontend.problems import Poisoned, Problem, TooMuch
from cnndsl.frontend.scope import Scope
from cnndsl.frontend.values import (
    UNKNOWN,
    WORDS,
    Unfit,
    Word,
    describe,
    is_number,
    simplify,
    whole,
)
from cnndsl.graph.types import Size


class Evaluator:
    """Evaluates expressions; `resolve` finds what no scope names: `channels`, layers."""

    def __init__(
        self,
        resolve: Callable[[str], Any],
        known: Callable[[], set[str]],
        max_steps: int,
    ) -> None:
        self.resolve = resolve
        self.known = known
        self.max_steps = max_steps
        self.steps = 0

    def count(self, node: syntax.Node, steps: int = 1) -> None:
        """Count evaluation steps, and stop a program that takes too many."""
        self.steps += steps
        if self.steps > self.max_steps:
            raise TooMuch(
                "E0602",
                f"elaboration takes more than {self.max_steps:,} steps",
                node.span,
                help="a larger program needs a larger limit: `--max-steps`",
            )

    def evaluate(self, node: syntax.Expression, scope: Scope) -> Any:
        """The value of an expression.

        Raises:
            Problem: a mistake in the program.
            Poisoned: it depends on an earlier mistake.
        """
        self.count(node)
        return _RULES[type(node)](self, node, scope)

    def whole(self, node: syntax.Expression, scope: Scope) -> int:
        """The value of an expression that must be a whole number."""
        value = self.evaluate(node, scope)
        try:
            return whole(value)
        except Unfit as unfit:
            help = rounding(node) if unfit.code == "E0406" else None
            raise Problem(unfit.code, unfit.message, node.span, help=help) from None

    def truth(self, node: syntax.Expression, scope: Scope) -> bool:
        """The value of an expression that must be a boolean."""
        value = self.evaluate(node, scope)
        if not isinstance(value, bool):
            raise Problem(
                "E0405",
                f"`true` or `false` is wanted here, this is {describe(value)}",
                node.span,
            )
        return value

    # Rules ---------------------------------------------------------------------------------------

    def _literal(self, node: syntax.Literal, scope: Scope) -> Any:
        value = node.value
        return simplify(value) if isinstance(value, Fraction) else value

    def _size(self, node: syntax.SizeLiteral, scope: Scope) -> Size:
        return Size(*node.extents)

    def _name(self, node: syntax.Name, scope: Scope) -> Any:
        value = scope.find(node.id)
        if value is None:
            value = self.resolve(node.id)
        if value is None and node.id in WORDS:
            value = Word(node.id)
        if value is UNKNOWN:
            raise Poisoned
        if value is None:
            known = scope.visible() | self.known() | set(WORDS)
            raise Problem(
                "E0302",
                f"there is nothing called `{node.id}` here",
                node.span,
                secondary=scope.pointer(suggest(node.id, known)),
                help=_help_with(node.id, known),
            )
        return value

    def _unary(self, node: syntax.Unary, scope: Scope) -> Any:
        if node.operator == "not":
            return not self.truth(node.operand, scope)
        value = self.evaluate(node.operand, scope)
        if not is_number(value):
            raise Problem("E0405", f"`-` wants a number, this is {describe(value)}", node.span)
        return -value

    def _binary(self, node: syntax.Binary, scope: Scope) -> Any:
        if node.operator in ("and", "or"):
            left = self.truth(node.left, scope)
            if left is (node.operator == "or"):
                return left
            return self.truth(node.right, scope)
        self._refuse_lopsided(node)
        left, right = self.evaluate(node.left, scope), self.evaluate(node.right, scope)
        if node.operator in _COMPARISONS:
            return self._compare(node, left, right)
        if node.operator == "+" and isinstance(left, list) and isinstance(right, list):
            return self._bounded(node, left + right)
        if not (is_number(left) and is_number(right)):
            wrong, side = (left, node.left) if not is_number(left) else (right, node.right)
            raise Problem(
                "E0405",
                f"`{node.operator}` wants numbers, this is {describe(wrong)}",
                side.span,
                help="is a comma missing before `/`?"
                if node.operator == "/" and isinstance(wrong, Size)
                else None,
            )
        return self._arithmetic(node, left, right)

    def _refuse_lopsided(self, node: syntax.Binary) -> None:
        """`64 /2` reads as a stride and parses as a division."""
        if node.operator != "/":
            return
        text = node.span.source.text[node.left.span.end : node.right.span.start]
        if text.startswith((" ", "\t")) and text.endswith("/"):
            left, right = node.left.span.text, node.right.span.text
            divide = f", or `{left} / {right}` to divide"
            raise Problem(
                "E0408",
                "this `/` could be a stride or a division",
                node.span,
                help=f"write `{left}, /{right}` for a stride of {right}"
                + ("" if isinstance(node.left, syntax.SizeLiteral) else divide),
            )

    def _compare(self, node: syntax.Binary, left: Any, right: Any) -> bool:
        if node.operator in ("==", "!="):
            return bool(_COMPARISONS[node.operator](left, right))
        if not (is_number(left) and is_number(right)):
            wrong = left if not is_number(left) else right
            raise Problem(
                "E0405", f"`{node.operator}` compares numbers, this is {describe(wrong)}", node.span
            )
        return bool(_COMPARISONS[node.operator](left, right))

    def _arithmetic(self, node: syntax.Binary, left: Any, right: Any) -> Any:
        if node.operator in ("/", "%") and right == 0:
            raise Problem("E0407", "division by zero", node.span)
        if node.operator == "^":
            return self._power(node, left, right)
        result = simplify(_ARITHMETIC[node.operator](Fraction(left), Fraction(right)))
        return self._bounded(node, result)

    def _power(self, node: syntax.Binary, base: Any, exponent: Any) -> Any:
        if isinstance(exponent, Fraction):
            raise Problem(
                "E0407",
                f"an exponent is a whole number, this is {exponent}",
                node.right.span,
            )
        if base == 0 and exponent < 0:
            raise Problem("E0407", "division by zero", node.span)
        size = max(abs(Fraction(base).numerator), Fraction(base).denominator).bit_length()
        if abs(exponent) * size > 4 * MAX_BITS:
            raise Problem("E0407", "this number is too large", node.span)
        return self._bounded(node, simplify(Fraction(base) ** exponent))

    def _bounded(self, node: syntax.Node, value: Any) -> Any:
        """The value, unless it is too large to be meant."""
        if isinstance(value, list | range):
            # The length of a range may be more than `len` can say.
            if (len(value) if isinstance(value, list) else value.stop - value.start) > MAX_LENGTH:
                raise Problem("E0407", f"a list of more than {MAX_LENGTH:,} elements", node.span)
            return value
        fraction = Fraction(value)
        if max(abs(fraction.numerator), fraction.denominator).bit_length() > MAX_BITS:
            raise Problem("E0407", "this number is too large", node.span)
        return value

    def _conditional(self, node: syntax.Conditional, scope: Scope) -> Any:
        chosen = node.then if self.truth(node.condition, scope) else node.otherwise
        return self.evaluate(chosen, scope)

    def _range(self, node: syntax.Range, scope: Scope) -> range:
        start, stop = self.whole(node.start, scope), self.whole(node.stop, scope)
        result: range = self._bounded(node, range(start, max(start, stop)))
        return result

    def _list(self, node: syntax.ListLiteral, scope: Scope) -> list[Any]:
        return [self.evaluate(item, scope) for item in node.items]

    def _comprehension(self, node: syntax.Comprehension, scope: Scope) -> list[Any]:
        result = []
        for _, names in rows(self, node.names, node.iterable, scope):
            inner = scope.inner()
            inner.names.update(names)
            if node.condition is None or self.truth(node.condition, inner):
                result.append(self.evaluate(node.item, inner))
        return result

    def _index(self, node: syntax.Index, scope: Scope) -> Any:
        value = self.evaluate(node.value, scope)
        index = self.whole(node.index, scope)
        if isinstance(value, dict):
            return element(value, index, node.value.span.text, node.index)
        if not isinstance(value, list | range | Size):
            raise Problem("E0405", f"{describe(value)} has no elements", node.value.span)
        if not 0 <= index < len(value):
            raise Problem(
                "E0410",
                f"there is no element {index}: this is {describe(value)}",
                node.index.span,
                f"elements are 0 to {len(value) - 1}" if len(value) else "it is empty",
            )
        return value[index]

    def _call(self, node: syntax.Call, scope: Scope) -> Any:
        function = FUNCTIONS.get(node.function.id)
        if function is None:
            raise Problem(
                "E0306",
                f"there is no function `{node.function.id}`",
                node.function.span,
                help=did_you_mean(node.function.id, FUNCTIONS)
                or f"there is {', '.join(FUNCTIONS)}",
            )
        arguments = [self.evaluate(argument, scope) for argument in node.arguments]
        try:
            result = function(*arguments)
        except Unfit as unfit:
            raise Problem(unfit.code, f"`{node.function.id}`: {unfit.message}", node.span) from None
        except TypeError:
            raise Problem(
                "E0405",
                f"`{node.function.id}` cannot take "
                f"{', '.join(map(describe, arguments)) or 'nothing'}",
                node.span,
                help=f"it is {SIGNATURES[node.function.id]}",
            ) from None
        return simplify(result) if isinstance(result, Fraction) else result


def rounding(node: syntax.Expression) -> str | None:
    """How the quotient of an expression becomes a whole number."""
    if not isinstance(node, syntax.Binary):
        return None
    return f"`floor({node.span.text})` rounds down, `ceil({node.span.text})` up"


def element(family: dict[int, Any], index: int, name: str, at: syntax.Node) -> Any:
    """An element of a family of values that flow.

    Raises:
        Problem: there is none of this index.
    """
    if index not in family:
        there = [f"`{name}[{i}]`" for i in sorted(family)]
        shown = ", ".join(there if len(there) < 8 else [*there[:3], "…", there[-1]])
        raise Problem("E0307", f"there is no `{name}[{index}]` yet", at.span, f"there is {shown}")
    if family[index] is UNKNOWN:
        raise Poisoned
    return family[index]


def _help_with(word: str, known: set[str]) -> str | None:
    if word.lower() in _BOOLEANS:
        return f"write `{_BOOLEANS[word.lower()]}`"
    return did_you_mean(word, known)


#: How other languages write the booleans.
_BOOLEANS = {
    "true": "true",
    "yes": "true",
    "on": "true",
    "false": "false",
    "no": "false",
    "off": "false",
}
_COMPARISONS: dict[str, Callable[[Any, Any], Any]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_ARITHMETIC: dict[str, Callable[[Fraction, Fraction], Any]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "%": operator.mod,
}
_RULES: dict[type[syntax.Node], Callable[[Evaluator, Any, Scope], Any]] = {
    syntax.Literal: Evaluator._literal,
    syntax.SizeLiteral: Evaluator._size,
    syntax.Name: Evaluator._name,
    syntax.Unary: Evaluator._unary,
    syntax.Binary: Evaluator._binary,
    syntax.Conditional: Evaluator._conditional,
    syntax.Range: Evaluator._range,
    syntax.ListLiteral: Evaluator._list,
    syntax.Comprehension: Evaluator._comprehension,
    syntax.Index: Evaluator._index,
    syntax.Call: Evaluator._call,
}
