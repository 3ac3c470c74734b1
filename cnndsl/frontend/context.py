"""What the elaborator knows around a mistake, added to its report."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from cnndsl.diagnostics import Label, suggest
from cnndsl.frontend import syntax
from cnndsl.frontend.calls import Calling
from cnndsl.frontend.origins import (
    OF_SHAPES,
    OF_VALUES,
    call_origins,
    defined_here,
    origins,
    unused_names,
    unused_values,
)
from cnndsl.frontend.problems import Problem
from cnndsl.frontend.scope import Scope
from cnndsl.frontend.values import WORDS
from cnndsl.graph.graph import Value

if TYPE_CHECKING:
    from cnndsl.frontend.steps import Elaborator

#: What of an expression depends on the current value.
_OF_THE_VALUE = re.compile(r"\b(channels|extent)\b")


def add_origins(problem: Problem, step: syntax.Step, scope: Scope, call: Calling) -> None:
    """Labels on what gave the names in a mistake, or in the calls that led to it, their values."""
    if problem.code in OF_VALUES:
        problem.secondary += origins(problem.label.span, step, scope)
    if problem.code in OF_SHAPES:
        problem.secondary += call_origins(call.sites, len(problem.secondary))


def add_context(problem: Problem, e: Elaborator) -> None:
    """Labels on the definitions that were perhaps meant, and how the value came to be."""
    definition, module = e.call.definition, e.call.module
    if problem.code == "E0302" and not problem.secondary:
        problem.secondary = _block_like(problem.label.span.text, e) or unused_names(
            definition, module.file
        )
        if not problem.secondary and problem.help is None:
            problem.secondary = _parameters(definition)
    if problem.code in ("E0303", "E0307"):
        problem.secondary += unused_values(definition)
    texts = [problem.label.span.text, *(label.span.text for label in problem.secondary)]
    of_value = problem.code == "E0406" and any(map(_OF_THE_VALUE.search, texts))
    if of_value and isinstance(e.current, Value) and not problem.trace:
        problem.trace = e.trace(e.current, problem.label.span)


def _block_like(word: str, e: Elaborator) -> tuple[Label, ...]:
    """A label on the block whose name is most like a word, of all names that are known."""
    blocks = e.call.module.blocks
    close = suggest(word, {*e.known_names(), *WORDS})
    return (defined_here(blocks[close][0].name),) if close in blocks else ()


def _parameters(definition: syntax.Block | syntax.Model) -> tuple[Label, ...]:
    """A label on the parameters of the block or model that is elaborated."""
    if not definition.parameters:
        return ()
    span = definition.parameters[0].name.span.until(definition.parameters[-1].span)
    return (Label(span, f"`{definition.name.id}` has these parameters"),)
