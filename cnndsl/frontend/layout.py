"""Breaks the words of a source into lines, as the formatter writes them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from cnndsl.frontend.words import Gap, Word

WIDTH = 100
INDENT = 4


@dataclass(slots=True)
class Line:
    """A line: its words with the spaces before each, and what kind of line it is.

    `role` is item, step, branch, row (of a list), more (of the line above), close or comment;
    `frame` tells the lines of one pair of brackets from those of others; `item` is the type of
    the word that begins the item; `blank` asks for a blank line above.
    """

    indent: int
    role: str
    frame: int
    item: str
    blank: bool = False
    words: list[Word] = field(default_factory=list)
    spaces: list[int] = field(default_factory=list)
    comment: str = ""
    apart: int = 2

    @property
    def width(self) -> int:
        """How far the words reach; the comment does not count."""
        return self.start(len(self.words))

    def start(self, place: int) -> int:
        """The column at which the spaces before a word begin."""
        pairs = zip(self.words[:place], self.spaces[:place], strict=True)
        return self.indent + sum(space + len(word.text) for word, space in pairs)

    def __str__(self) -> str:
        text = "".join(
            " " * space + word.text for word, space in zip(self.words, self.spaces, strict=True)
        )
        if self.words and self.comment:
            text += " " * self.apart
        return " " * self.indent + text + self.comment


@dataclass(slots=True)
class _Frame:
    """A pair of brackets that stands open; `content` is the indentation of what is inside."""

    type: str
    spread: bool
    number: int = 0
    outer: int = 0
    content: int = 0
    in_branch: bool = False
    is_table: bool = False


def lay_out(words: Sequence[Word], spaces: Sequence[int], last: Gap) -> list[Line]:
    """The lines, not aligned yet; a body that would be too wide for its line is spread."""
    forced: set[int] = set()
    spread = spread_brackets(words)
    while True:
        lines = _lines(words, spaces, spread | forced, last)
        wide = {place for line in lines if line.width > WIDTH for place in _bodies(words, line)}
        if not wide:
            return lines
        forced |= wide


def _bodies(words: Sequence[Word], line: Line) -> list[int]:
    """The outermost bodies that stand whole on a line, by the place of their `{` in `words`."""
    found = []
    end = -1
    first = next(place for place, word in enumerate(words) if word is line.words[0])
    for place in range(first, first + len(line.words)):
        word = words[place]
        if word.type == "_LBRACE" and place > end and word.partner < first + len(line.words):
            end = word.partner
            if end > place + 1:
                found.append(place)
    return found


def spread_brackets(words: Sequence[Word]) -> set[int]:
    """The brackets, by place, that the author spread over lines: their contents have own lines.

    A body is spread by any new line or comment in it; a list by one where a list may break.
    """
    found: set[int] = set()
    open_: list[int] = []
    for place, word in enumerate(words):
        before = words[place - 1] if place else word
        if open_ and (word.gap.newline or word.gap.commented):
            for opener in open_:
                if words[opener].type == "_LBRACE":
                    found.add(opener)
            breaks = before.opens or before.type == "_COMMA" or word.closes
            breaks = breaks or word.type in ("_FOR", "_IF") or word.gap.commented
            if breaks and words[open_[-1]].type != "_LBRACE":
                found.add(open_[-1])
        if word.closes:
            open_.pop()
        elif word.opens:
            open_.append(place)
    return {p for p in found if words[p].partner > p + 1 or words[p + 1].gap.commented}


def is_table(words: Sequence[Word], opener: int) -> bool:
    """Whether each element of this list is a list."""
    place = opener + 1
    while place < words[opener].partner:
        if words[place].type != "_LSQB":
            return False
        place = words[place].partner + 1
        if words[place].type == "_COMMA":
            place += 1
        elif place < words[opener].partner:
            return False
    return place > opener + 1


def _lines(words: Sequence[Word], spaces: Sequence[int], spread: set[int], last: Gap) -> list[Line]:
    frames = [_Frame("", True)]
    lines: list[Line] = []
    begun = 0
    item = ""
    for place, word in enumerate(words):
        frame = frames[-1]
        new = _break(words, place, frame)
        if new is None and (place == 0 or word.gap.commented):
            new = (begun if word.type == "_ELSE" else begun + INDENT, "more")
        if new is not None:
            indent, role = new
            opened = place == 0 or words[place - 1].opens
            if lines and word.gap.trailing:
                lines[-1].comment = word.gap.trailing
            item = word.type if role == "item" else item
            lines += _comments(word, frame, indent, role, opened)
            blank = word.gap.blank and role not in ("more", "close")
            blank = blank and bool(word.gap.comments or not opened)
            lines.append(Line(indent, role, frame.number, item, blank))
            if role not in ("more", "close"):
                begun = indent + (2 if role == "branch" else 0)
        line = lines[-1]
        line.words.append(word)
        line.spaces.append(0 if new is not None else spaces[place])
        if word.closes:
            begun = frames.pop().outer
        elif word.opens:
            outer = line.indent + (2 if line.role == "branch" else 0)
            frames.append(_Frame(word.type, place in spread, place + 1, outer, outer + INDENT))
            frames[-1].is_table = word.type == "_LSQB" and is_table(words, place)
    if lines and last.trailing:
        lines[-1].comment = last.trailing
    for blank, text in last.comments:
        lines.append(Line(0, "comment", 0, "", blank and bool(lines), comment=text))
    return lines


def _break(words: Sequence[Word], place: int, frame: _Frame) -> tuple[int, str] | None:
    """The indentation and the role of the line that this word begins, if it begins one."""
    word = words[place]
    before = words[place - 1]
    inside = frame.content + (2 if frame.in_branch else 0)
    if not frame.spread:
        return None
    if frame.type == "":
        if word.begins and (place == 0 or before.type != "_LBRACE"):
            return (0, "item")
        return None
    if word.closes:
        return (frame.outer, "close")
    if frame.type == "_LBRACE":
        return _break_in_body(word, before, frame, inside)
    if before.opens or (before.type == "_COMMA" and (word.gap.newline or frame.is_table)):
        return (frame.content, "row")
    if word.type in ("_FOR", "_IF") and word.gap.newline:
        return (frame.content, "row")
    return None


def _break_in_body(word: Word, before: Word, frame: _Frame, inside: int) -> tuple[int, str] | None:
    if word.type == "_BAR":
        frame.in_branch = True
        return (frame.content, "branch")
    if word.begins and (before.type not in ("_BAR", "_ARROW") or _after_noted_bar(word, before)):
        return (inside, "step")
    if word.gap.newline and (word.type == "_ARROW" or before.type == "_COMMA"):
        return (inside + INDENT, "more")
    return None


def _after_noted_bar(word: Word, before: Word) -> bool:
    """Whether a comment parts the first step of a branch from its `|`."""
    return before.type == "_BAR" and word.gap.commented


def _comments(word: Word, frame: _Frame, indent: int, role: str, opened: bool) -> Iterator[Line]:
    """The lines of the comments above a word; `opened` says that they are the first in there."""
    at = frame.content if role == "close" else indent
    for blank, text in word.gap.comments:
        blank = blank and not opened and role != "more"
        yield Line(at, "comment", frame.number, "", blank, comment=text)
        opened = False
