"""Scopes: what names mean within a pair of braces, and where they were bound."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from cnndsl.diagnostics import Label, Span
from cnndsl.frontend import syntax
from cnndsl.frontend.limits import MAX_DEPTH


@dataclass(frozen=True, slots=True, eq=False)
class Origin:
    """An expression that gave a name its value, and the scope in which its own names stand.

    The scope is None where the expression came from the command line. `among` is the list, or
    the list of rows, to which the expression belongs.
    """

    expression: syntax.Expression
    scope: Scope | None
    among: syntax.ListLiteral | None = None


class Family(dict[int, Any]):
    """The values of an indexed name, and where each was bound."""

    def __init__(self) -> None:
        super().__init__()
        self.places: dict[int, Span] = {}

    def bind(self, index: int, value: Any, place: Span) -> None:
        """Give an element its value."""
        self[index] = value
        self.places[index] = place


@dataclass(slots=True)
class Scope:
    """Names within a pair of braces; `indexed` are the families of the whole block body.

    `places` says where names were bound and `origins` what gave them their values, for messages.
    """

    parent: Scope | None = None
    names: dict[str, Any] = field(default_factory=dict)
    indexed: dict[str, Family] = field(default_factory=dict)
    places: dict[str, Span] = field(default_factory=dict)
    origins: dict[str, Origin] = field(default_factory=dict)

    def inner(self) -> Scope:
        """The scope of inner braces."""
        return Scope(self, {}, self.indexed)

    def bind(self, name: syntax.Name, value: Any, origin: Origin | None = None) -> None:
        """Give a name its value here."""
        self.names[name.id] = value
        self.places[name.id] = name.span
        if origin is not None:
            self.origins[name.id] = origin

    def find(self, name: str) -> Any:
        """The value of a name, or None."""
        scope: Scope | None = self
        while scope is not None:
            if name in scope.names:
                return scope.names[name]
            scope = scope.parent
        return self.indexed.get(name)

    def visible(self) -> set[str]:
        """Every name that can be seen from here."""
        names = set(self.indexed)
        scope: Scope | None = self
        while scope is not None:
            names |= set(scope.names)
            scope = scope.parent
        return names

    def place(self, name: str) -> Span | None:
        """Where a name was bound, if that is known."""
        scope: Scope | None = self
        while scope is not None:
            if name in scope.places:
                return scope.places[name]
            scope = scope.parent
        return None

    def origin(self, name: str) -> Origin | None:
        """What gave a name its value, if that is known."""
        scope: Scope | None = self
        while scope is not None:
            if name in scope.names:
                return scope.origins.get(name)
            scope = scope.parent
        return None

    def pointer(self, name: str | None) -> tuple[Label, ...]:
        """A label on the binding of a name that was perhaps meant."""
        place = self.place(name) if name else None
        return (Label(place, f"`{name}` is bound here"),) if place else ()


def written(expression: syntax.Expression, scope: Scope) -> Origin:
    """What an expression that is a name was written as, through the names on the way."""
    origin = Origin(expression, scope)
    for _ in range(MAX_DEPTH):
        name, inside = origin.expression, origin.scope
        following = inside.origin(name.id) if isinstance(name, syntax.Name) and inside else None
        if following is None:
            break
        origin = following
    return origin
