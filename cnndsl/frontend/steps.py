"""The steps of a body: each takes the current value and leaves the next, in a graph that grows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from cnndsl.diagnostics import CnndslError, Diagnostic, Span, did_you_mean
from cnndsl.frontend import syntax
from cnndsl.frontend.arguments import (
    Given,
    bind_parameters,
    block_signature,
    build_op,
    evaluate_arguments,
)
from cnndsl.frontend.expressions import Evaluator, Scope, element
from cnndsl.frontend.joins import JOIN_RULES
from cnndsl.frontend.library import JOINS, Module
from cnndsl.frontend.naming import Numbered, loop_segment, number_steps, segment
from cnndsl.frontend.problems import Poisoned, Problem, TooMuch
from cnndsl.frontend.values import (
    UNKNOWN,
    BlockKind,
    LayerKind,
    Unfit,
    Word,
    describe,
    show,
    whole,
)
from cnndsl.graph.graph import Frame, Graph, Node, Value
from cnndsl.graph.leaves import Buffer, Input, Parameter
from cnndsl.graph.op import OPS, Mismatch, Op, Window
from cnndsl.graph.types import BATCH, Size, Type

#: The deepest nesting of blocks and braces.
MAX_DEPTH = 200
MAX_EXTENT = 1 << 20


@dataclass(frozen=True, slots=True)
class Limits:
    """What a program may cost, so that a stranger's file cannot hang the tool."""

    nodes: int = 200_000
    steps: int = 5_000_000


@dataclass
class Calling:
    """A block or model being elaborated: its numbering, its file, and its globals."""

    numbers: dict[int, Numbered]
    module: Module
    globals: Scope
    blocks: tuple[syntax.Block, ...] = ()
    frames: tuple[Frame, ...] = ()
    loops: list[str] = field(default_factory=list)


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
        self.jumps: dict[Node, Fraction] = {}
        self.path: list[str] = []
        self.depth = 0
        self.changed = input_size is not None
        self.mistakes: dict[tuple[str, int, int], Diagnostic] = {}
        self.evaluator = Evaluator(self._resolve, self._known_names, limits.steps)
        self.numberings: dict[int, dict[int, Numbered]] = {}
        self.global_scopes: dict[int, Scope] = {}
        self.call: Calling

    # Files and names -----------------------------------------------------------------------------

    def globals(self, module: Module) -> Scope:
        """The scope of a file's `let`s."""
        if id(module) not in self.global_scopes:
            scope = self.global_scopes[id(module)] = Scope()
            for let in module.lets:
                if let.name.id in scope.names:
                    raise Problem("E0304", f"`{let.name.id}` is bound twice", let.name.span)
                scope.names[let.name.id] = self.evaluator.evaluate(let.value, scope)
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

    def _known_names(self) -> set[str]:
        return {"channels", "extent", *OPS, *self.call.module.blocks}

    # Mistakes ------------------------------------------------------------------------------------

    def report(self, problem: Problem) -> None:
        """Keep a mistake; the same one at the same place is kept once."""
        span = problem.label.span
        key = (problem.code, id(span.source), span.start)
        calls = tuple(map(str, self.call.frames))
        self.mistakes.setdefault(key, problem.diagnostic(calls))
        if isinstance(problem, TooMuch):
            raise CnndslError(*self.mistakes.values())

    def trace(self, value: Value) -> tuple[str, ...]:
        """How a value came to be, a line a layer, the last four."""
        lines: list[str] = []
        while len(lines) < 4:
            op, inputs = value.op, self.graph.operands(value.node)
            span = self.graph.span(value.node)
            spelled = op.spell(*(v.type for v in inputs))
            where = f"{span.source.name}:{span.line}" if span is not None else ""
            lines.append(f"{spelled}  : {value.type}".ljust(44) + where)
            if not inputs:
                break
            value = inputs[0]
        return tuple(line.rstrip() for line in reversed(lines))

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
        except TooMuch:
            raise
        except Problem as problem:
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
        binding = getattr(step, "binding", None)
        if binding is not None:
            if binding.index is None:
                scope.names.setdefault(binding.name.id, UNKNOWN)
            else:
                try:
                    index = self.evaluator.whole(binding.index, scope)
                except (Problem, Poisoned):
                    return
                scope.indexed.setdefault(binding.name.id, {}).setdefault(index, UNKNOWN)

    def let(self, step: syntax.Let, scope: Scope) -> None:
        if step.name.id in scope.names:
            raise Problem("E0304", f"`{step.name.id}` is bound twice", step.name.span)
        scope.names[step.name.id] = self.evaluator.evaluate(step.value, scope)

    def loop(self, step: syntax.For, scope: Scope) -> None:
        for names in self.iterations(step, scope):
            inner = scope.inner()
            inner.names.update(names)
            self.body(step.body, inner)

    def iterations(self, step: syntax.For, scope: Scope) -> Iterator[dict[str, Any]]:
        """What a loop's names mean, element by element; the loop is in paths and messages."""
        first = step.names[0].id
        for row, names in self.evaluator.rows(step.names, step.iterable, scope):
            is_index = isinstance(step.iterable, syntax.Range) or (
                len(names) > 1 and names[first] is row
            )
            self.path.append(loop_segment(step.names, row, names[first], is_index))
            shown = [f"{name} = {show(value)}" for name, value in names.items()][:3]
            self.call.loops.append(", ".join(shown))
            try:
                yield names
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
                help=did_you_mean(step.name.id, flowing)
                or f"name a value with `as {step.name.id}` first",
            )
        if isinstance(found, dict) and step.index is not None:
            index = self.evaluator.whole(step.index, scope)
            value: Value = element(found, index, step.name.id, step)
            return value
        if not isinstance(found, Value) or step.index is not None:
            what = describe(found)
            raise Problem(
                "E0303",
                f"`{step.name.id}` is no value that flows: it is {what}",
                step.name.span,
                help=f"say which: `from {step.name.id}[0]`" if isinstance(found, dict) else None,
            )
        return found

    def layer(self, step: syntax.Layer, scope: Scope) -> None:
        kind = self._kind(step, scope)
        if isinstance(kind, str):
            self._require_value(step)
            JOIN_RULES[kind](self, step, scope)
        elif step.body is not None:
            raise Problem("E0411", f"`{step.name.id}` takes no body in braces", step.name.span)
        elif isinstance(kind, BlockKind):
            self.call_block(step, kind, scope)
        elif kind is None:
            self.input(step, scope)
        else:
            given = evaluate_arguments(step.arguments, self.evaluator, scope)
            op = build_op(kind.kind, given, step.name)
            self._require_value(step)
            self.current = self.apply(op, (self.current,), step.span, self.segment(step, op.name))
        self.finish(step, scope)

    def segment(self, step: syntax.Layer, kind: str) -> str:
        """What a step adds to the path of names."""
        return segment(step, kind, self.call.numbers[id(step)])

    def _kind(self, step: syntax.Layer, scope: Scope) -> LayerKind | BlockKind | str | None:
        """What a step's word means: a layer, a block, a join (its name) or `input` (None)."""
        name = step.name.id
        bound = scope.find(name)
        if isinstance(bound, LayerKind | BlockKind):
            return bound
        if bound is UNKNOWN:
            raise Poisoned
        if name == "input":
            return None
        if name in JOINS:
            return name
        if name in OPS:
            return LayerKind(name, OPS[name])
        block = self.call.module.blocks.get(name)
        if block is not None:
            return BlockKind(*block)
        if isinstance(bound, Word) and bound.text in OPS:
            return LayerKind(bound.text, OPS[bound.text])
        if bound is not None:
            raise Problem(
                "E0305",
                f"`{name}` is no layer: it is {describe(bound)}",
                step.name.span,
                help=f"`from {name}` starts again from it" if isinstance(bound, Value) else None,
            )
        if name in self.call.module.models:
            raise Problem(
                "E0305", f"`{name}` is a model; only layers and blocks are steps", step.name.span
            )
        known = {*OPS, *JOINS, "input", *self.call.module.blocks}
        known |= {n for n in scope.visible() if isinstance(scope.find(n), LayerKind | BlockKind)}
        raise Problem(
            "E0301",
            f"there is no layer or block `{name}`",
            step.name.span,
            help=did_you_mean(name, known) or _FOREIGN.get(name.lower()),
        )

    def _require_value(self, step: syntax.Layer) -> None:
        if self.current is UNKNOWN:
            raise Poisoned
        if self.current is None:
            self.missing_input(step.name.span)

    def missing_input(self, span: Span) -> None:
        raise Problem(
            "E0207",
            "the model does not say its input",
            span,
            help="begin with `input HxWxC`, such as `input 224x224x3`",
        )

    def input(self, step: syntax.Layer, scope: Scope) -> None:
        """`input 227x227x3`, `input 32, 3` or, for a vector, `input 784`."""
        if self.graph.inputs:
            raise Problem("E0208", "the model has an input already", step.name.span)
        given = evaluate_arguments(step.arguments, self.evaluator, scope)
        values = [g.value for g in given if g.name is None]
        wrong = Problem(
            "E0405",
            "an input is `HxWxC`, `extent, channels` or one number for a vector",
            step.span,
            help="write `input 224x224x3`",
        )
        if len(values) != len(given) or not 1 <= len(values) <= 2:
            raise wrong
        try:
            if isinstance(values[0], Size) and len(values[0]) + len(values) == 4:
                extents = [*values[0], *map(whole, values[1:])]
            elif len(values) == 2 and not isinstance(values[0], Size):
                extents = [whole(values[0]), whole(values[0]), whole(values[1])]
            elif not isinstance(values[0], Size):
                extents = [whole(values[0])]
            else:
                raise wrong
        except Unfit:
            raise wrong from None
        if self.input_size is not None:
            extents = list(self.input_size)
        if not all(1 <= n <= MAX_EXTENT for n in extents):
            raise Problem("E0405", "an extent is at least 1 and at most 1048576", step.span)
        type = Type((BATCH, *extents), self.dtype)
        self.current = self.graph.add(Input(type), name="input", span=step.span)[0]
        self.graph.inputs["image"] = self.current
        self.jumps[self.current.node] = Fraction(1)

    # Blocks --------------------------------------------------------------------------------------

    def call_block(self, step: syntax.Layer, kind: BlockKind, scope: Scope) -> None:
        """Elaborate a block's body, with its parameters alone in scope."""
        given = evaluate_arguments(step.arguments, self.evaluator, scope)
        bound = bind_parameters(kind.block, given)
        if any(kind.block is running for running in self.call.blocks):
            raise Problem("E0310", f"the block `{kind.name}` calls itself", step.name.span)
        outer = self.call
        text = " ".join(
            Span(step.span.source, step.name.span.start, self._end_of_call(step)).text.split()
        )
        frame = Frame(text, step.name.span, ", ".join(outer.loops))
        called = Calling(
            self.numbers(kind.block.body),
            kind.module,
            self.globals(kind.module),
            (*outer.blocks, kind.block),
            (frame, *outer.frames),
        )
        name = self.segment(step, kind.name)
        values = self.parameter_scope(kind.block, bound, called.globals, step.name)
        self.call = called
        self.path.append(name)
        try:
            self.body(kind.block.body, values)
        finally:
            self.path.pop()
            self.call = outer

    def _end_of_call(self, step: syntax.Layer) -> int:
        return step.arguments[-1].span.end if step.arguments else step.name.span.end

    def parameter_scope(
        self, block: syntax.Block, bound: dict[str, Given], outside: Scope, at: syntax.Name
    ) -> Scope:
        scope = Scope(outside)
        for parameter in block.parameters:
            name = parameter.name
            if name.id in scope.names:
                raise Problem("E0304", f"`{name.id}` is a parameter twice", name.span)
            if name.id in bound:
                scope.names[name.id] = bound[name.id].value
            elif parameter.default is not None:
                scope.names[name.id] = self.evaluator.evaluate(parameter.default, scope)
            else:
                raise Problem(
                    "E0402",
                    f"`{block.name.id}` wants its `{name.id}`",
                    at.span,
                    help=f"it is defined as `{block_signature(block)}`",
                )
        return scope

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
                trace=self.trace(values[0]) if len(values) == 1 else (),
                help=mismatch.help,
            ) from None
        self._record_jump(op, values, result)
        return result

    def _leaf(self, op: Op, name: str, span: Span, calls: tuple[Frame, ...]) -> Value:
        return self.graph.add(op, name=name, span=span, calls=calls)[0]

    def _record_jump(self, op: Op, values: tuple[Value, ...], result: Value) -> None:
        window: Window = op.window(values[0].type)
        jump = self.jumps[values[0].node]
        self.jumps[result.node] = jump * window.stride[0] / window.upsampling

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
                raise Problem("E0304", f"`{name}` is bound twice", binding.name.span)
            scope.names[name] = self.current
            return
        index = self.evaluator.whole(binding.index, scope)
        family = scope.indexed.setdefault(name, {})
        if index in family:
            raise Problem("E0304", f"`{name}[{index}]` is bound twice", binding.span)
        family[index] = self.current

    def _check_claim(self, claim: syntax.Claim, scope: Scope) -> None:
        claimed = tuple(self.evaluator.whole(extent, scope) for extent in claim.extents)
        actual = self.current.type.features
        if claimed != actual:
            self.report(
                Problem(
                    "E0210",
                    f"the value is {self.current.type}, not {'x'.join(map(str, claimed))}",
                    claim.span,
                    f"it is {self.current.type}",
                    trace=self.trace(self.current),
                )
            )


#: What other frameworks call our layers.
_FOREIGN = {
    "conv2d": "it is called `conv` here",
    "convolution": "it is called `conv` here",
    "linear": "it is called `fc` here",
    "dense": "it is called `fc` here",
    "batchnorm": "it is called `bn` here",
    "batch_norm": "it is called `bn` here",
    "batchnorm2d": "it is called `bn` here",
    "gap": "it is `avgpool global` here",
    "swish": "it is called `silu` here",
    "cat": "it is called `concat` here",
    "shortcut": "it is called `residual` here",
}
_STEP_RULES: dict[type[syntax.Step], Any] = {
    syntax.Layer: Elaborator.layer,
    syntax.From: Elaborator.restart,
    syntax.Let: Elaborator.let,
    syntax.For: Elaborator.loop,
    syntax.If: Elaborator.choice,
}
