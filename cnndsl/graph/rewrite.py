"""Rewriting: patterns over operations, rules that replace what they match, and what came of it."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from cnndsl.diagnostics import Span
from cnndsl.graph.graph import Graph, Node, Value
from cnndsl.graph.op import Pattern


@dataclass(frozen=True, slots=True)
class Declined:
    """Why a rule leaves alone what its pattern matches."""

    reason: str


@dataclass(frozen=True, slots=True)
class Event:
    """That a rewrite fired at a layer, or why it did not."""

    rewrite: str
    layer: str
    span: Span | None
    declined: str | None = None


@dataclass(frozen=True)
class Rewrite(ABC):
    """An equation between graphs, from left to right.

    Attributes:
        equation: what is equal to what, and when.
        fires_on, leaves_alone: programs, each a one-line chain, that document and test it.
    """

    name: str
    equation: str
    fires_on: tuple[str, ...]
    leaves_alone: tuple[str, ...]

    @abstractmethod
    def apply(self, graph: Graph) -> Iterator[Event]:
        """Rewrite every place where the left side stands; what fired, and what declined and why."""


@dataclass(frozen=True)
class Rule(Rewrite):
    """A rewrite of one pattern.

    `replacement` gets what the pattern names and returns a value, or why it declines, or None where
    the pattern holds and the rule has nothing to say: most pools are not of one element.
    """

    pattern: Pattern
    replacement: Callable[..., Value | Declined | None]

    def apply(self, graph: Graph) -> Iterator[Event]:
        kinds = self.pattern.kind if isinstance(self.pattern.kind, tuple) else (self.pattern.kind,)
        for node in graph.of(*kinds):
            if node not in graph.net:
                continue
            matched: dict[str, Any] = {}
            if not match(self.pattern, graph, node, matched):
                continue
            layer, span = graph.name(node), graph.span(node)
            result = self.replacement(**matched)
            if result is None:
                continue
            if isinstance(result, Declined):
                yield Event(self.name, layer, span, result.reason)
                continue
            graph.replace(Value(graph, node), result)
            graph.discard(node)
            yield Event(self.name, layer, span)


#: What a sweep yields: a layer, and why it is left alone, or None if it is rewritten.
Found = tuple[Value, Declined | None]


@dataclass(frozen=True)
class Sweep(Rewrite):
    """A rewrite of any number of siblings: `function` looks through the graph by itself."""

    function: Callable[[Graph], Iterator[Found]]

    def apply(self, graph: Graph) -> Iterator[Event]:
        changed = False
        for value, declined in self.function(graph):
            reason = declined.reason if declined else None
            changed = changed or reason is None
            yield Event(self.name, value.name, graph.span(value.node), reason)
        if changed:
            graph.prune()


def rule(
    pattern: Pattern, *, fires_on: Sequence[str], leaves_alone: Sequence[str]
) -> Callable[[Callable[..., Value | Declined | None]], Rule]:
    """Make a rule of a function whose docstring is the equation."""

    def decorate(function: Callable[..., Value | Declined | None]) -> Rule:
        equation = inspect.getdoc(function) or ""
        examples = tuple(fires_on), tuple(leaves_alone)
        return Rule(function.__name__, equation, *examples, pattern, function)

    return decorate


def sweep(
    *, fires_on: Sequence[str], leaves_alone: Sequence[str]
) -> Callable[[Callable[[Graph], Iterator[Found]]], Sweep]:
    """Make a sweep of a function whose docstring is the equation."""

    def decorate(function: Callable[[Graph], Iterator[Found]]) -> Sweep:
        equation = inspect.getdoc(function) or ""
        return Sweep(function.__name__, equation, tuple(fires_on), tuple(leaves_alone), function)

    return decorate


def match(pattern: Pattern, graph: Graph, node: Node, found: dict[str, Any]) -> bool:
    """Whether a node is what the pattern says; `found` gets its values and operations by name."""
    op = graph.op(node)
    if not isinstance(op, pattern.kind):
        return False
    name = pattern.name or op.name
    found[name] = op
    found[f"{name}_value"] = Value(graph, node)
    if pattern.operands is None:
        return True
    operands = list(graph.operands(node))
    for wanted in pattern.operands:
        if isinstance(wanted, str):
            optional = wanted.endswith("?")
            if not operands and not optional:
                return False
            found[wanted.rstrip("?")] = operands.pop(0) if operands else None
            continue
        if not operands:
            return False
        value = operands.pop(0)
        if value.output != 0 or not match(wanted, graph, value.node, found):
            return False
    return not operands


def only_reader(value: Value) -> bool:
    """Whether one node alone reads a value, and it is no root of the graph."""
    graph = value.graph
    return len(graph.users(value)) == 1 and value not in set(graph.roots())


def optimise(graph: Graph, rewrites: Sequence[Rewrite]) -> list[Event]:
    """Apply rewrites in order, again and again until none fires.

    Returns what fired, and of what was declined what still stands in the end.
    """
    fired: list[Event] = []
    # Deep towers of siblings merge one layer a round, and every rule makes a graph simpler.
    for _ in range(len(graph) + 20):
        declined: dict[tuple[str, str], Event] = {}
        before = len(fired)
        for rewrite in rewrites:
            for event in rewrite.apply(graph):
                if event.declined is None:
                    fired.append(event)
                else:
                    declined[event.rewrite, event.layer] = event
        if len(fired) == before:
            return [*fired, *declined.values()]
    raise RuntimeError(f"the rewrites do not end: {sorted({e.rewrite for e in fired})}")
