"""Formats the text of a `.cnn` file in the one canonical way."""

from __future__ import annotations

from collections.abc import Sequence

from cnndsl.diagnostics import Source
from cnndsl.frontend.alignment import align
from cnndsl.frontend.layout import Line, lay_out, spread_brackets
from cnndsl.frontend.parse import parse, parser
from cnndsl.frontend.spacing import spaces
from cnndsl.frontend.words import Word, pair, words_of


def format_source(source: Source) -> str:
    """The canonical text of a source that parses. Raises CnndslError as `parse` does.

    Spaces in the source mean nothing; of its line breaks these are kept:

    - between steps: a chain stays on its line, or goes on in the next with `->`;
    - a body on one line stays there if the line is no wider than 100 columns;
    - a list that is broken anywhere has its brackets on lines of their own, and a comma at its end;
      a table (a list of lists) has a row a line;
    - arguments may go on in the next line after a comma;
    - one blank line; none after an opening or before a closing bracket. Items that take more than
      a line have one above and below.

    Everything else is laid out anew, indented by four, a branch's further steps by two:

    - what `spacing.spaces` says stands between two words;
    - in a table and in consecutive calls of one step, arguments stand in columns, numbers to the
      right, and so does the first `->`, unless something would have to move by more than 12;
    - `:` of claims, `=` of variants, values of settings, operators of proofs (those without `of`)
      and trailing comments stand in a column in consecutive lines.

    Comments are kept as they are. Lines end with a line feed, and so does the last.
    """
    parse(source)
    source = Source(source.name, source.text.replace("\r\n", "\n"))
    words, last = words_of(source, parser())
    pair(words)
    words = _with_end_commas(words, spread_brackets(words))
    pair(words)
    lines = lay_out(words, spaces(words), last)
    _part_items(lines)
    align(lines)
    return "".join("\n" * line.blank + str(line) + "\n" for line in lines)


def _with_end_commas(words: Sequence[Word], spread: set[int]) -> list[Word]:
    """The words with a comma at the end of each list that is spread, and of no other."""
    found: list[Word] = []
    lists = {place: _is_list(words, place) for place, word in enumerate(words) if word.opens}
    for place, word in enumerate(words):
        closes_list = word.closes and lists[word.partner]
        if closes_list and word.partner in spread and words[place - 1].type != "_COMMA":
            found.append(Word("_COMMA", ","))
        elif closes_list and word.partner not in spread and words[place - 1].type == "_COMMA":
            found.pop()
        found.append(word)
    return found


def _is_list(words: Sequence[Word], opener: int) -> bool:
    """Whether these brackets hold several things, or one with a comma behind it."""
    if words[opener].type == "_LBRACE":
        return False
    types = set()
    place = opener + 1
    while place < words[opener].partner:
        types.add(words[place].type)
        place = words[place].partner + 1 if words[place].opens else place + 1
    return "_COMMA" in types and "_FOR" not in types


def _part_items(lines: Sequence[Line]) -> None:
    """Put a blank line between two items of which one takes more than a line."""
    starts = [place for place, line in enumerate(lines) if line.role == "item"]
    ends = [
        max(place for place in range(start, stop) if lines[place].words)
        for start, stop in zip(starts, [*starts[1:], len(lines)], strict=False)
    ]
    for item, (end, start) in enumerate(zip(ends[:-1], starts[1:], strict=True)):
        short = starts[item] == end and start == ends[item + 1]
        if not short and not any(line.blank for line in lines[end + 1 : start + 1]):
            lines[end + 1].blank = True
