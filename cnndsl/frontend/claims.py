"""Claims about shapes, and how a value came to have the shape that it has."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from cnndsl.diagnostics import Span
from cnndsl.frontend import syntax
from cnndsl.frontend.problems import Problem
from cnndsl.graph.graph import Frame, Graph, Node, Value
from cnndsl.graph.leaves import Input
from cnndsl.graph.op import Op
from cnndsl.graph.types import Type
from cnndsl.ops.conv import Conv
from cnndsl.ops.merge import Concat
from cnndsl.ops.pool import Pool

#: How many layers a trace shows.
LONGEST_TRACE = 5

_Line = tuple[str, str, str]


@dataclass
class Claims:
    """Checks claims, and reports one mistake once though many claims may fail by it.

    After a claim about the extent failed, later ones about the extent say nothing new until one
    holds; the same wrong number of channels or features is told once.

    Attributes:
        stand_ins: nodes that stand for what a claim says, where a mistake left no value.
    """

    stand_ins: set[Node] = field(default_factory=set)
    _doubted: set[object] = field(default_factory=set)

    def check(self, claim: syntax.Claim, claimed: tuple[int, ...], value: Value) -> Problem | None:
        """What is to be reported of a claim about a value, if anything is."""
        actual = value.type.features
        if claimed == actual:
            self._doubted.clear()
            return None
        differing = set(_differences(claimed, actual))
        told = differing <= self._doubted
        self._doubted |= differing
        if told:
            return None
        return Problem(
            "E0210",
            f"the value is {value.type}, not {'x'.join(map(str, claimed))}",
            claim.span,
            f"it is {value.type}",
            trace=trace_of(value, self, claim.span),
        )


def _differences(claimed: tuple[int, ...], actual: tuple[int, ...]) -> Iterator[object]:
    if len(claimed) != len(actual):
        yield "kind", claimed[-1], actual[-1]
        return
    if claimed[:-1] != actual[:-1]:
        yield "extent"
    if claimed[-1] != actual[-1]:
        yield claimed[-1], actual[-1]


def trace_of(value: Value, claims: Claims, at: Span | None = None) -> tuple[str, ...]:
    """How a value came to be, a line a layer, the last few; those that keep the shape are left out.

    Of the last `concat` each branch is shown. Nothing where all that there is to show is an input
    on the line of `at`.
    """
    lines = _lines(value, claims)
    if len(lines) == 1 and at is not None and lines[0][2].endswith(f":{at.line}"):
        return ()
    widths = [max(len(line[column]) for line in lines) for column in (0, 1)]
    return tuple(
        f"{spelled.ljust(widths[0])}  : {shape.ljust(widths[1])}   {place}" if shape else spelled
        for spelled, shape, place in reversed(lines)
    )


def _lines(value: Value, claims: Claims, most: int = LONGEST_TRACE) -> list[_Line]:
    """The lines of a trace, the last first; one that is cut ends with the input."""
    lines: list[_Line] = []
    graph = value.graph
    last: object = None
    joined = False
    shown = 0
    while shown < most:
        op, inputs = value.op, graph.operands(value.node)
        place_and_calls = (graph.span(value.node), graph.attributes(value.node)["calls"])
        keeps = bool(inputs) and _keeps(op) and inputs[0].type == value.type
        if not keeps and place_and_calls != last:
            lines.append(_line(value, claims))
            last = place_and_calls
            shown += 1
        if isinstance(op, Concat) and not joined:
            joined = True
            lines += reversed([_lines(branch, claims, 1)[0] for branch in inputs[1:]])
        if not inputs:
            return lines
        value = inputs[0]
    if most > 1:
        first = value
        while graph.operands(first.node):
            first = graph.operands(first.node)[0]
        lines += [("…", "", ""), _line(first, claims)]
    return lines


def _line(value: Value, claims: Claims) -> _Line:
    """A layer, its shape, its place."""
    graph = value.graph
    spelled = spell(value.op, *(v.type for v in graph.operands(value.node)))
    if isinstance(value.op, Input):
        spelled = "as claimed" if value.node in claims.stand_ins else "input"
    return spelled, str(value.type), _place(graph, value.node)


def _place(graph: Graph, node: Node) -> str:
    """Where a node stands, and the lines of the calls that led there."""
    span = graph.span(node)
    if span is None:
        return ""
    calls: tuple[Frame, ...] = graph.attributes(node)["calls"]
    lines = [
        str(f.span) if f.span.source is not span.source else f"line {f.span.line}" for f in calls
    ]
    called = f", called in {', '.join(lines)}" if lines else ""
    return f"{span.source.name}:{span.line}{called}"


def spell(op: Op, *inputs: Type) -> str:
    """An operation as a message shows it: without the bias, which may have been decided later."""
    shown = replace(op, bias=None) if isinstance(op, Conv) else op
    return shown.spell(*inputs)


def _keeps(op: Op) -> bool:
    """Whether an operation that keeps the shape does so always: an activation, a norm."""
    return type(op).multiply_adds is Op.multiply_adds and not isinstance(op, Pool)
