"""Where the names in a mistake come from: what gave them their values, and what nothing uses."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from cnndsl.diagnostics import Label, Span
from cnndsl.frontend import syntax
from cnndsl.frontend.scope import Scope
from cnndsl.frontend.values import UNKNOWN, show
from cnndsl.graph.graph import Value

#: The mistakes in which the values of names matter.
OF_VALUES = frozenset({"E0201", "E0305", "E0405", "E0406", "E0407", "E0409", "E0410"})
#: The mistakes of shape, in which the values of the arguments of the calls matter.
OF_SHAPES = frozenset({"E0201", "E0202", "E0203", "E0204", "E0205", "E0206", "E0210"})
#: The most labels on origins, and the longest value that one shows.
MOST = 3
LONGEST = 40


def origins(span: Span, step: syntax.Node, scope: Scope) -> tuple[Label, ...]:
    """Labels on what gave the names within a span of a step their values, if not on its line."""
    found: dict[int, Label] = {}
    waiting = [
        (name.id, scope) for name in _names(step) if span.start <= name.span.start < span.end
    ]
    seen: set[tuple[str, int]] = set()
    while waiting and len(found) < MOST:
        name, inside = waiting.pop(0)
        origin = inside.origin(name)
        value = inside.find(name)
        if (name, id(inside)) in seen or origin is None:
            continue
        seen.add((name, id(inside)))
        if value is UNKNOWN or isinstance(value, Value | dict):
            continue
        place = origin.expression.span
        if place.line != span.line or place.source is not span.source:
            found.setdefault(place.start, Label(place, f"`{name}` is {short(value)}"))
        if origin.scope is not None:
            waiting += [(n.id, origin.scope) for n in _names(origin.expression)]
    return tuple(found.values())


def call_origins(sites: Sequence[tuple[syntax.Layer, Scope]], already: int) -> tuple[Label, ...]:
    """Labels on what is written out elsewhere for the arguments of the calls: in tables, `let`s.

    What stands in the calls themselves, and in the loops around them, is shown with the calls.
    """
    found: dict[int, Label] = {}
    for step, scope in sites:
        for name in _names(step):
            origin, value = scope.origin(name.id), scope.find(name.id)
            if origin is None or isinstance(origin.expression, syntax.Name | syntax.Range):
                continue
            place = origin.expression.span
            if place.line != step.span.line and value is not UNKNOWN:
                found.setdefault(place.start, Label(place, f"`{name.id}` is {short(value)}"))
    return tuple(found.values())[: max(0, MOST - already)]


def defined_here(name: syntax.Name) -> Label:
    """A label on a definition that was perhaps meant."""
    return Label(name.span, f"`{name.id}` is defined here")


def short(value: object) -> str:
    """A value as it is written, cut where that is long."""
    shown = show(value)
    return shown if len(shown) <= LONGEST else shown[: LONGEST - 1] + "…"


def unused_names(definition: syntax.Block | syntax.Model, file: syntax.File) -> tuple[Label, ...]:
    """Labels on parameters, `let`s and loops' names that nothing uses: perhaps misspelt there."""
    used = {name for item in file.items for name in _used(item)}
    of_file = [item.let.name for item in file.items if isinstance(item, syntax.Global)]
    names = [name for name in of_file if name.id not in used]
    used = _used(definition)
    own = [p.name for p in definition.parameters]
    own += [node.name for node in walk(definition.body) if isinstance(node, syntax.Let)]
    own += [n for node in walk(definition.body) if isinstance(node, syntax.For) for n in node.names]
    return _labels([name for name in own if name.id not in used] + names)


def unused_values(definition: syntax.Block | syntax.Model) -> tuple[Label, ...]:
    """Labels on the names of values from which nothing goes on."""
    used = _used(definition)
    bound = [node.name for node in walk(definition.body) if isinstance(node, syntax.Binding)]
    return _labels([name for name in bound if name.id not in used])


def unused_blocks(file: syntax.File, running: syntax.Block | syntax.Model) -> tuple[Label, ...]:
    """Labels on the blocks of a file that nothing in it uses; `running` is in use."""
    used = {name for item in file.items for name in _used(item)} | {running.name.id}
    blocks = [item.name for item in file.items if isinstance(item, syntax.Block)]
    return _labels([name for name in blocks if name.id not in used])


def unnamed_models(file: syntax.File, but: str | None) -> tuple[Label, ...]:
    """Labels on the models of a file, but one, that no variant and no section names."""
    named = {but}
    for item in file.items:
        name = item.base if isinstance(item, syntax.Variant) else getattr(item, "model", None)
        if isinstance(name, syntax.Name):
            named.add(name.id)
    models = [item.name for item in file.items if isinstance(item, syntax.Model)]
    models += [item.name for item in file.items if isinstance(item, syntax.Variant)]
    left = [name for name in models if name.id not in named][:MOST]
    return tuple(Label(name.span, f"no section and no variant names `{name.id}`") for name in left)


def walk(node: object) -> Iterator[syntax.Node]:
    """Every node of a piece of syntax, a parent before its children."""
    if isinstance(node, tuple):
        for item in node:
            yield from walk(item)
    elif isinstance(node, syntax.Node):
        yield node
        for field in node.__dataclass_fields__:
            if field != "span":
                yield from walk(getattr(node, field))


def _names(node: syntax.Node) -> Iterator[syntax.Name]:
    """The names in a step or an expression, those in the bodies of a step left out."""
    waiting: list[object] = [node]
    while waiting:
        part = waiting.pop()
        if isinstance(part, syntax.Name):
            yield part
        elif isinstance(part, tuple):
            waiting += reversed(part)
        elif isinstance(part, syntax.Node) and not isinstance(part, syntax.Body):
            fields = [f for f in part.__dataclass_fields__ if f != "span"]
            waiting += [getattr(part, field) for field in reversed(fields)]


def _used(item: syntax.Node) -> set[str]:
    """The words that stand for something in a definition: all names but those that it binds."""
    used = set()
    for node in walk(item):
        match node:
            case syntax.Layer() | syntax.From():
                used.add(node.name.id)
            case syntax.Parameter() | syntax.Let():
                used |= _expressions(
                    node.default if isinstance(node, syntax.Parameter) else node.value
                )
            case syntax.Argument() | syntax.SettingValue():
                used |= _expressions(node.value)
            case syntax.For() | syntax.Comprehension():
                used |= _expressions(node.iterable)
            case syntax.If():
                used |= _expressions(node.condition)
            case syntax.Claim():
                used |= _expressions(node.extents)
            case syntax.Index():
                used |= _expressions(node)
    return used


def _expressions(node: object) -> set[str]:
    return {n.id for n in walk(node) if isinstance(n, syntax.Name)}


def _labels(names: list[syntax.Name]) -> tuple[Label, ...]:
    return tuple(Label(name.span, f"`{name.id}` is used nowhere") for name in names[:MOST])
