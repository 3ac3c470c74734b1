"""What is allowed and probably not meant: rows left unread, centres that disagree, dead taps."""

from __future__ import annotations

from cnndsl.diagnostics import Diagnostic, Label, register
from cnndsl.frontend.claims import spell
from cnndsl.frontend.elaborate import Network
from cnndsl.graph import analysis
from cnndsl.graph.graph import Graph, Node, Value
from cnndsl.graph.leaves import Input
from cnndsl.graph.op import OPS
from cnndsl.ops.activation import Activation
from cnndsl.ops.conv import Conv
from cnndsl.ops.geometry import dilated
from cnndsl.ops.merge import Add
from cnndsl.ops.pool import GLOBAL, Pool

register(
    {
        "W0101": "rows or columns that no window reads",
        "W0102": "branches whose centres look at different places",
        "W0103": "a value that nothing reads",
        "W0104": "an activation directly before a shortcut's sum",
        "W0105": "elements of a kernel that see nothing but padding",
    }
)


def lint(network: Network) -> list[Diagnostic]:
    """Warnings, a place at most once each."""
    graph = network.graph
    found: dict[tuple[str, int], Diagnostic] = {}
    for node in analysis.layers(graph):
        for code, message, help in _remarks(graph, node):
            span = graph.span(node)
            if span is None:
                continue
            calls = tuple(map(str, graph.attributes(node)["calls"]))
            found.setdefault(
                (code, span.start),
                Diagnostic(code, message, Label(span), calls=calls, help=help, severity="warning"),
            )
    for node in analysis.centres_disagree(graph):
        span = graph.span(node)
        if span is not None:
            message = "the centres of the branches look at different places of the input"
            help = "an even window, or one that pads one side more, moves the centre by half a step"
            calls = tuple(map(str, graph.attributes(node)["calls"]))
            found.setdefault(
                ("W0102", span.start),
                Diagnostic(
                    "W0102", message, Label(span), calls=calls, help=help, severity="warning"
                ),
            )
    return list(found.values())


def _remarks(graph: Graph, node: Node) -> list[tuple[str, str, str | None]]:
    op = graph.op(node)
    operands = graph.operands(node)
    remarks: list[tuple[str, str, str | None]] = []
    is_root = any(v.node == node for v in graph.roots())
    if not is_root and not graph.net.out_degree(node) and not isinstance(op, Input):
        help = "delete it, or go on from it: `as name` here, `from name` there"
        remarks.append(("W0103", f"nothing reads what `{op.name}` leaves", help))
    if isinstance(op, Add) and len(operands) == 2:
        remarks += _activation_before_sum(graph, operands)
    if isinstance(op, Conv | Pool):
        remarks += _window_remarks(graph, node, op, operands[0])
    return remarks


def _activation_before_sum(
    graph: Graph, operands: tuple[Value, ...]
) -> list[tuple[str, str, str | None]]:
    body = operands[0].op
    if isinstance(body, Activation) and body.name in OPS and "relu" in body.name:
        return [
            (
                "W0104",
                f"`{body.name}` directly before the sum: the residual can only grow",
                "move the activation behind the `residual`",
            )
        ]
    return []


def _window_remarks(
    graph: Graph, node: Node, op: Conv | Pool, x: Value
) -> list[tuple[str, str, str | None]]:
    if isinstance(op, Pool) and op.kernel == GLOBAL:
        return []
    kernel = dilated(op.kernel, op.dilation) if isinstance(op, Conv) else op.size(x.type)
    stride = op.stride or 1
    pads = op.pads(x.type)
    out = graph.types(node)[0].extent
    remarks: list[tuple[str, str, str | None]] = []
    unread = [
        n + sum(pad) - ((o - 1) * stride + k)
        for n, pad, o, k in zip(x.type.extent, pads, out, kernel, strict=True)
    ]
    # What stays unread is harmless while it is padding.
    lost = [max(0, u - pad[1]) for u, pad in zip(unread, pads, strict=True)]
    if any(lost):
        what = " and ".join(
            f"{count} {word}{'s' * (count != 1)}"
            for count, word in zip(lost, ("row", "column"), strict=True)
            if count
        )
        stay = "stays" if sum(lost) == 1 else "stay"
        help = "`ceil=true` reads on" if isinstance(op, Pool) else "`pad=same` reads them"
        message = f"{what} of {x.type} {stay} unread by `{spell(op, x.type)}`"
        remarks.append(("W0101", message, help))
    if all(k > n for k, n in zip(kernel, x.type.extent, strict=True)) and max(kernel) > 1:
        help = "its outer elements see nothing but padding: a smaller window does the same"
        message = f"the window {kernel} is larger than the map {x.type.extent}"
        remarks.append(("W0105", message, help))
    return remarks
