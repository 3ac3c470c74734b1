"""Mutants: right texts with one mistake, which know the lines in which it was made."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from lark import Token
from originals import Program

from cnndsl.diagnostics import Span


@dataclass(frozen=True)
class Mutant:
    """A text with one mistake. `struck` are the lines in which a report may stand."""

    program: Program
    operator: str
    text: str
    struck: frozenset[int]


@dataclass(frozen=True)
class Edit:
    """Replace `start` to `end` by `text`; `also` are further offsets whose lines were struck."""

    start: int
    end: int
    text: str
    also: tuple[int, ...] = ()


Operator = Callable[[Program, random.Random], Edit | None]
OPERATORS: dict[str, Operator] = {}


def operator(function: Operator) -> Operator:
    """Enrol a mutation operator under its name."""
    OPERATORS[function.__name__] = function
    return function


def mutate(program: Program, name: str, rng: random.Random) -> Mutant | None:
    """A mutant of a program, or None where there is nothing to strike or nothing changed."""
    edit = OPERATORS[name](program, rng)
    if edit is None or program.text[edit.start : edit.end] == edit.text:
        return None
    text = program.text[: edit.start] + edit.text + program.text[edit.end :]
    grown = edit.text.count("\n") - program.text.count("\n", edit.start, edit.end)
    first = program.line(edit.start)
    struck = set(range(first, first + edit.text.count("\n") + 1))
    for offset in edit.also:
        struck.add(program.line(offset) + (grown if offset >= edit.end else 0))
    return Mutant(program, name, text, frozenset(struck))


def of(word: Token, text: str) -> Edit:
    """A text in the place of a word."""
    return Edit(word.start_pos or 0, word.end_pos or 0, text)


def at(span: Span, text: str) -> Edit:
    """A text in the place of a span."""
    return Edit(span.start, span.end, text)


def behind(span: Span, text: str) -> Edit:
    """A text behind a span."""
    return Edit(span.end, span.end, text)


def misspelt(word: str, rng: random.Random) -> str:
    """The word with a letter dropped, doubled, replaced or swapped with the next."""
    place = rng.randrange(len(word))
    before, letter, after = word[:place], word[place], word[place + 1 :]
    choices = [before + letter * 2 + after, before + rng.choice("abcdexyz") + after]
    if len(word) > 1:
        choices.append(before + after)
    if after:
        choices.append(before + after[0] + letter + after[1:])
    named = [c for c in choices if c != word and (c[0].isalpha() or c[0] == "_")]
    return rng.choice(named)
