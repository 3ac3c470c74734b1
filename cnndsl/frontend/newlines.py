"""Drops the newlines that end nothing: inside brackets, after an operator, before `->`."""

from __future__ import annotations

from collections.abc import Iterator

from lark import Token
from lark.lark import PostLex

#: Braces, parentheses and brackets may stand this many deep, and operators inside one another too.
DEEPEST = 64

OPENERS = {"_LPAR": "_RPAR", "_LSQB": "_RSQB", "_LBRACE": "_RBRACE"}
CLOSERS = {closer: opener for opener, closer in OPENERS.items()}

OPERATORS = frozenset(
    {
        "OR",
        "AND",
        "NOT",
        "COMPARISON",
        "TILDE",
        "PLUS",
        "MINUS",
        "STAR",
        "SLASH",
        "PERCENT",
        "CARET",
        "_RANGE",
    }
)

#: After these a line goes on, for what they join has only its first half yet.
JOINING = OPERATORS | OPENERS.keys() | {"_ARROW", "_BAR", "_COMMA", "_COLON", "_EQUALS"}

#: Before these the line above goes on.
JOINED = frozenset({"_ARROW", "_BAR", "_RBRACE", "_ELSE"})


class TooDeep(Exception):
    """An opening bracket stands more than `DEEPEST` deep."""

    def __init__(self, opener: Token) -> None:
        super().__init__(str(opener))
        self.opener = opener


class Newlines(PostLex):
    """Leaves one `_NEWLINE` between two things that it separates, and no other."""

    always_accept = (
        "DOTTED_NAME",
        "MALFORMED_NUMBER",
        "UNTERMINATED_STRING",
        "UNKNOWN_CHARACTER",
    )

    def process(self, stream: Iterator[Token]) -> Iterator[Token]:
        """The tokens without the newlines that end nothing. Raises TooDeep."""
        within: list[str] = []
        newline: Token | None = None
        previous: Token | None = None
        for token in stream:
            if token.type == "_NEWLINE":
                ends = previous is not None and previous.type not in JOINING
                if ends and newline is None and (not within or within[-1] == "_LBRACE"):
                    newline = token
                continue
            if newline is not None and token.type not in JOINED:
                yield newline
            newline = None
            if token.type in OPENERS:
                within.append(token.type)
                if len(within) > DEEPEST:
                    raise TooDeep(token)
            elif token.type in CLOSERS and within:
                within.pop()
            previous = token
            yield token
