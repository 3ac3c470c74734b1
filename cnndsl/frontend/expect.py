"""Proves the claims of `expect` sections on a graph."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any

from cnndsl.diagnostics import Diagnostic, Label, did_you_mean
from cnndsl.frontend import syntax
from cnndsl.frontend.claims import Claims, trace_of
from cnndsl.frontend.elaborate import Network
from cnndsl.frontend.expressions import Evaluator
from cnndsl.frontend.problems import Problem
from cnndsl.frontend.scope import Scope
from cnndsl.frontend.values import is_number, show
from cnndsl.graph import analysis
from cnndsl.graph.graph import Graph, Node, Value
from cnndsl.graph.types import Size

Comparison = Callable[[Any, Any], bool]


def _shape(graph: Graph, node: Node) -> Any:
    features = graph.types(node)[0].features
    return Size(*features) if len(features) > 1 else features[0]


def _own_parameters(graph: Graph, node: Node) -> int:
    return next(row.parameters for row in analysis.summarise(graph) if row.node == node)


#: What may be claimed of the whole model.
WHOLE: dict[str, Callable[[Graph], Any]] = {
    "parameters": analysis.parameters,
    "buffers": analysis.buffers,
    "multiply_adds": lambda graph: sum(
        analysis.multiply_adds(graph, n) for n in analysis.main_path(graph)
    ),
    "flops": lambda graph: sum(analysis.flops(graph, n) for n in analysis.main_path(graph)),
    "depth": lambda graph: analysis.depth(graph)[graph.outputs["logits"].node],
    "layers": lambda graph: len(analysis.layers(graph)) - 1,
    "activation_bytes": lambda graph: sum(row.bytes for row in analysis.summarise(graph)),
    "receptive_field": lambda graph: analysis.receptive_fields(graph)[_last_map(graph)],
    "shape": lambda graph: _shape(graph, graph.outputs["logits"].node),
}
#: What may be claimed of one layer.
OF_LAYER: dict[str, Callable[[Graph, Node], Any]] = {
    "shape": _shape,
    "receptive_field": lambda graph, node: analysis.receptive_fields(graph)[node],
    "parameters": _own_parameters,
    "multiply_adds": analysis.multiply_adds,
    "flops": analysis.flops,
    "depth": lambda graph, node: analysis.depth(graph)[node],
}


#: How a quantity is called in a sentence.
_SPOKEN = {"multiply_adds": "multiply-adds", "flops": "FLOPs"}
#: The quantities that are counted.
PLURAL = ("parameters", "buffers", "multiply_adds", "flops", "layers", "activation_bytes")


def _last_map(graph: Graph) -> Node:
    """The last layer that is a map and sees a part of the image by windows alone."""
    best = graph.inputs["image"].node
    seen_all: set[Node] = set()
    for node in analysis.layers(graph):
        sources = [v for v in graph.operands(node) if v.type.batched]
        if not sources:
            continue
        window = graph.op(node).window(sources[0].type)
        if window.kernel is None or any(v.node in seen_all for v in sources):
            seen_all.add(node)
        elif node in analysis.main_path(graph):
            best = node
    return best


def check_expectations(network: Network) -> list[Diagnostic]:
    """The proofs that fail, as diagnostics; none is tried where a parameter was changed."""
    if network.changed:
        return []
    mistakes = []
    for section in network.module.expectations(network.name):
        for proof in section.proofs:
            try:
                _prove(network, proof)
            except Problem as problem:
                mistakes.append(problem.diagnostic())
    return mistakes


def _prove(network: Network, proof: syntax.Proof) -> None:
    actual = _measure(network, proof)
    scope = Scope(None, dict(network.parameters))
    evaluator = Evaluator(lambda name: None, set, 100_000)
    wanted = evaluator.evaluate(proof.value, scope)
    if proof.operator == "~":
        if not (is_number(actual) and is_number(wanted)):
            raise Problem("E0405", "`~` compares numbers", proof.value.span)
        if not isinstance(proof.value, syntax.Literal):
            raise Problem(
                "E0405",
                "`~` compares with the digits of a number, and this is computed",
                proof.value.span,
                help="write it out, such as `1.135e9`",
            )
        holds = _to_the_digits(actual, proof.value.span.text)
    elif proof.operator in ("==", "!="):
        if is_number(wanted) and isinstance(actual, Size) and len(set(actual)) == 1:
            actual = actual[0]
        holds = (actual == wanted) is (proof.operator == "==")
    elif is_number(actual) and is_number(wanted):
        holds = _ORDER[proof.operator](actual, wanted)
    else:
        raise Problem("E0405", f"`{proof.operator}` compares numbers", proof.value.span)
    if not holds:
        raise _not_so(network, proof, actual)


def _not_so(network: Network, proof: syntax.Proof, actual: Any) -> Problem:
    quantity = proof.quantity.id
    shown = f"{actual:_}" if isinstance(actual, int) else show(actual)
    of = f"`{proof.of.text}` of `{network.name}`" if proof.of else f"`{network.name}`"
    wanted = {"==": "not", "!=": "and the claim excludes", "~": "which does not round to"}.get(
        proof.operator, f"which is not {proof.operator}"
    )
    secondary: tuple[Label, ...] = ()
    trace: tuple[str, ...] = ()
    if proof.of is not None:
        value = Value(network.graph, _layers(network.graph)[proof.of.text])
        trace = trace_of(value, Claims())
        span = network.graph.span(value.node)
        secondary = (Label(span, f"`{proof.of.text}` stands here"),) if span else ()
    spoken = _SPOKEN.get(quantity, quantity.replace("_", " "))
    verb = "are" if quantity in PLURAL else "is"
    return Problem(
        "E0501",
        f"the {spoken} of {of} {verb} {shown}, {wanted} {proof.value.span.text}",
        proof.span,
        secondary=secondary,
        trace=trace,
    )


def _layers(graph: Graph) -> dict[str, Node]:
    """The layers by name."""
    return {graph.name(node): node for node in analysis.layers(graph)}


def _measure(network: Network, proof: syntax.Proof) -> Any:
    graph, quantity = network.graph, proof.quantity
    table: dict[str, Any] = WHOLE if proof.of is None else OF_LAYER
    if quantity.id not in table:
        raise Problem(
            "E0502",
            f"nothing is called `{quantity.id}`" + (" of a layer" if proof.of else ""),
            quantity.span,
            help=did_you_mean(quantity.id, table) or f"there is {', '.join(table)}",
        )
    if proof.of is None:
        return table[quantity.id](graph)
    nodes = _layers(graph)
    if proof.of.text not in nodes:
        raise Problem(
            "E0502",
            f"the model has no layer `{proof.of.text}`",
            proof.of.span,
            help=did_you_mean(proof.of.text, nodes) or "`cnndsl summary` lists the names",
        )
    return table[quantity.id](graph, nodes[proof.of.text])


def _to_the_digits(actual: int | Fraction, text: str) -> bool:
    """Whether a number rounds to the digits as they are written: 1_135_256_096 ~ 1.135e9."""
    written = Decimal(text.replace("_", ""))
    unit = Decimal(1).scaleb(int(written.as_tuple().exponent))
    return abs(Fraction(actual) - Fraction(written)) <= Fraction(unit) / 2


_ORDER: dict[str, Comparison] = {
    "<": lambda a, b: bool(a < b),
    "<=": lambda a, b: bool(a <= b),
    ">": lambda a, b: bool(a > b),
    ">=": lambda a, b: bool(a >= b),
}
