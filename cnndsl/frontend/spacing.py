"""How many spaces stand before each word of a line, as the formatter writes it."""

from __future__ import annotations

from collections.abc import Sequence

from cnndsl.frontend.failure import ENDS_A_VALUE
from cnndsl.frontend.newlines import OPERATORS
from cnndsl.frontend.words import Word

_ENDS_AN_ARGUMENT = frozenset(
    {"_COMMA", "_RPAR", "_RSQB", "_LBRACE", "_RBRACE", "_ARROW", "_BAR", "_AS", "_COLON"}
)
_PRODUCTS = frozenset({"STAR", "SLASH", "PERCENT", "CARET"})


def spaces(words: Sequence[Word]) -> list[int]:
    """One or none before each word, where no line breaks.

    None stand inside parentheses and brackets, before a comma, before the bracket of a call or of
    an index, around `..` and `^`, after a sign and the `/` of a stride, and in `4*width`: a whole
    number times a name, if that is all of the product. `=` has spaces in `let`, in parameters and
    in variants; in the arguments of steps and settings only if its value has an operator.
    """
    found = [1] * len(words)
    open_: list[str] = [""]
    for place, word in enumerate(words):
        if word.closes:
            open_.pop()
        if place == 0 or _tight(words, place):
            found[place] = 0
        if word.type == "_EQUALS" and open_[-1] == "_LBRACE" and not _spaced_equals(words, place):
            found[place] = found[place + 1] = -1
        if word.opens:
            open_.append(word.type)
    return [max(0, space) for space in found]


def _tight(words: Sequence[Word], place: int) -> bool:
    before, word = words[place - 1], words[place]
    if before.type in ("_LPAR", "_LSQB", "OPEN_SIZE") or word.type in ("_RPAR", "_RSQB", "_COMMA"):
        return True
    if word.type in ("_LPAR", "_LSQB"):
        return before.type in ENDS_A_VALUE and not _is_step(before)
    if {before.type, word.type} & {"_RANGE", "CARET"}:
        return True
    return is_sign(words, place - 1) or _in_small_product(words, place)


def _is_step(word: Word) -> bool:
    return word.begins and word.type == "NAME"


def is_sign(words: Sequence[Word], place: int) -> bool:
    """Whether this is a minus sign or a stride's `/`, rather than an operator between values."""
    if words[place].type not in ("MINUS", "SLASH"):
        return False
    before = words[place - 1]
    return before.type not in ENDS_A_VALUE or _is_step(before)


def _in_small_product(words: Sequence[Word], place: int) -> bool:
    """Whether the gap before this word is inside a product such as `4*width`."""
    star = place if words[place].type == "STAR" else place - 1
    if words[star].type != "STAR" or star < 2 or star + 2 > len(words):
        return False
    left, right = words[star - 1], words[star + 1]
    after = words[star + 2].type if star + 2 < len(words) else ""
    alone = words[star - 2].type not in _PRODUCTS or is_sign(words, star - 2)
    alone = alone and after not in _PRODUCTS and (after not in ("_LPAR", "_LSQB"))
    return alone and left.type == "INTEGER" and right.type == "NAME"


def _spaced_equals(words: Sequence[Word], equals: int) -> bool:
    """Whether this `=` belongs to a `let`, or its value has an operator outside brackets."""
    if words[equals - 2].type == "_LET":
        return True
    place = equals + 1
    while place < len(words):
        word = words[place]
        if word.type in _ENDS_AN_ARGUMENT or (word.begins and place > equals + 1):
            return False
        if word.type == "_IF" or (word.type in OPERATORS and not is_sign(words, place)):
            return True
        place = word.partner if word.opens else place
        place += 1
    return False
