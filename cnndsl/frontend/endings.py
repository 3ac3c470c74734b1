"""Says what is wrong where a line, a step or an argument ends or begins too soon."""

from __future__ import annotations

import re

from cnndsl.diagnostics import Diagnostic
from cnndsl.frontend.failure import ENDS_A_VALUE, KEYWORDS, LITERALS, STEPS, Failure, shown
from cnndsl.frontend.lexical import column, indentation
from cnndsl.frontend.newlines import CLOSERS, JOINING, OPENERS, OPERATORS


def unfinished_line(f: Failure) -> Diagnostic | None:
    """A line that wants another half, before one that stands no deeper: a step of its own."""
    begins = f.index
    while begins > 0 and f.tokens[begins - 1].line == f.token.line:
        begins -= 1
    first, joint = f.tokens[begins], f.at(begins - 1 - f.index)
    if first.type in CLOSERS.keys() | {"$END"} or f.step.line == first.line:
        return None
    if f.within != "_LBRACE" or joint.type not in JOINING - OPENERS.keys() - {"_ARROW", "_BAR"}:
        return None
    if column(f.span(first)) > indentation(f.span(f.step)):
        return None
    code, what = ("E0107", "this comma") if joint.type == "_COMMA" else ("E0117", f"`{joint}`")
    text = f"the next line stands as if it were a {f.part} of its own"
    return f.report(code, f"nothing follows {what} on its line", text, at=joint)


def trailing_comma(f: Failure) -> Diagnostic | None:
    """A comma with nothing behind it, or nothing before it."""
    if f.after != "_COMMA" or not (f.wants_value or f.wants_name):
        return None
    if f.type in LITERALS | OPERATORS or f.type in ("_LPAR", "_LSQB", "NAME", "OPEN_SIZE"):
        return None
    if f.type in KEYWORDS and f.type not in STEPS:
        return None
    if f.type == "_COMMA" and f.token.line != f.previous.line:
        text = f"something is wanted between line {f.previous.line} and this"
        return f.report("E0107", "nothing stands before this comma", text, help="delete the comma")
    what = "an argument" if f.in_steps else "something"
    return f.report(
        "E0107",
        "nothing follows this comma",
        f"{what} is wanted between this and {shown(f.token)}",
        at=f.previous,
        help="delete the comma, or write what was to follow",
    )


def two_steps(f: Failure) -> Diagnostic | None:
    """Something that begins a step, where the one before has not ended."""
    opens = f.type == "NAME" or f.type in STEPS
    if not f.in_steps or not opens or "_ARROW" not in f.accepts:
        return None
    if f.type == "NAME" and (f.following == "_EQUALS" or _is_value(f)):
        return None
    if f.after == "INTEGER" and re.fullmatch("x[0-9]*", str(f.token)):
        help = "write it like `3x3`"
        return f.report("E0116", "a size is written without spaces", at=f.previous, help=help)
    return f.report(
        "E0105",
        "two steps stand side by side",
        "a new step starts here: write `->` or a new line",
    )


def _is_value(f: Failure) -> bool:
    """Whether the bad token's word is a parameter, a `let` or a loop's name of this item."""
    word = str(f.token)
    for place, token in enumerate(f.tokens[: f.index]):
        if token.type != "NAME" or str(token) != word or place < 1:
            continue
        if f.tokens[place - 1].type in ("_LET", "_FOR"):
            return True
        if f.tokens[place - 1].type in ("_LPAR", "_COMMA") and place < f.head:
            return True
    return False


def two_lines(f: Failure) -> Diagnostic | None:
    """Two settings or proofs on a line."""
    if f.within != "_LBRACE" or f.item not in ("_TRAIN", "_EXPECT") or f.type != "NAME":
        return None
    if "_NEWLINE" not in f.accepts or f.following in ("_EQUALS", "_COMMA"):
        return None
    return f.report("E0105", f"two {f.part}s stand on a line", f"a new {f.part} starts here")


def comma_missing(f: Failure) -> Diagnostic | None:
    """Two values side by side where values are parted by commas."""
    index = f.tokens[f.open_[-1]] if f.within == "_LSQB" else None
    if f.type == "_COMMA" and index is not None and "_RSQB" in f.accepts:
        return f.report("E0106", "a comma is missing before `[`", at=index)
    begins = LITERALS | {"NAME", "_LPAR", "_LSQB", "NOT"}
    if f.type not in begins or f.after not in ENDS_A_VALUE | {"_RBRACE"} or f.at_top:
        return None
    if "_COMMA" not in f.accepts:
        return None
    return f.report("E0106", f"a comma is missing before `{f.token}`")
