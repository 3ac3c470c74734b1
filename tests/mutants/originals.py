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

    def uses(self, defined: int) -> tuple[int, ...]:
        """The offsets of the words that stand for the name that is defined at an offset, if any.

        What blocks, models and the file's `let`s define is used in the whole file; a parameter is
        named in calls too (`/2` is `stride = 2`), and a value in the proofs of `expect`.
        """
        owner, name = self._definitions.get(defined, (None, ""))
        if owner is None:
            return ()
        item = next(i for i in self.file.items if i.span.start <= defined < i.span.end)
        of_file = isinstance(owner, syntax.Item) or isinstance(item, syntax.Global)
        inside = [i.span for i in (self.file.items if of_file else [item])]
        if isinstance(owner, syntax.Binding):
            inside += [i.span for i in self.of_kind(syntax.Expect)]
        words = [t for t in self.of_type("NAME", "DOTTED_NAME") if name in t.split(".")]
        places = {t.start_pos or 0 for t in words}
        found = {p for p in places if any(s.start <= p < s.end for s in inside)}
        if isinstance(owner, syntax.Parameter):
            found |= set(self._given(name))
        return tuple(sorted(found - {defined}))

    @cached_property
    def _definitions(self) -> dict[int, tuple[syntax.Node, str]]:
        """What defines a name, and the name, by the name's offset."""
        kinds = syntax.Parameter | syntax.Let | syntax.Binding | syntax.Block | syntax.Model
        found: dict[int, tuple[syntax.Node, str]] = {}
        for node in self.nodes:
            names: tuple[syntax.Name, ...] = ()
            if isinstance(node, kinds | syntax.Variant):
                names = (node.name,)
            elif isinstance(node, syntax.For | syntax.Comprehension):
                names = node.names
            found |= {name.span.start: (node, name.id) for name in names}
        return found

    def _given(self, parameter: str) -> Iterator[int]:
        """Where calls give a parameter by its name."""
        for argument in self.of_kind(syntax.Argument):
            assert isinstance(argument, syntax.Argument)
            named = argument.name is not None and argument.name.id == parameter
            if named or (argument.is_stride and parameter == "stride"):
                yield argument.span.start

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
