"""Mistakes in the nesting of braces, parentheses and brackets."""

from __future__ import annotations

from collections.abc import Sequence

from lark import Token

from cnndsl.diagnostics import Diagnostic, Label, Source
from cnndsl.frontend.lexical import begins_line, indentation, span_of
from cnndsl.frontend.newlines import CLOSERS, DEEPEST, OPENERS


def unbalanced(source: Source, tokens: Sequence[Token]) -> list[tuple[Token, Diagnostic]]:
    """The brackets of an item that do not pair, in the item's order, each with its report.

    An opener that is never closed is told by its indentation where that helps: of
    `model m {` / `    residual {` / `}` the second is at fault, though the first is left over. A
    closer that closes nothing is told where, by its indentation, an earlier one closed too much.
    """
    found: list[tuple[Token, Diagnostic]] = []
    open_: list[Token] = []
    suspects: list[tuple[Token, Token]] = []
    early: list[tuple[Token, Token]] = []
    for token in tokens:
        if open_ and open_[-1].type != "_LBRACE" and token.type in ("_LBRACE", "_RBRACE"):
            opener = open_.pop()
            inner = [pair for pair in suspects if _within(pair[0], opener)]
            if inner:
                found.append((inner[0][0], _unclosed(source, *inner[0])))
                suspects.remove(inner[0])
            else:
                found.append((opener, _unclosed(source, opener, token)))
        if token.type in OPENERS:
            open_.append(token)
            if len(open_) > DEEPEST:
                return [*found, (token, _too_deep(source, token))]
        elif token.type in CLOSERS:
            if open_ and OPENERS[open_[-1].type] == token.type:
                opener = open_.pop()
                here, there = (span_of(source, t) for t in (token, opener))
                if indentation(there) > indentation(here) and begins_line(here):
                    suspects.append((opener, token))
                elif indentation(there) < indentation(here):
                    early.append((opener, token))
            elif open_ and open_[-1].type != "_LBRACE":
                found.append((token, _mismatched(source, open_.pop(), token)))
            elif early:
                opener, closer = early.pop(0)
                found.append((closer, _too_early(source, opener, closer)))
            else:
                found.append((token, _unmatched(source, token)))
    while open_ and suspects:
        open_.pop()
        opener, closer = suspects.pop(0)
        found.append((opener, _unclosed(source, opener, closer)))
    found += [(opener, _unclosed(source, opener, tokens[-1])) for opener in open_]
    return sorted(found, key=lambda pair: pair[0].start_pos or 0)


def _within(inner: Token, outer: Token) -> bool:
    """Whether a bracket of the same kind stands behind another, whose closer it may have taken."""
    return inner.type == outer.type and (inner.start_pos or 0) > (outer.start_pos or 0)


_KINDS = {"_LPAR": "parenthesis", "_LSQB": "bracket", "_LBRACE": "brace"}


def _unclosed(source: Source, opener: Token, seen: Token) -> Diagnostic:
    """`seen` is where the lack showed: a closer of something else, or the item's last token."""
    closes = {"_LPAR": ")", "_LSQB": "]", "_LBRACE": "}"}[opener.type]
    if seen.type == OPENERS[opener.type] and begins_line(span_of(source, seen)):
        text = "by its indentation this closes something further out"
    elif seen.type in ("_RBRACE", "_LBRACE") and opener.type != "_LBRACE":
        text = f"`{closes}` is wanted before this"
    else:
        text = "nothing closes it up to here"
    return Diagnostic(
        "E0102",
        f"this {_KINDS[opener.type]} is never closed",
        Label(span_of(source, opener), "opened here"),
        (Label(span_of(source, seen), text),) if seen is not opener else (),
        help=f"add the `{closes}` that belongs to it",
    )


def _unmatched(source: Source, closer: Token) -> Diagnostic:
    kind = _KINDS[CLOSERS[closer.type]]
    label = Label(span_of(source, closer), "everything is closed already")
    return Diagnostic("E0103", f"this {kind} closes nothing", label, help=f"delete the `{closer}`")


def _too_early(source: Source, opener: Token, closer: Token) -> Diagnostic:
    """A closer that stands deeper than the line of what it closes, where one is too many."""
    kind = _KINDS[CLOSERS[closer.type]]
    return Diagnostic(
        "E0103",
        f"this {kind} closes too much",
        Label(span_of(source, closer), "by its indentation it is not what ends there"),
        (Label(span_of(source, opener), f"it closes the {kind} opened here"),),
        help=f"delete the `{closer}`, or open before it what it is to close",
    )


def _mismatched(source: Source, opener: Token, closer: Token) -> Diagnostic:
    wanted = {"_LPAR": ")", "_LSQB": "]", "_LBRACE": "}"}[opener.type]
    return Diagnostic(
        "E0103",
        f"`{closer}` does not close `{opener}`",
        Label(span_of(source, closer), f"`{wanted}` is wanted"),
        (Label(span_of(source, opener), "opened here"),),
    )


def _too_deep(source: Source, opener: Token) -> Diagnostic:
    return Diagnostic(
        "E0118",
        f"more than {DEEPEST} brackets stand inside one another",
        Label(span_of(source, opener), f"this is number {DEEPEST + 1}"),
        help="name the inner parts: a block of their own, or a `let`",
    )
