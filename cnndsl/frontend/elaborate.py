"""Elaboration: a model of a file, with its parameters, becomes one static graph."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from cnndsl.diagnostics import CnndslError, Diagnostic, Source, Span, did_you_mean
from cnndsl.frontend import syntax
from cnndsl.frontend.arguments import Given, bind_parameters, evaluate_arguments
from cnndsl.frontend.biases import drop_redundant_biases
from cnndsl.frontend.calls import Calling, parameter_scope
from cnndsl.frontend.inputs import missing_input
from cnndsl.frontend.library import Module
from cnndsl.frontend.limits import Limits
from cnndsl.frontend.parse import parse_expression
from cnndsl.frontend.problems import Poisoned, Problem
from cnndsl.frontend.scope import Scope
from cnndsl.frontend.steps import Elaborator
from cnndsl.graph.graph import Graph, Value
from cnndsl.graph.types import Size

__all__ = ["Limits", "Network", "elaborate"]


@dataclass(frozen=True)
class Network:
    """An elaborated model: its graph, and where it came from.

    `parameters` are the model's, as they were in the end; `changed` says that the command line or
    the caller changed one, so that claims and expectations were not checked.
    """

    graph: Graph
    name: str
    module: Module
    parameters: Mapping[str, Any]
    changed: bool


def elaborate(
    module: Module,
    name: str | None = None,
    *,
    parameters: Mapping[str, str | int] | None = None,
    input_size: Size | None = None,
    limits: Limits | None = None,
    dtype: str = "float32",
) -> Network:
    """Elaborate a model of a file.

    `parameters` are the model's by name, as text of the language or as numbers.

    Raises:
        CnndslError: every mistake that elaboration finds.
    """
    name = module.choose(name)
    elaborator = Elaborator(module, limits or Limits(), input_size, dtype)
    with _deep_recursion():
        return _model(elaborator, name, dict(parameters or {}))


@contextmanager
def _deep_recursion() -> Iterator[None]:
    """Room for the deepest nesting that the limits allow."""
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(max(limit, 20_000))
    try:
        yield
    finally:
        sys.setrecursionlimit(limit)


def _model(e: Elaborator, name: str, overrides: dict[str, str | int]) -> Network:
    """The network of a model, with parameters given by name."""
    chain = e.module.chain(name)
    definition, home = chain[-1]
    assert isinstance(definition, syntax.Model)
    e.graph.name_of_model = name
    e.model = definition
    values: dict[str, Any] = {}
    try:
        e.call = Calling(definition, e.numbers(definition.body), home, Scope())
        e.call.globals = e.globals(home)
        scope = _model_scope(e, definition, chain, overrides)
        values = {p.name.id: scope.names[p.name.id] for p in definition.parameters}
        e.body(definition.body, scope)
        if e.current is None and not e.mistakes:
            raise missing_input(definition.name.span, definition)
    except Problem as problem:
        e.report(problem)
    except Poisoned:
        pass
    if e.mistakes:
        raise CnndslError(*e.mistakes.values())
    assert isinstance(e.current, Value)
    e.graph.outputs["logits"] = e.current
    drop_redundant_biases(e.graph)
    return Network(e.graph, name, e.module, values, e.changed)


def _model_scope(
    e: Elaborator,
    definition: syntax.Model,
    chain: list[tuple[syntax.Model | syntax.Variant, Module]],
    overrides: dict[str, str | int],
) -> Scope:
    block = syntax.Block(definition.span, definition.name, definition.parameters, definition.body)
    positional: list[Given] = []
    named: dict[str, Given] = {}
    for variant, home in reversed(chain[:-1]):
        assert isinstance(variant, syntax.Variant)
        e.call.module = home
        given = evaluate_arguments(variant.arguments, e.evaluator, e.globals(home))
        positional += [g for g in given if g.name is None]
        for argument in (g for g in given if g.name is not None):
            named[str(argument.name)] = argument
    e.call.module = chain[-1][1]
    given = positional + list(named.values())
    bound = bind_parameters(block, given)
    names = [p.name.id for p in definition.parameters]
    home_scope = e.globals(chain[-1][1])
    own: dict[str, Any] = {}
    if overrides and not _missing(definition, bound):
        own = parameter_scope(e, block, bound, home_scope, definition.name).names
    for key, text in overrides.items():
        if key not in names:
            raise CnndslError(
                Diagnostic(
                    "E0401",
                    f"`{definition.name.id}` has no parameter `{key}`",
                    help=did_you_mean(key, names)
                    or (f"it has {', '.join(names)}" if names else "it has none"),
                ),
                status=2,
            )
        source = Source("--set", str(text))
        written = parse_expression(source)
        value = e.evaluator.evaluate(written, e.globals(e.module))
        e.changed |= key not in own or own[key] != value
        bound[key] = Given(value, Span(source, 0, len(source.text)), written, None, key)
    return parameter_scope(e, block, bound, home_scope, definition.name)


def _missing(definition: syntax.Model, bound: dict[str, Given]) -> bool:
    """Whether a parameter has neither a value nor a default."""
    return any(p.default is None and p.name.id not in bound for p in definition.parameters)
