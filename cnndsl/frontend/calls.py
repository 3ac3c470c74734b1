"""Calls of blocks: a block's body with its parameters alone in scope."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cnndsl.diagnostics import Label, Span
from cnndsl.frontend import syntax
from cnndsl.frontend.arguments import (
    Given,
    bind_parameters,
    block_signature,
    evaluate_arguments,
)
from cnndsl.frontend.library import Module
from cnndsl.frontend.naming import Numbered
from cnndsl.frontend.problems import Problem
from cnndsl.frontend.scope import Origin, Scope
from cnndsl.frontend.values import BlockKind
from cnndsl.graph.graph import Frame

if TYPE_CHECKING:
    from cnndsl.frontend.steps import Elaborator


@dataclass
class Calling:
    """A block or model being elaborated: its text, its numbering, its file, and its globals."""

    definition: syntax.Block | syntax.Model
    numbers: dict[int, Numbered]
    module: Module
    globals: Scope
    blocks: tuple[syntax.Block, ...] = ()
    frames: tuple[Frame, ...] = ()
    #: The steps that called, the innermost first, each with the scope in which it stands.
    sites: tuple[tuple[syntax.Layer, Scope], ...] = ()
    loops: list[str] = field(default_factory=list)

    def frames_to(self, place: Span) -> tuple[Frame, ...]:
        """The calls that led to a place; none where it is in no block that is running."""
        for outer, block in enumerate(reversed(self.blocks)):
            within = block.span.start <= place.start < block.span.end
            if within and block.span.source is place.source:
                return self.frames[outer:]
        return ()


def call_block(e: Elaborator, step: syntax.Layer, kind: BlockKind, scope: Scope) -> None:
    """Elaborate a block's body, with its parameters alone in scope."""
    given = evaluate_arguments(step.arguments, e.evaluator, scope)
    bound = bind_parameters(kind.block, given)
    if any(kind.block is running for running in e.call.blocks):
        way = [block.name.id for block in e.call.blocks]
        way = way[way.index(kind.name) + 1 :]
        raise Problem(
            "E0310",
            f"the block `{kind.name}` calls itself"
            + (f" by way of {' and '.join(f'`{name}`' for name in way)}" if way else ""),
            step.name.span,
            secondary=(Label(kind.block.name.span, "it is defined here"),),
            help="a block cannot stand in itself: `for` repeats steps",
        )
    outer = e.call
    text = " ".join(Span(step.span.source, step.name.span.start, _end_of_call(step)).text.split())
    frame = Frame(text, step.name.span, ", ".join(outer.loops))
    called = Calling(
        kind.block,
        e.numbers(kind.block.body),
        kind.module,
        e.globals(kind.module),
        (*outer.blocks, kind.block),
        (frame, *outer.frames),
        ((step, scope), *outer.sites),
    )
    name = e.segment(step, kind.name)
    values = parameter_scope(e, kind.block, bound, called.globals, step.name)
    e.call = called
    e.path.append(name)
    try:
        e.body(kind.block.body, values)
    finally:
        e.path.pop()
        e.call = outer


def _end_of_call(step: syntax.Layer) -> int:
    return step.arguments[-1].span.end if step.arguments else step.name.span.end


def parameter_scope(
    e: Elaborator, block: syntax.Block, bound: dict[str, Given], outside: Scope, at: syntax.Name
) -> Scope:
    scope = Scope(outside)
    for parameter in block.parameters:
        name = parameter.name
        if name.id in bound:
            given = bound[name.id]
            scope.bind(name, given.value, Origin(given.written, given.scope))
        elif parameter.default is not None:
            value = e.evaluator.evaluate(parameter.default, scope)
            scope.bind(name, value, Origin(parameter.default, scope))
        else:
            raise Problem(
                "E0402",
                f"`{block.name.id}` wants its `{name.id}`",
                at.span,
                secondary=(Label(name.span, f"`{name.id}` has no default"),),
                help=f"it is defined as `{block_signature(block)}`",
            )
    return scope
