"""Mistakes in single words: characters, numbers and strings that the language does not have."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from lark import Token

from cnndsl.diagnostics import Diagnostic, Label, Source, Span

#: Characters that nobody sees and that may not stand even in a comment or a string: control
#: characters, carriage returns that end no line, and marks that turn the direction of reading.
INVISIBLE = re.compile("[\0-\x08\x0b\x0c\x0e-\x1f\x7f\u202a-\u202e\u2066-\u2069]|\r(?!\n)")

#: What people write, or what word processors make of it, beside what is meant.
_MEANT = {
    "×": "a size is written with the letter x: `3x3`",
    "−": "write the minus sign of the keyboard, `-`",
    "–": "write the minus sign of the keyboard, `-`",
    "—": "write the minus sign of the keyboard, `-`",
    "→": "write `->`",
    "“": 'write the straight quotes of the keyboard, `"`',
    "”": 'write the straight quotes of the keyboard, `"`',
    "'": 'a string stands in double quotes: `"blocks/se.cnn"`',
    ";": "steps are parted by a new line or by `->`",
    "&": "write `and`",
    "&&": "write `and`",
    "!": "write `not`",
    ".": "a decimal has digits on both sides of its point: `0.5`, `1.0`",
    "\\": "a line goes on inside brackets, after a comma and after an operator",
    "\r": "a line ends with a line feed; this is a carriage return alone",
    "\ufeff": "this is a byte-order mark, which is invisible: delete it",
    "\u00a0": "this is a no-break space, which looks like a space: write a space",
}


def span_of(source: Source, token: Token) -> Span:
    assert token.start_pos is not None
    assert token.end_pos is not None
    return Span(source, token.start_pos, token.end_pos)


def column(span: Span) -> int:
    """How far to the right something stands, tabs counted as four."""
    return len(span.source.line(span.line)[: span.column - 1].expandtabs(4))


def indentation(span: Span) -> int:
    """The indentation of the line on which something begins, tabs counted as four."""
    text = span.source.line(span.line).expandtabs(4)
    return len(text) - len(text.lstrip())


def begins_line(span: Span) -> bool:
    """Whether nothing but blanks stands before it on its line."""
    return not span.source.line(span.line)[: span.column - 1].strip()


def invisible(source: Source) -> list[Diagnostic]:
    """A report for each invisible character, wherever it stands."""
    return [_unknown(Span(source, *m.span())) for m in INVISIBLE.finditer(source.text)]


def bad_words(source: Source, tokens: Sequence[Token]) -> list[Diagnostic]:
    """A report for each token that no rule of the grammar wants. Neighbours are one mistake."""
    found: list[Diagnostic] = []
    end = -1
    for token in tokens:
        span = span_of(source, token)
        if token.type == "UNKNOWN_CHARACTER" and not INVISIBLE.match(source.text, span.start):
            if span.start == end:
                assert found[-1].span is not None
                found[-1] = _unknown(found[-1].span.until(span))
            else:
                found.append(_unknown(span))
            end = span.end
        elif token.type == "MALFORMED_NUMBER":
            found.append(_malformed(span))
        elif token.type == "UNTERMINATED_STRING":
            label = Label(Span(source, span.start, span.start + 1), "it begins here")
            message = "this string does not end on its line"
            found.append(Diagnostic("E0109", message, label, help='end it with `"`'))
    return found


def repaired(tokens: Sequence[Token]) -> list[Token]:
    """The tokens with something that can be parsed in the place of each bad word."""
    instead = {"MALFORMED_NUMBER": "INTEGER", "UNTERMINATED_STRING": "STRING"}
    return [
        Token.new_borrow_pos(instead[t.type], "0", t) if t.type in instead else t
        for t in tokens
        if t.type != "UNKNOWN_CHARACTER"
    ]


def _unknown(span: Span) -> Diagnostic:
    text = span.text
    if text.isprintable() and not text.isspace() and text != "\ufeff":
        shown = f"`{text}`"
    else:
        names = (unicodedata.name(c, "a control character") for c in text)
        shown = ", ".join(f"U+{ord(c):04X} ({n.lower()})" for c, n in zip(text, names, strict=True))
    meant = _MEANT.get(text) or _MEANT.get(text[0])
    if meant is None and all(c.isalpha() for c in text):
        meant = "names are written with the letters a to z, digits and `_`"
    return Diagnostic("E0101", f"the language does not use {shown}", Label(span), help=meant)


def _malformed(span: Span) -> Diagnostic:
    text = span.text
    extents = text.split("x")
    if re.fullmatch(r"[0-9]+(x\w+)+", text) and all(extents):
        message = f"`{text}` is not a size: its extents must be numbers"
        meant = f"a computed size is written `size({', '.join(extents)})`"
    elif re.fullmatch(r"[0-9]+(x[0-9]+)*x", text):
        message, meant = f"the size `{text}` is not finished", "a size is written like `3x3`"
    elif re.fullmatch(r"[0-9_]+", text):
        message = f"`{text}` is not a number"
        meant = "an underscore stands between two digits: `62_378_344`"
    elif re.fullmatch(r"[0-9]+x[0-9.x]+", text):
        message, meant = f"`{text}` is not a size", "the extents of a size are whole numbers"
    elif re.fullmatch(r"[0-9][0-9_.]*[eE]", text):
        message, meant = f"the exponent of `{text}` is missing", "write it like `5e-4`"
    elif re.fullmatch(r"[0-9]+[A-Za-z_]\w*", text):
        message, meant = f"`{text}` is neither a number nor a name", "a name begins with a letter"
    else:
        message = f"`{text}` is not a number"
        meant = "numbers are written like `64`, `62_378_344`, `0.5` and `5e-4`"
    return Diagnostic("E0116", message, Label(span), help=meant)
