"""What a picture shows: boxes of layers, in the frames of block calls and loops."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from itertools import groupby
from typing import Final

from cnndsl.drawing.lettering import short_number
from cnndsl.graph import analysis
from cnndsl.graph.graph import Graph, Head, Node
from cnndsl.graph.leaves import Input, Parameter
from cnndsl.graph.op import Op, spell
from cnndsl.graph.types import Type
from cnndsl.ops.conv import Conv

#: The families, by the module of an operation, whose layers go into the box of the layer before.
FOLLOWERS: Final = ("norm", "activation", "dropout")

#: The family of the pill at the end of a side head.
HEAD: Final = "head"


@dataclass(eq=False)
class Box:
    """A layer, and the norms and activations directly after it; or the end of a side head.

    `twins` are the boxes of further, identical blocks that this one stands for.
    """

    number: int
    path: tuple[str, ...]
    family: str
    lines: list[str]
    ops: list[Op]
    type: Type
    names: list[str]
    parameters: int = 0
    multiply_adds: int = 0
    twins: list[Box] = field(default_factory=list)

    @property
    def shape(self) -> str:
        """The shape of the result; over twins `56x56x(96…256)`."""
        first, last = self.type, (self.twins or [self])[-1].type
        if self.family == HEAD or first.shape == last.shape:
            return "" if self.family == HEAD else str(first)
        *extents, channels = first.features
        return "x".join([*map(str, extents), f"({channels}…{last.channels})"])

    @property
    def total_parameters(self) -> int:
        """The parameters of this box and its twins."""
        return self.parameters + sum(twin.total_parameters for twin in self.twins)

    @property
    def label(self) -> list[str]:
        """The layer, what follows it in its box, and the shape."""
        rows = [self.lines[0], ", ".join(self.lines[1:])]
        is_input = self.ops and isinstance(self.ops[0], Input)
        return [row for row in (*rows, "" if is_input else self.shape) if row]

    def tooltip(self) -> str:
        """Names, and what the layers cost."""
        return "\n".join([*self.names, *_costs(self.parameters, self.multiply_adds)])


@dataclass(eq=False)
class Frame:
    """A block call or an iteration of a loop, and what is in it; `times` of them alike in a row."""

    words: tuple[str, ...]
    children: list[Box | Frame]
    path: tuple[str, ...] = ()
    times: int = 1

    def boxes(self) -> Iterator[Box]:
        """Every box within, in order."""
        for child in self.children:
            if isinstance(child, Box):
                yield child
            else:
                yield from child.boxes()

    @property
    def title(self) -> str:
        """The block's name, and how often it stands there."""
        name = ".".join(word for word in self.words if not word.isdigit())
        if self.times > 1:
            return f"{name} ×{self.times}".strip()
        numbers = ", ".join(word for word in self.words if word.isdigit())
        return f"{name} [{numbers}]".strip() if numbers else name

    @property
    def parameters(self) -> int:
        """The parameters within, those of all repetitions."""
        return sum(box.total_parameters for box in self.boxes())

    def tooltip(self) -> str:
        """The path, and what everything within costs, once where it repeats."""
        boxes = list(self.boxes())
        adds = sum(box.multiply_adds for box in boxes)
        costs = _costs(sum(box.parameters for box in boxes), adds)
        return "\n".join([".".join(self.path), *costs])

    @property
    def caption(self) -> str:
        """How many parameters are within; of several alike, those of each."""
        total = self.parameters
        if not total:
            return ""
        if self.times == 1:
            return f"{short_number(total)} params"
        if all(t.parameters == box.parameters for box in self.boxes() for t in box.twins):
            return f"{short_number(total // self.times)} params each"
        return f"{short_number(total)} params in all"


@dataclass(frozen=True, slots=True)
class Edge:
    """A value that flows from one box to another."""

    source: Box
    target: Box


@dataclass
class Scene:
    """The whole picture; the outermost frame is the model's and is not drawn."""

    root: Frame
    edges: list[Edge]
    parameters: int
    multiply_adds: int
    input: str


def scene(graph: Graph) -> Scene:
    """The boxes and frames of a graph, every block by itself."""
    order = analysis.layers(graph)
    readers: dict[Node, int] = dict.fromkeys(order, 0)
    operands = {n: [v.node for v in graph.operands(n) if v.node in readers] for n in order}
    for sources in operands.values():
        for source in sources:
            readers[source] += 1
    for head in graph.heads:
        readers[head.value.node] += 1
    box_of: dict[Node, Box] = {}
    edges: list[Edge] = []
    boxes: list[Box] = []
    for node in order:
        first = operands[node][0] if operands[node] else None
        alone = first is not None and readers[first] == len(operands[node]) == 1
        if first is not None and alone and _follows(graph, node, box_of[first]):
            box = box_of[first]
            _append(graph, node, box)
        else:
            box = _box(graph, node)
            boxes.append(box)
            edges += [Edge(box_of[source], box) for source in operands[node]]
        box_of[node] = box
    for number, head in enumerate(graph.heads, start=max(order) + 1):
        end = box_of[head.value.node]
        pill = _pill(head, end, number)
        boxes.insert(boxes.index(end) + 1, pill)
        edges.append(Edge(end, pill))
    root = Frame((graph.name_of_model,), _grouped(boxes, 0))
    _simplify(root)
    main = analysis.main_path(graph)
    return Scene(
        root,
        edges,
        analysis.parameters(graph),
        sum(analysis.multiply_adds(graph, node) for node in order if node in main),
        ", ".join(str(value.type) for value in graph.inputs.values()),
    )


def _costs(parameters: int, multiply_adds: int) -> list[str]:
    counts = [(parameters, "parameters"), (multiply_adds, "multiply-adds")]
    return [f"{count:,} {what}" for count, what in counts if count]


def _family(op: Op) -> str:
    return type(op).__module__.rpartition(".")[2]


def _path(name: str) -> tuple[str, ...]:
    return tuple(name.split(".")[:-1])


def _follows(graph: Graph, node: Node, before: Box) -> bool:
    """Whether a layer goes into the box of the one before it."""
    if _family(graph.op(node)) not in FOLLOWERS or isinstance(before.ops[0], Input):
        return False
    return before.path == _path(graph.name(node))


def _box(graph: Graph, node: Node) -> Box:
    op = graph.op(node)
    box = Box(node, _path(graph.name(node)), _family(op), [], [], graph.types(node)[0], [])
    _append(graph, node, box)
    box.lines = [_figure_text(graph, node)]
    return box


def _figure_text(graph: Graph, node: Node) -> str:
    """A layer as in the language, without what a figure does not say: the bias, a 1x1's padding."""
    op = graph.op(node)
    for argument in fields(op):  # type: ignore[arg-type]
        if argument.name == "bias":
            op = replace(op, bias=argument.default)  # type: ignore[type-var]
    if isinstance(op, Conv) and op.kernel == (1, 1) and op.pad == 0:
        op = replace(op, pad=None)
    return op.spell(*(value.type for value in graph.operands(node)))


def _append(graph: Graph, node: Node, box: Box) -> None:
    """Put a layer into a box; of what follows the first only the word and what has no name."""
    op = graph.op(node)
    named = [argument.name for argument in fields(op) if argument.kw_only]  # type: ignore[arg-type]
    box.lines.append(spell(op, hide=named))
    box.ops.append(op)
    box.type = graph.types(node)[0]
    box.names.append(graph.name(node))
    box.parameters += sum(
        v.type.elements for v in graph.operands(node) if isinstance(v.op, Parameter)
    )
    box.multiply_adds += analysis.multiply_adds(graph, node)


def _pill(head: Head, source: Box, number: int) -> Box:
    text = f"loss × {head.weight:g}"
    return Box(number, _path(head.name), HEAD, [text], [], source.type, [head.name])


def _grouped(boxes: Sequence[Box], depth: int) -> list[Box | Frame]:
    """Boxes in a row that share the next segment of their paths, in a frame of it.

    The boxes stand in a topological order, so that no way leads out of a frame and back into it.
    """
    grouped: list[Box | Frame] = []
    for word, group in groupby(boxes, lambda box: (box.path + ("",) * (depth + 1))[depth]):
        if word:
            members = list(group)
            path = members[0].path[: depth + 1]
            grouped.append(Frame((word,), _grouped(members, depth + 1), path))
        else:
            grouped.extend(group)
    return grouped


def _simplify(frame: Frame) -> None:
    """Drop frames around one thing, and ordinals of blocks of which there is one."""
    for index, child in enumerate(frame.children):
        if isinstance(child, Frame):
            _simplify(child)
            frame.children[index] = merged(child)
    words = {child.path[-1] for child in frame.children if isinstance(child, Frame)}
    for child in frame.children:
        if isinstance(child, Frame):
            child.words = tuple(_without_ordinal(word, words) for word in child.words)


def merged(frame: Frame) -> Box | Frame:
    """A frame without one that only repeats it."""
    if len(frame.children) != 1:
        return frame
    (child,) = frame.children
    if isinstance(child, Box):
        return child if frame.times == 1 else frame
    if frame.times > 1 and child.times > 1:
        return frame
    return replace(child, words=frame.words + child.words, times=frame.times * child.times)


def _without_ordinal(word: str, siblings: set[str]) -> str:
    """`bottleneck1` as `bottleneck`, unless there is a `bottleneck2`."""
    kind = word.rstrip("0123456789")
    alone = not any(s != word and s.rstrip("0123456789") == kind for s in siblings)
    return kind if kind and word == f"{kind}1" and alone else word
