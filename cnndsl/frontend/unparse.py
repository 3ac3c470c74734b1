"""Prints a graph back as the text of one flat model."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal

from cnndsl.diagnostics import Source
from cnndsl.frontend.biases import bias_is_redundant
from cnndsl.frontend.failure import KEYWORDS
from cnndsl.frontend.format import format_source
from cnndsl.frontend.library import JOINS
from cnndsl.frontend.nesting import Nesting, Place
from cnndsl.frontend.values import WORDS
from cnndsl.graph.graph import Graph, Node
from cnndsl.graph.leaves import Input
from cnndsl.graph.op import OPS
from cnndsl.graph.types import Size
from cnndsl.ops.conv import Conv
from cnndsl.ops.merge import Add, Concat, Gate, Multiply
from cnndsl.ops.norm import BatchNorm

#: A body within braces stays on one line up to this width.
ONE_LINE = 72
#: A branch stays on one line up to this width.
BRANCH_LINE = 84
#: What goes on the line of the layer before it, by the module of the operation.
FOLLOWERS = ("norm", "activation", "dropout")
#: Words that would mean something else if a value had their name.
RESERVED = {*KEYWORDS.values(), *WORDS, *JOINS, "channels", "extent", "input"}
#: The most digits that a number of the language has.
DIGITS = 18


def unparse(graph: Graph, name: str) -> str:
    """The text of a model that elaborates to a graph isomorphic to this one.

    The graph is as elaboration leaves it, untransformed. Parameters of the model, blocks and loops
    are gone; names differ.

    Raises:
        ValueError: the graph has an operation that the language cannot write.
    """
    steps = _Emitter(graph).model()
    _fold_dense(steps)
    lines = "\n".join(_lines(steps))
    return format_source(Source(name, f"model {name} {{\n{lines}\n}}\n"))


def written(graph: Graph, node: Node) -> str:
    """A layer as it is written in the language, its bias only where it is not the default."""
    op = graph.op(node)
    if isinstance(op, Conv) and op.bias is not None and op.bias != bias_is_redundant(graph, node):
        op = replace(op, bias=None)
    text = op.spell(*(value.type for value in graph.operands(node)))
    return re.sub(r"\d[\d.]*(e[+-]?\d+)?", lambda number: _bounded(number[0]), text)


def _bounded(number: str) -> str:
    """A number with as few digits as the language wants, and the same value."""
    if sum(c.isdigit() for c in number.partition("e")[0]) <= DIGITS:
        return number
    _, digits, exponent = Decimal(number).normalize().as_tuple()
    mantissa = "".join(map(str, digits))
    power = int(exponent) + len(mantissa) - 1
    return f"{mantissa[0]}.{mantissa[1:] or '0'}e{power}"


# Steps -------------------------------------------------------------------------------------------


@dataclass
class Step:
    """A step of the text: a word with arguments, or `from` a node; and what is in its braces."""

    text: str
    node: Node | None = None
    source: Node | None = None
    bodies: list[list[Step]] = field(default_factory=list)
    branching: bool = False
    follows: bool = False
    names: dict[Node, str] = field(default_factory=dict)

    def head(self) -> str:
        return f"from {self.names[self.source]}" if self.source is not None else self.text

    def binding(self) -> str:
        return f" as {self.names[self.node]}" if self.node in self.names else ""


class _Emitter:
    """Writes the nodes of each level in order, and goes back with `from` where it must."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.nesting = Nesting(graph)
        self.restarts: dict[Node, None] = {}
        self.names: dict[Node, str] = {}

    def model(self) -> list[Step]:
        steps = self._level(None, None, self.graph.outputs["logits"].node)
        self._choose_names()
        return steps

    def _level(self, place: Place | None, current: Node | None, end: Node) -> list[Step]:
        """The steps of a level, from the value that flows into it to the one it leaves."""
        steps: list[Step] = []
        for item in self.nesting.items(place):
            if isinstance(item, tuple):
                needed, step = self._head(item)
            else:
                needed, step = self._step(item)
            if needed is not None and needed != current:
                steps.append(self._restart(needed))
                current = needed
            steps.append(step)
            if not isinstance(item, tuple):
                current = item
        if current != end:
            steps.append(self._restart(end))
        return steps

    def _restart(self, node: Node) -> Step:
        self.restarts.setdefault(node)
        return Step("", source=node, names=self.names)

    def _step(self, node: Node) -> tuple[Node | None, Step]:
        """The value that a node wants to be current, and its step."""
        op, operands = self.graph.op(node), self.nesting.operands[node]
        if isinstance(op, Add | Concat | Multiply):
            return self._join(node)
        step = Step(op.name, node, names=self.names)
        if isinstance(op, Gate):
            step.bodies = [self._branch(node, 1, operands[0])]
            return operands[0], step
        if op.name not in OPS and not isinstance(op, Input):
            raise ValueError(f"`{op.name}` is no layer of the language")
        step.text = written(self.graph, node)
        step.follows = type(op).__module__.rpartition(".")[2] in FOLLOWERS
        return (operands[0] if operands else None), step

    def _join(self, node: Node) -> tuple[Node | None, Step]:
        op, operands = self.graph.op(node), self.nesting.operands[node]
        entry = self.nesting.entry(node)
        inside = [(node, slot) in self.nesting.regions for slot in range(len(operands))]
        step = Step(op.name, node, names=self.names)
        if isinstance(op, Add) and len(operands) == 2 and inside[0]:
            step.text = self._residual(operands[0], operands[1], entry) or step.text
            if step.text != op.name:
                step.bodies = [self._branch(node, 0, entry)]
                return entry, step
        elif isinstance(op, Concat) and inside == [False, True] and operands[0] == entry:
            step.text = "dense 1"
            step.bodies = [self._branch(node, 1, entry)]
            return entry, step
        step.branching = True
        step.bodies = [self._branch(node, slot, entry) for slot in range(len(operands))]
        return (entry if any(inside) else None), step

    def _residual(self, body: Node, shortcut: Node, entry: Node) -> str | None:
        """The word for a sum of a body and a shortcut, if there is one."""
        graph, nesting = self.graph, self.nesting
        stride = nesting.jumps[body] / nesting.jumps[entry]
        enters, leaves = graph.types(entry)[0], graph.types(body)[0]
        same = enters == leaves and stride == 1
        if shortcut == entry:
            return "residual" if same else None
        if same or graph.op(shortcut) != BatchNorm() or stride.denominator != 1:
            return None
        (before,) = nesting.operands[shortcut]
        project = Conv(leaves.channels, Size(1, 1), stride=int(stride), pad=0, bias=False)
        alone = nesting.readers[shortcut] == nesting.readers[body] and len(graph.net[before]) == 1
        if graph.op(before) != project or nesting.operands[before] != (entry,) or not alone:
            return None
        return "residual project"

    def _branch(self, node: Node, slot: int, entry: Node | None) -> list[Step]:
        end = self.nesting.operands[node][slot]
        if (node, slot) in self.nesting.regions:
            return self._level((node, slot), entry, end)
        return [self._restart(end)]

    def _head(self, place: Place) -> tuple[Node | None, Step]:
        head = self.graph.heads[place[1]]
        step = Step(f"aux {_bounded(repr(head.weight))}", names=self.names)
        entry = self.nesting.head_entries[place[1]]
        if entry is None:
            step.bodies = [[self._restart(head.value.node)]]
        else:
            step.bodies = [self._level(place, entry, head.value.node)]
        return entry, step

    # Names ---------------------------------------------------------------------------------------

    def _choose_names(self) -> None:
        """A name for each value that is started from again, after its path; no two alike."""
        taken = set(RESERVED)
        for node in self.restarts:
            base = next(n for n in _candidates(self.graph.name(node)) if _may_be_name(n))
            name, number = base, 1
            while name in taken:
                number += 1
                name = f"{base}_{number}"
            taken.add(name)
            self.names[node] = name


def _candidates(path: str) -> Iterator[str]:
    """Names for a value, the nicest first: its last segment, then with those before it."""
    segments = [re.sub(r"\W", "_", segment, flags=re.ASCII) for segment in path.split(".")]
    for start in range(len(segments) - 1, -1, -1):
        yield "_".join(segments[start:])
    yield re.sub(r"(\d+)$", r"_\1", segments[-1])
    yield "x"


def _may_be_name(text: str) -> bool:
    """Whether a text is a name, and none that elaboration gives to a step by itself."""
    word = text.rstrip("0123456789")
    generated = word != text and any(
        text.startswith(kind) and text[len(kind) :].isdigit() for kind in (*OPS, *JOINS, "shortcut")
    )
    legal = re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", text) is not None
    return legal and not generated and text not in OPS and text not in RESERVED


# Text --------------------------------------------------------------------------------------------


def _fold_dense(steps: list[Step]) -> None:
    """Neighbouring `dense` steps with one and the same body become one."""
    kept: list[Step] = []
    times = 1
    for step in steps:
        for body in step.bodies:
            _fold_dense(body)
        before = kept[-1] if kept else None
        if (
            before is not None
            and before.text.startswith("dense ")
            and step.text.startswith("dense ")
            and not before.binding()
            and _lines(before.bodies[0]) == _lines(step.bodies[0])
        ):
            times += 1
            kept[-1] = step
            step.text = f"dense {times}"
        else:
            times = 1
            kept.append(step)
    steps[:] = kept


def _lines(steps: Sequence[Step]) -> list[str]:
    """The lines of some steps, without indentation: a chain a line."""
    lines: list[str] = []
    joins_on = False
    for step in steps:
        shown = _show(step)
        if lines and joins_on and len(shown) == 1 and (step.follows or lines[-1][:5] == "from "):
            lines[-1] += " -> " + shown[0]
        else:
            lines.extend(shown)
        joins_on = len(shown) == 1 and not step.bodies
    return lines


def _show(step: Step) -> list[str]:
    """The lines of one step."""
    if not step.bodies:
        return [step.head() + step.binding()]
    if step.branching:
        if all(len(body) == 1 and body[0].source is not None for body in step.bodies):
            line = " ".join(f"| {body[0].head()}" for body in step.bodies)
            if len(line) <= ONE_LINE:
                return [f"{step.head()} {{ {line} }}{step.binding()}"]
        lines = [f"{step.head()} {{"]
        for body in step.bodies:
            chain = _chain(body)
            lines += [f"| {chain}"] if len(chain) <= BRANCH_LINE else _mark(_lines(body))
        return [*lines, f"}}{step.binding()}"]
    line = f"{step.head()} {{ {_chain(step.bodies[0])} }}{step.binding()}"
    if len(line) <= ONE_LINE:
        return [line]
    return [f"{step.head()} {{", *_lines(step.bodies[0]), f"}}{step.binding()}"]


def _mark(lines: list[str]) -> list[str]:
    """A branch of several lines; its further ones stand behind the bar, as the language wants."""
    return [f"| {lines[0]}", *("  " + line for line in lines[1:])]


def _chain(steps: Sequence[Step]) -> str:
    """Some steps on one line; braces with several branches are too much for one."""
    if any(step.branching for step in steps):
        return " " * (BRANCH_LINE + 1)
    return " -> ".join(line for step in steps for line in _show_whole(step))


def _show_whole(step: Step) -> list[str]:
    if not step.bodies:
        return [step.head() + step.binding()]
    return [f"{step.head()} {{ {_chain(step.bodies[0])} }}{step.binding()}"]
