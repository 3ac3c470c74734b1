"""The texts that are mutated, and the places in them where an operator can strike."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from lark import Token

from cnndsl.diagnostics import Source, Span
from cnndsl.frontend import syntax
from cnndsl.frontend.parse import parse, parser
from cnndsl.resources import resource

OPENERS = {"(": ")", "[": "]", "{": "}"}


@dataclass(frozen=True)
class Program:
    """A right text, its words and its syntax."""

    name: str
    text: str

    @cached_property
    def file(self) -> syntax.File:
        return parse(Source(self.name, self.text))

    @cached_property
    def words(self) -> list[Token]:
        """All words but the ends of lines; comments are none."""
        found = [t for t in parser().lex(self.text) if t.type != "_NEWLINE"]
        assert all(t.start_pos is not None for t in found)
        return found

    @cached_property
    def nodes(self) -> list[syntax.Node]:
        """Every node of the syntax, a parent before its children."""
        return list(_walk(self.file))

    @cached_property
    def partners(self) -> dict[int, int]:
        """For each bracket the place of its partner, both as indices into `words`."""
        open_: list[int] = []
        found: dict[int, int] = {}
        for place, word in enumerate(self.words):
            if word in OPENERS:
                open_.append(place)
            elif word in OPENERS.values():
                found[place] = open_.pop()
                found[found[place]] = place
        return found

    @cached_property
    def code(self) -> list[int]:
        """The offsets of all characters that belong to a word."""
        return [i for w in self.words for i in range(w.start_pos or 0, w.end_pos or 0)]

    def of_type(self, *types: str) -> list[Token]:
        return [word for word in self.words if word.type in types]

    def of_kind(self, *kinds: type[syntax.Node]) -> list[syntax.Node]:
        return [node for node in self.nodes if isinstance(node, kinds)]

    def line(self, offset: int) -> int:
        return self.text.count("\n", 0, offset) + 1


def _walk(node: object) -> Iterator[syntax.Node]:
    if isinstance(node, tuple):
        for item in node:
            yield from _walk(item)
    elif isinstance(node, syntax.Node):
        yield node
        for name in node.__dataclass_fields__:
            value = getattr(node, name)
            if not isinstance(value, Span | Source):
                yield from _walk(value)


def whole() -> list[Program]:
    """Every network of the zoo, and one text with the rest of the language."""
    paths = [*sorted(resource("zoo").glob("*.cnn")), Path(__file__).parent / "features.cnn"]
    return [Program(str(path), path.read_text(encoding="utf-8")) for path in paths]


def light() -> list[Program]:
    """The same, without those variants that differ from an earlier one in numbers alone."""
    return [Program(p.name, _without(p.text, _alike(p.file))) for p in whole()]


def _alike(file: syntax.File) -> set[str]:
    """The names of variants that are like an earlier one but for numbers and lists."""
    seen: set[tuple[str, ...]] = set()
    dropped = set()
    for item in file.items:
        if isinstance(item, syntax.Variant):
            words = [a.value.id for a in item.arguments if isinstance(a.value, syntax.Name)]
            key = (item.base.id, *words)
            if key in seen:
                dropped.add(item.name.id)
            seen.add(key)
    bases = {item.base.id for item in file.items if isinstance(item, syntax.Variant)}
    return dropped - bases


def _without(text: str, names: set[str]) -> str:
    for name in names:
        text = re.sub(rf"^model {name}\b.*\n", "", text, flags=re.MULTILINE)
        text = re.sub(rf"^expect {name} \{{[^}}]*\}}\n", "", text, flags=re.MULTILINE)
        text = re.sub(rf"^train {name} \{{[^}}]*\}}\n", "", text, flags=re.MULTILINE)
    return text
