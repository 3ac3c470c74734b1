"""The steps of a body: each takes the current value and leaves the next, in a graph that grows."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

from cnndsl.diagnostics import CnndslError, Diagnostic, Span, did_you_mean, suggest
from cnndsl.frontend import syntax
from cnndsl.frontend.arguments import (
    build_op,
    evaluate_arguments,
    tell_at_argument,
)
from cnndsl.frontend.calls import Calling, call_block
from cnndsl.frontend.claims import Claims, trace_of
from cnndsl.frontend.context import add_context, add_origins
from cnndsl.frontend.expressions import Evaluator, element
from cnndsl.frontend.faults import tell_at_origin
from cnndsl.frontend.inputs import missing_input, read_input
from cnndsl.frontend.joins import JOIN_RULES
from cnndsl.frontend.kinds import kind_of
from cnndsl.frontend.library import JOINS, Module
from cnndsl.frontend.limits import MAX_DEPTH, MAX_EXTENT, Limits
from cnndsl.frontend.loops import row_origins, rows
from cnndsl.frontend.naming import Numbered, loop_segment, number_steps, segment
from cnndsl.frontend.problems import Poisoned, Problem, TooMuch, bound_twice
from cnndsl.frontend.scope import Family, Origin, Scope, written
from cnndsl.frontend.values import (
    UNKNOWN,
    BlockKind,
    LayerKind,
    describe,
    show,
)
from cnndsl.graph.graph import Frame, Graph, Node, Value
from cnndsl.graph.leaves import Buffer, Input, Parameter
from cnndsl.graph.op import OPS, Mismatch, Op, Window
from cnndsl.graph.types import BATCH, Size, Type


class Elaborator:
    """Walks the steps of a model; the current value flows through `current`.

    A mistake is kept in `mistakes` and leaves the current value UNKNOWN, so that what follows from
    it is not reported again.
    """

    def __init__(self, module: Module, limits: Limits, input_size: Size | None, dtype: str) -> None:
        self.module = module
        self.limits = limits
        self.input_size = input_size
        self.dtype = dtype
        self.graph = Graph()
        self.current: Any = None
        #: For each value the product of the strides that lead to it; None where it is not known.
        self.jumps: dict[Node, Fraction | None] = {}
        self.claims = Claims()
        self.path: list[str] = []
        self.depth = 0
        self.changed = input_size is not None
        self.mistakes: dict[tuple[str, int, int], Diagnostic] = {}
        self.evaluator = Evaluator(self._resolve, self.known_names, limits.steps)
        self.numberings: dict[int, dict[int, Numbered]] = {}
        self.global_scopes: dict[int, Scope] = {}
        #: The steps (by `id`) that went well once, in a loop or a block.
        self.well: set[int] = set()
        self.call: Calling
        self.model: syntax.Model

    # Files and names -----------------------------------------------------------------------------

    def globals(self, module: Module) -> Scope:
        """The scope of a file's `let`s."""
        if id(module) not in self.global_scopes:
            scope = self.global_scopes[id(module)] = Scope()
            for let in module.lets:
                self.guarded(let, scope)
        return self.global_scopes[id(module)]

    def numbers(self, body: syntax.Body) -> dict[int, Numbered]:
        if id(body) not in self.numberings:
            self.numberings[id(body)] = number_steps(body)
        return self.numberings[id(body)]

    def _resolve(self, name: str) -> Any:
        """What a name means that no scope holds: the current value's shape, a layer, a block."""
        if name in ("channels", "extent"):
            if self.current is UNKNOWN or self.current is None:
                raise Poisoned
            type = self.current.type
            return type.channels if name == "channels" else type.extent
        if name in OPS:
            return None if name == "pad" else LayerKind(name, OPS[name])
        found = self.call.module.blocks.get(name)
        return BlockKind(*found) if found else None

    def known_names(self) -> set[str]:
        """The names that need no scope: those of the value's shape, of layers, of blocks."""
        return {"channels", "extent", *OPS, *self.call.module.blocks}

    # Mistakes ------------------------------------------------------------------------------------

    def report(self, problem: Problem) -> None:
        """Keep a mistake; the same one at the same place is kept once."""
        add_context(problem, self)
        span = problem.label.span
        key = (problem.code, id(span.source), span.start)
        calls = tuple(map(str, self.call.frames_to(span)))
        self.mistakes.setdefault(key, problem.diagnostic(calls))
        if isinstance(problem, TooMuch):
            raise CnndslError(*self.mistakes.values())

    def trace(self, value: Value, at: Span) -> tuple[str, ...]:
        """How a value came to be that a mistake is about, a line a layer."""
        return trace_of(value, self.claims, at)

    # Steps ---------------------------------------------------------------------------------------

    def body(self, body: syntax.Body, scope: Scope) -> None:
        """The steps of a body that is a sequence, in a scope of its own."""
        if body.branches:
            branch = body.branches[0]
            self.report(
                Problem(
                    "E0412",
                    "branches belong in `concat`, `add` or `mul`",
                    Span(branch.span.source, branch.span.start, branch.span.start + 1),
                )
            )
            self.current = UNKNOWN
            return
        self.steps(body.steps, scope.inner())

    def steps(self, steps: tuple[syntax.Step, ...], scope: Scope) -> None:
        """Steps one after the other; a mistake leaves the current value unknown."""
        self.depth += 1
        if self.depth > MAX_DEPTH and steps:
            raise TooMuch("E0603", f"blocks are nested more than {MAX_DEPTH} deep", steps[0].span)
        for step in steps:
            self.guarded(step, scope)
        self.depth -= 1

    def guarded(self, step: syntax.Step, scope: Scope) -> None:
        try:
            self.evaluator.count(step)
            _STEP_RULES[type(step)](self, step, scope)
            self.well.add(id(step))
        except Problem as problem:
            if not tell_at_origin(problem, step, scope, id(step) in self.well):
                add_origins(problem, step, scope, self.call)
            self.report(problem)
            self._poison(step, scope)
        except Poisoned:
            self._poison(step, scope)

    def _poison(self, step: syntax.Step, scope: Scope) -> None:
        """After a mistake: names are bound all the same, and the flow goes on from a claim."""
        if isinstance(step, syntax.Let):
            scope.names.setdefault(step.name.id, UNKNOWN)
            return
        self.current = UNKNOWN
        if not isinstance(step, syntax.Layer | syntax.From):
            return
        if step.claim is not None and not self.changed:
            self.current = self._claimed(step.claim, scope)
        if step.binding is not None:
            try:
                self._bind(step.binding, scope)
            except Problem as problem:
                self.report(problem)
            except Poisoned:
                pass

    def _claimed(self, claim: syntax.Claim, scope: Scope) -> Any:
        """A value of the claimed shape, to go on with after a mistake."""
        try:
            extents = [self.evaluator.whole(extent, scope) for extent in claim.extents]
        except (Problem, Poisoned):
            return UNKNOWN
        if not all(1 <= extent <= MAX_EXTENT for extent in extents):
            return UNKNOWN
        value = self.graph.add(Input(Type((BATCH, *extents), self.dtype)), span=claim.span)[0]
        self.claims.stand_ins.add(value.node)
        self.jumps[value.node] = None
        return value

    def let(self, step: syntax.Let, scope: Scope) -> None:
        if step.name.id in scope.names:
            raise bound_twice(step.name.id, step.name.span, scope.place(step.name.id))
        value = self.evaluator.evaluate(step.value, scope)
        scope.bind(step.name, value, Origin(step.value, scope))

    def loop(self, step: syntax.For, scope: Scope) -> None:
        for inner in self.iterations(step, scope):
            self.body(step.body, inner)

    def iterations(self, step: syntax.For, scope: Scope) -> Iterator[Scope]:
        """A scope with the loop's names, element by element; the loop is in paths and messages."""
        first = step.names[0].id
        iterable, table = Origin(step.iterable, scope), written(step.iterable, scope)
        for row, names in rows(self.evaluator, step.names, step.iterable, scope):
            is_index = isinstance(step.iterable, syntax.Range) or (
                len(names) > 1 and names[first] is row
            )
            self.path.append(loop_segment(step.names, row, names[first], is_index))
            shown = [f"{name} = {show(value)}" for name, value in names.items()][:3]
            self.call.loops.append(", ".join(shown))
            inner = scope.inner()
            for name, origin in row_origins(step.names, iterable, table, row).items():
                inner.bind(name, names[name.id], origin)
            try:
                yield inner
            finally:
                self.call.loops.pop()
                self.path.pop()

    def choice(self, step: syntax.If, scope: Scope) -> None:
        chosen = step.then if self.evaluator.truth(step.condition, scope) else step.otherwise
        if chosen is not None:
            self.body(chosen, scope)

    def restart(self, step: syntax.From, scope: Scope) -> None:
        self.current = self.named_value(step, scope)
        self.finish(step, scope)

    def named_value(self, step: syntax.From, scope: Scope) -> Value:
        """The value that `from` names."""
        found = scope.find(step.name.id)
        if found is UNKNOWN:
            raise Poisoned
        if found is None:
            flowing = {n for n in scope.visible() if isinstance(scope.find(n), Value | dict)}
            raise Problem(
                "E0303",
                f"there is no value called `{step.name.id}` here",
                step.name.span,
                secondary=scope.pointer(suggest(step.name.id, flowing)),
                help=did_you_mean(step.name.id, flowing)
                or f"name a value with `as {step.name.id}` first",
            )
        if isinstance(found, dict) and step.index is not None:
            index = self.evaluator.whole(step.index, scope)
            value: Value = element(found, index, step.name.id, step.index)
            return value
        if isinstance(found, Value) and step.index is not None:
            raise Problem(
                "E0303",
                f"`{step.name.id}` is one value, not a family of values",
                step.name.span,
                secondary=scope.pointer(step.name.id),
                help=f"write `from {step.name.id}`",
            )
        if not isinstance(found, Value):
            what = describe(found)
            raise Problem(
                "E0303",
                f"`{step.name.id}` is no value that flows: it is {what}",
                step.name.span,
                secondary=scope.pointer(step.name.id),
                help=f"say which: `from {step.name.id}[0]`" if isinstance(found, dict) else None,
            )
        return found

    def layer(self, step: syntax.Layer, scope: Scope) -> None:
        kind = kind_of(step, scope, self.call.module, self.call.definition)
        if isinstance(kind, str):
            self._require_input(step)
            JOIN_RULES[kind](self, step, scope)
        elif step.body is not None:
            brace = Span(step.span.source, step.body.span.start, step.body.span.start + 1)
            raise Problem(
                "E0411",
                f"`{step.name.id}` takes no body in braces",
                brace,
                help=f"what takes one is {', '.join(JOINS)}",
            )
        elif isinstance(kind, BlockKind):
            call_block(self, step, kind, scope)
        elif kind is None:
            read_input(self, step, scope)
        else:
            given = evaluate_arguments(step.arguments, self.evaluator, scope)
            op = build_op(kind.kind, given, step.name)
            self._require_value(step)
            try:
                self.current = self.apply(
                    op, (self.current,), step.span, self.segment(step, op.name)
                )
            except Problem as problem:
                tell_at_argument(problem, kind.kind, given)
                raise
        self.finish(step, scope)

    def segment(self, step: syntax.Layer, kind: str) -> str:
        """What a step adds to the path of names."""
        return segment(step, kind, self.call.numbers[id(step)])

    def _require_value(self, step: syntax.Layer) -> None:
        if self.current is UNKNOWN:
            raise Poisoned
        self._require_input(step)

    def _require_input(self, step: syntax.Layer) -> None:
        if self.current is None:
            called = self.call.frames[-1].span if self.call.frames else None
            raise missing_input(step.name.span, self.model, called)

    # Nodes ---------------------------------------------------------------------------------------

    def apply(self, op: Op, values: tuple[Value, ...], span: Span, name: str) -> Value:
        """Add an operation with its parameters; its types are checked."""
        path = ".".join([*self.path, name])
        if len(self.graph) > self.limits.nodes:
            raise TooMuch(
                "E0601",
                f"the program has more than {self.limits.nodes:,} nodes",
                span,
                help="a larger program needs a larger limit: `--max-nodes`",
            )
        calls = self.call.frames
        x = values[0].type
        try:
            op = op.resolve(x)
            operands = list(values)
            for role, weight in op.parameters(x).items():
                kind = Parameter(Type(weight.shape, x.dtype), weight.initial, weight.decays)
                operands.append(self._leaf(kind, f"{path}.{role}", span, calls))
            for role, weight in op.buffers(x).items():
                buffer = Buffer(Type(weight.shape, x.dtype), weight.initial)
                operands.append(self._leaf(buffer, f"{path}.{role}", span, calls))
            result = self.graph.add(op, *operands, name=path, span=span, calls=calls)[0]
        except Mismatch as mismatch:
            code = "E0202" if len(values) > 1 else "E0201"
            raise Problem(
                code,
                mismatch.message,
                span,
                f"the value here is {x}" if len(values) == 1 else "",
                trace=self.trace(values[0], span) if len(values) == 1 else (),
                help=mismatch.help,
                argument=mismatch.argument,
            ) from None
        self._record_jump(op, values, result)
        return result

    def _leaf(self, op: Op, name: str, span: Span, calls: tuple[Frame, ...]) -> Value:
        return self.graph.add(op, name=name, span=span, calls=calls)[0]

    def _record_jump(self, op: Op, values: tuple[Value, ...], result: Value) -> None:
        window: Window = op.window(values[0].type)
        jump = self.jumps[values[0].node]
        if jump is not None:
            jump = jump * window.stride[0] / window.upsampling
        self.jumps[result.node] = jump

    # After a step --------------------------------------------------------------------------------

    def finish(self, step: syntax.Layer | syntax.From, scope: Scope) -> None:
        """Bind the value's name and check its claim."""
        if step.binding is not None:
            self._bind(step.binding, scope)
        if step.claim is not None and self.current is not UNKNOWN and not self.changed:
            self._check_claim(step.claim, scope)

    def _bind(self, binding: syntax.Binding, scope: Scope) -> None:
        name = binding.name.id
        if binding.index is None:
            if name in scope.names or name in scope.indexed:
                places = scope.indexed[name].places if name in scope.indexed else {}
                first = scope.place(name) or next(iter(places.values()), None)
                raise bound_twice(name, binding.name.span, first)
            scope.bind(binding.name, self.current)
            return
        index = self.evaluator.whole(binding.index, scope)
        family = scope.indexed.setdefault(name, Family())
        if index in family:
            raise bound_twice(f"{name}[{index}]", binding.span, family.places[index])
        family.bind(index, self.current, binding.span)

    def _check_claim(self, claim: syntax.Claim, scope: Scope) -> None:
        claimed = tuple(self.evaluator.whole(extent, scope) for extent in claim.extents)
        problem = self.claims.check(claim, claimed, self.current)
        if problem is not None:
            self.report(problem)


_STEP_RULES: dict[type[syntax.Step], Any] = {
    syntax.Layer: Elaborator.layer,
    syntax.From: Elaborator.restart,
    syntax.Let: Elaborator.let,
    syntax.For: Elaborator.loop,
    syntax.If: Elaborator.choice,
}
