"""Parses the text of a `.cnn` file into its abstract syntax."""

from __future__ import annotations

import hashlib
import os
import stat
import sys
from functools import cache
from pathlib import Path

import lark
from lark import Lark, UnexpectedInput

from cnndsl import __version__
from cnndsl.diagnostics import CnndslError, Source, register
from cnndsl.frontend import mistakes, syntax
from cnndsl.frontend.build import build
from cnndsl.frontend.lexical import INVISIBLE
from cnndsl.frontend.newlines import Newlines, TooDeep
from cnndsl.resources import resource

register(
    {
        "E0101": "a character that the language does not use",
        "E0102": "a brace, parenthesis or bracket that is never closed",
        "E0103": "a closing brace, parenthesis or bracket that closes nothing",
        "E0104": "a body in braces is missing",
        "E0105": "two steps, settings or items stand on a line with nothing between them",
        "E0106": "a comma is missing between two values",
        "E0107": "a comma with nothing after it",
        "E0108": "`=` where `==` is wanted, or the other way round",
        "E0109": "a string that does not end on its line",
        "E0110": "a step that stands outside every model and block",
        "E0111": "a branch is empty, or a step stands after the branches",
        "E0112": "a name is missing",
        "E0113": "a list of parameters or arguments that cannot be read",
        "E0114": "`from` or `as` without the name of a value",
        "E0115": "a word of the language is used as a name",
        "E0116": "a number, size or shape that cannot be read",
        "E0117": "a value or a step is missing",
        "E0118": "braces, parentheses, brackets or operators stand too deep inside one another",
        "E0119": "something that cannot stand where it is",
    }
)


def parse(source: Source) -> syntax.File:
    """The syntax of a whole file. Raises CnndslError with every mistake that can be told apart."""
    file = _parsed(source, "file")
    assert isinstance(file, syntax.File)
    return file


def parse_expression(source: Source) -> syntax.Expression:
    """The syntax of one expression, such as `--set` is given. Raises CnndslError."""
    expression = _parsed(source, "expression")
    assert isinstance(expression, syntax.Expression)
    return expression


def _parsed(source: Source, start: str) -> syntax.Node:
    if INVISIBLE.search(source.text):
        raise CnndslError(*mistakes.find(source, parser(), start))
    try:
        tree = parser().parse(source.text, start=start)
    except (UnexpectedInput, TooDeep):
        raise CnndslError(*mistakes.find(source, parser(), start)) from None
    found = mistakes.in_tree(tree, source)
    if found:
        raise CnndslError(*found)
    node, found = build(tree, source)
    if found:
        raise CnndslError(*found)
    assert isinstance(node, syntax.Node)
    return node


@cache
def parser() -> Lark:
    """The parser of `grammar/cnn.lark`; its tables are kept on disk where that is possible."""
    grammar = (resource("grammar") / "cnn.lark").read_text(encoding="utf-8")
    kept = _tables(grammar)
    if kept is not None and kept.exists():
        try:
            with kept.open("rb") as file:
                return Lark.load(file)
        except Exception:  # whatever is wrong with a damaged file, the grammar is still there
            kept.unlink(missing_ok=True)
    built = Lark(
        grammar,
        start=["file", "expression"],
        parser="lalr",
        lexer="basic",
        postlex=Newlines(),
        propagate_positions=True,
        maybe_placeholders=True,
    )
    if kept is not None:
        _keep(built, kept)
    return built


def _keep(built: Lark, kept: Path) -> None:
    """Save the tables whole or not at all."""
    fresh = kept.with_suffix(f".{os.getpid()}")
    try:
        with fresh.open("wb") as file:
            built.save(file)
        os.replace(fresh, kept)
    except OSError:
        fresh.unlink(missing_ok=True)


def _tables(grammar: str) -> Path | None:
    """Where this version keeps its tables for this grammar; None where no private place is.

    They are read by unpickling, so the folder must be the user's own and closed to others.
    """
    versions = f"{__version__} {lark.__version__} {sys.version_info[:2]} {Newlines.always_accept}\n"
    key = hashlib.sha256((versions + grammar).encode()).hexdigest()[:16]
    try:
        home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        folder = Path(home) / "cnndsl"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = folder.stat()
    except (OSError, RuntimeError):
        return None
    if hasattr(os, "getuid"):
        private = not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
        if status.st_uid != os.getuid() or not private:
            return None
    return folder / f"grammar-{key}.lark" if os.access(folder, os.W_OK) else None
