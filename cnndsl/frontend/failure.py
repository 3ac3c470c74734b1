"""The place where the parser could not go on, and what is known there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from lark import Token

from cnndsl.diagnostics import Diagnostic, Label, Source, Span
from cnndsl.frontend.lexical import span_of
from cnndsl.frontend.newlines import CLOSERS, OPENERS

#: The words that open an item, and those that open a step.
ITEMS = {
    "_USE": "use",
    "_MODEL": "model",
    "_BLOCK": "block",
    "_TRAIN": "train",
    "_EXPECT": "expect",
}
STEPS = {"_LET": "let", "_FROM": "from", "_FOR": "for", "_IF": "if"}
KEYWORDS = (
    ITEMS
    | STEPS
    | {
        "_OF": "of",
        "_AS": "as",
        "_IN": "in",
        "_ELSE": "else",
        "OR": "or",
        "AND": "and",
        "NOT": "not",
        "TRUE": "true",
        "FALSE": "false",
    }
)
LITERALS = frozenset({"INTEGER", "DECIMAL", "SIZE", "STRING", "TRUE", "FALSE"})
ENDS_A_VALUE = LITERALS | {"NAME", "_RPAR", "_RSQB"}
ENDS_A_LINE = frozenset({"_NEWLINE", "$END"})


@dataclass(frozen=True)
class Failure:
    """Token `index` of an item cannot follow those before it; `accepts` says what could.

    `tokens` are the item's, without the newlines that end nothing, and end with `$END`.
    """

    source: Source
    tokens: Sequence[Token]
    index: int
    accepts: frozenset[str]

    def at(self, offset: int) -> Token:
        """The token so many places from the bad one; before the first there are line ends."""
        place = self.index + offset
        if place < 0:
            return Token("_NEWLINE", "", start_pos=0, end_pos=0)
        return self.tokens[min(place, len(self.tokens) - 1)]

    @property
    def token(self) -> Token:
        return self.at(0)

    @property
    def type(self) -> str:
        return self.token.type

    @property
    def previous(self) -> Token:
        return self.at(-1)

    @property
    def begins(self) -> int:
        return self.token.start_pos or 0

    @property
    def after(self) -> str:
        return self.at(-1).type

    @property
    def following(self) -> str:
        return self.at(1).type

    @property
    def item(self) -> str:
        """The type of the token that opens the item."""
        return self.tokens[0].type

    @cached_property
    def open_(self) -> list[int]:
        """Where the brackets that stand open here were opened."""
        open_: list[int] = []
        for place, token in enumerate(self.tokens[: self.index]):
            if token.type in OPENERS:
                open_.append(place)
            elif token.type in CLOSERS and open_:
                open_.pop()
        return open_

    def closed(self, opened: int) -> int:
        """Where the bracket that stands at `opened` is closed, or the last place."""
        depth = 0
        for place in range(opened, len(self.tokens)):
            depth += (self.tokens[place].type in OPENERS) - (self.tokens[place].type in CLOSERS)
            if depth == 0:
                return place
        return len(self.tokens) - 1

    @property
    def within(self) -> str:
        """The innermost open bracket's type; empty outside all of them."""
        return self.tokens[self.open_[-1]].type if self.open_ else ""

    @property
    def at_top(self) -> bool:
        return not self.open_

    @property
    def in_steps(self) -> bool:
        """Whether this stands directly in the braces of a model or a block."""
        return self.within == "_LBRACE" and self.item in ("_MODEL", "_BLOCK")

    @property
    def in_parameters(self) -> bool:
        """Whether this stands directly in the parentheses after the name of a model or block."""
        heads = ("_MODEL", "_BLOCK")
        return self.item in heads and self.open_ == [2] and self.within == "_LPAR"

    @property
    def head(self) -> int:
        """How many tokens stand before the item's body."""
        types = [token.type for token in self.tokens]
        return types.index("_LBRACE") if "_LBRACE" in types else len(types)

    @property
    def wants_name(self) -> bool:
        return "NAME" in self.accepts

    @property
    def wants_value(self) -> bool:
        return "INTEGER" in self.accepts and "_LSQB" in self.accepts

    @property
    def wants_step(self) -> bool:
        return "_FOR" in self.accepts and "_LET" in self.accepts and "_RSQB" not in self.accepts

    @property
    def wants_body(self) -> bool:
        """Whether only braces can make this whole."""
        return "_LBRACE" in self.accepts and not self.accepts & {"_RBRACE", "_NEWLINE", "$END"}

    @property
    def step(self) -> Token:
        """The token that opens the step, setting or proof in which this stands."""
        depth = 0
        for place in range(self.index - 1, -1, -1):
            type_ = self.tokens[place].type
            depth += (type_ in CLOSERS) - (type_ in OPENERS)
            if depth < 0 or (depth == 0 and type_ in ("_NEWLINE", "_BAR", "_ARROW")):
                return self.tokens[place + 1]
        return self.tokens[0]

    @property
    def part(self) -> str:
        """What the braces of the item hold."""
        return {"_TRAIN": "setting", "_EXPECT": "proof"}.get(self.item, "step")

    def span(self, token: Token | None = None) -> Span:
        """The place of a token (the bad one, if none is given); line ends stand after the text."""
        token = token or self.token
        if token.type in ENDS_A_LINE:
            end = self.previous.end_pos or 0
            return Span(self.source, end, end)
        return span_of(self.source, token)

    def report(
        self,
        code: str,
        message: str,
        text: str = "",
        *,
        at: Token | None = None,
        see: tuple[Token, str] | None = None,
        help: str | None = None,
    ) -> Diagnostic:
        """A diagnostic on the bad token, or on another one."""
        secondary = () if see is None else (Label(self.span(see[0]), see[1]),)
        return Diagnostic(code, message, Label(self.span(at), text), secondary, help=help)


def shown(token: Token) -> str:
    """A token as a message names it."""
    if token.type == "_NEWLINE":
        return "the end of the line"
    return "the end of the file" if token.type == "$END" else f"`{token}`"
