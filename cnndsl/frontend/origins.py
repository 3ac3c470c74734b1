"""Where the names in a mistake come from: what gave them their values, and what nothing uses."""

from __future__ import annotations

from collections.abc import Iterator

from cnndsl.diagnostics import Label, Span
from cnndsl.frontend import syntax
from cnndsl.frontend.scope import Scope
from cnndsl.frontend.values import UNKNOWN, show
from cnndsl.graph.graph import Value

#: The mistakes in which the values of names matter.
OF_VALUES = frozenset({"E0201", "E0305", "E0405", "E0406", "E0407", "E0409", "E0410"})
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
            shown = show(value)
            shown = shown if len(shown) <= LONGEST else shown[: LONGEST - 1] + "…"
            found.setdefault(place.start, Label(place, f"`{name}` is {shown}"))
        if origin.scope is not None:
            waiting += [(n.id, origin.scope) for n in _names(origin.expression)]
    return tuple(found.values())


def unused_names(definition: syntax.Block | syntax.Model, file: syntax.File) -> tuple[Label, ...]:
    """Labels on the parameters and `let`s that nothing uses: perhaps misspelt where they stand."""
    used = {name for item in file.items for name in _used(item)}
    of_file = [item.let.name for item in file.items if isinstance(item, syntax.Global)]
    names = [name for name in of_file if name.id not in used]
    used = _used(definition)
    own = [p.name for p in definition.parameters]
    own += [node.name for node in walk(definition.body) if isinstance(node, syntax.Let)]
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
    models = [i.name for i in file.items if isinstance(i, syntax.Model | syntax.Variant)]
    return _labels([name for name in models if name.id not in named])


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
