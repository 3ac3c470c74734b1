"""What the word of a step means: a layer, a block, a join or `input`."""

from __future__ import annotations

from difflib import SequenceMatcher

from cnndsl.diagnostics import suggest
from cnndsl.frontend import syntax
from cnndsl.frontend.library import JOINS, Module
from cnndsl.frontend.origins import defined_here, unused_blocks, unused_names
from cnndsl.frontend.problems import Poisoned, Problem
from cnndsl.frontend.scope import Scope
from cnndsl.frontend.values import UNKNOWN, BlockKind, LayerKind, Word, describe
from cnndsl.graph.graph import Value
from cnndsl.graph.op import OPS


def kind_of(
    step: syntax.Layer,
    scope: Scope,
    module: Module,
    definition: syntax.Block | syntax.Model,
) -> LayerKind | BlockKind | str | None:
    """A layer, a block, a join (its name), or `input` (None).

    Raises:
        Problem: the word means nothing, or something that is no step.
    """
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
    block = module.blocks.get(name)
    if block is not None:
        return BlockKind(*block)
    if isinstance(bound, Word) and bound.text in OPS:
        return LayerKind(bound.text, OPS[bound.text])
    if bound is not None:
        raise Problem(
            "E0305",
            f"`{name}` is no layer: it is {describe(bound)}",
            step.name.span,
            secondary=scope.pointer(name) if isinstance(bound, Value) else (),
            help=f"`from {name}` starts again from it" if isinstance(bound, Value) else None,
        )
    if name in module.models:
        raise Problem(
            "E0305", f"`{name}` is a model; only layers and blocks are steps", step.name.span
        )
    raise _unknown(step.name, scope, module, definition)


def _unknown(
    name: syntax.Name,
    scope: Scope,
    module: Module,
    definition: syntax.Block | syntax.Model,
) -> Problem:
    known = {*OPS, *JOINS, "input", *module.blocks}
    known |= {n for n in scope.visible() if isinstance(scope.find(n), LayerKind | BlockKind)}
    foreign = FOREIGN.get(name.id.lower().replace("_", ""))
    close = suggest(name.id, known) or suggest(name.id.lower(), known)
    secondary = scope.pointer(close)
    if close in module.blocks and not foreign:
        secondary = (defined_here(module.blocks[close][0].name),)
    if not foreign and not secondary:
        secondary = unused_names(definition, module.file)
    if not foreign and (close is None or not _alike(name.id, close)):
        secondary += unused_blocks(module.file, definition)
    return Problem(
        "E0301",
        f"there is no layer or block `{name.id}`",
        name.span,
        secondary=secondary,
        help=foreign or (f"did you mean `{close}`?" if close else None),
    )


def _alike(word: str, other: str) -> bool:
    """Whether one is surely the other misspelt."""
    return SequenceMatcher(None, word, other).ratio() > 0.7


#: What other frameworks call our layers; case and underscores do not count.
FOREIGN = {
    "conv2d": "it is called `conv` here",
    "convolution": "it is called `conv` here",
    "convolutional": "it is called `conv` here",
    "depthwiseconv2d": "it is called `dwconv` here",
    "linear": "it is called `fc` here",
    "innerproduct": "it is called `fc` here",
    "fullyconnected": "it is called `fc` here",
    "batchnorm": "it is called `bn` here",
    "batchnorm2d": "it is called `bn` here",
    "batchnormalization": "it is called `bn` here",
    "maxpool2d": "it is called `maxpool` here",
    "avgpool2d": "it is called `avgpool` here",
    "gap": "it is `avgpool global` here",
    "globalavgpool": "it is `avgpool global` here",
    "adaptiveavgpool2d": "it is `avgpool global` here",
    "swish": "it is called `silu` here",
    "cat": "it is called `concat` here",
    "concatenate": "it is called `concat` here",
    "route": "it is called `concat` here",
    "shortcut": "it is called `residual` here",
}
