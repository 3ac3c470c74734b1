"""The words of a source with what stands between them, for the formatter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from lark import Lark

from cnndsl.diagnostics import Source
from cnndsl.frontend.newlines import CLOSERS, OPENERS


@dataclass(frozen=True, slots=True)
class Gap:
    """What stands in the source between two words.

    `trailing` is the comment on the line of the word before, `comments` are those on lines of
    their own, each with whether a blank line is above it; `blank` is for the word that follows.
    """

    newline: bool = False
    trailing: str = ""
    comments: tuple[tuple[bool, str], ...] = ()
    blank: bool = False

    @property
    def commented(self) -> bool:
        return bool(self.trailing or self.comments)


@dataclass(slots=True)
class Word:
    """A word, the gap before it, and whether it begins a step, a setting, a proof or an item.

    `partner` is the place of the bracket that belongs to a bracket.
    """

    type: str
    text: str
    gap: Gap = field(default_factory=Gap)
    begins: bool = False
    partner: int = -1

    @property
    def opens(self) -> bool:
        return self.type in OPENERS

    @property
    def closes(self) -> bool:
        return self.type in CLOSERS


def gap_of(text: str) -> Gap:
    """The gap that the text between two words makes."""
    first, *lines = text.split("\n")
    comments = []
    blank = False
    for number, line in enumerate(lines):
        comment = line.strip()
        if comment:
            comments.append((blank, comment))
            blank = False
        elif number < len(lines) - 1:
            blank = True
    return Gap(bool(lines), first.strip(), tuple(comments), blank)


def words_of(source: Source, lark: Lark) -> tuple[list[Word], Gap]:
    """All words of a source that parses, and the gap after the last."""
    words: list[Word] = []
    end = 0
    separated = True
    for token in lark.lex(source.text):
        if token.type == "_NEWLINE":
            separated = True
            continue
        assert token.start_pos is not None
        assert token.end_pos is not None
        before = source.text[end : token.start_pos]
        gap = gap_of(before if words else "\n" + before)
        begins = separated or words[-1].type in ("_LBRACE", "_BAR", "_ARROW")
        words.append(Word(token.type, str(token), gap, begins))
        separated, end = False, token.end_pos
    last = source.text[end:]
    return words, gap_of(last if words else "\n" + last)


def pair(words: Sequence[Word]) -> None:
    """Tell each bracket its partner."""
    open_: list[int] = []
    for place, word in enumerate(words):
        if word.opens:
            open_.append(place)
        elif word.closes:
            word.partner = open_.pop()
            words[word.partner].partner = place
