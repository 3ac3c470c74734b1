"""`cnndsl optimize`: what the rewrites do to a network, and why some do not."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from cnndsl.cli.model import load_network, model_options
from cnndsl.diagnostics import did_you_mean

if TYPE_CHECKING:
    from cnndsl.graph.graph import Graph
    from cnndsl.graph.rewrite import Event, Rewrite


@click.command(
    epilog="""\b
Examples:
  cnndsl optimize zoo/densenet.cnn:densenet121
  cnndsl optimize zoo/densenet.cnn:densenet121 --for training
  cnndsl optimize zoo/resnet.cnn:resnet50 --explain
  cnndsl optimize zoo/vgg.cnn:vgg16 --passes maximum_before_activation
  cnndsl optimize model.cnn --format json
"""
)
@click.argument("model")
@click.option("--for", "use", type=click.Choice(["inference", "training"]), default="inference")
@click.option("--passes", metavar="A,B", help="Only these rewrites.")
@click.option("--no-pass", "without", multiple=True, metavar="A", help="Not this one.")
@click.option("--explain", is_flag=True, help="Every place, and why a rewrite declined.")
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text")
@model_options
def command(
    model: str,
    use: str,
    passes: str | None,
    without: tuple[str, ...],
    explain: bool,
    form: str,
    **options: Any,
) -> None:
    """Show which rewrites fire on a network, where, and what it costs before and after.

    Bytes are those that kernels read and write for one image, weights included; the peak is that of
    the planned arena.
    """

    network = load_network(model, **options)
    rewrites, fusions = _chosen(use, passes, without)
    before = costs(whole(network.graph, use, (), ()))
    events: list[Event] = []
    after = costs(whole(network.graph, use, rewrites, fusions, events))
    if form == "json":
        facts = {"before": before, "after": after, "rewrites": [_as_json(e) for e in events]}
        click.echo(json.dumps(facts, indent=2))
        return
    click.echo(f"{network.name}, for {use}")
    for line in _report(events, explain):
        click.echo(line)
    click.echo(f"\n{'':16} {'before':>16} {'after':>16}   after ÷ before")
    for name in before:
        ratio = after[name] / before[name] if before[name] else 1.0
        label = name.replace("_", " ")
        click.echo(f"{label:16} {before[name]:>16,} {after[name]:>16,}   {ratio:.3f}")


def whole(
    graph: Graph,
    use: str,
    rewrites: Sequence[Rewrite],
    fusions: Sequence[Rewrite],
    events: list[Event] | None = None,
) -> Graph:
    """What runs: a forward pass, or a step of training by gradient descent with momentum."""
    from cnndsl.compile import Objective, inference_graph, training_graph

    if use == "inference":
        return inference_graph(graph, rewrites, fusions, events)
    return training_graph(graph, Objective(), rewrites, fusions, events)


def _chosen(
    use: str, passes: str | None, without: tuple[str, ...]
) -> tuple[list[Rewrite], list[Rewrite]]:
    """The rewrites that the options name, and those among the engine's own."""
    from cnndsl.backends import get_backend
    from cnndsl.passes import FOR_INFERENCE, FOR_TRAINING

    lists = (FOR_INFERENCE if use == "inference" else FOR_TRAINING, get_backend().fusions)
    known = [rewrite.name for rewrites in lists for rewrite in rewrites]
    wanted = [p.strip() for p in passes.split(",")] if passes is not None else known
    for name in (*wanted, *without):
        if name not in known:
            hint = did_you_mean(name, known) or f"there is {', '.join(known)}"
            raise click.UsageError(f"no rewrite for {use} is called '{name}'; {hint}")
    chosen = [[r for r in rs if r.name in wanted and r.name not in without] for rs in lists]
    return chosen[0], chosen[1]


def costs(graph: Graph) -> dict[str, int]:
    """Kernels a run, multiply-adds and bytes an image, the arena of one image, parameters."""
    from cnndsl.backends import get_backend
    from cnndsl.graph import analysis
    from cnndsl.runtime.lower import constant_nodes, lower

    constant = constant_nodes(graph)
    running = [node for node in graph.nodes() if node not in constant]
    program = lower(graph, get_backend("numpy"), 1)
    return {
        "kernels": len(program.steps),
        "multiply_adds": sum(analysis.multiply_adds(graph, node) for node in running),
        "bytes": sum(step.moved for step in program.steps),
        "peak_bytes": program.arena_bytes,
        "parameters": analysis.parameters(graph),
    }


def _as_json(event: Event) -> dict[str, Any]:
    return {
        "rewrite": event.rewrite,
        "layer": event.layer,
        "at": str(event.span) if event.span else None,
        "fired": event.declined is None,
        "declined": event.declined,
    }


def _report(events: list[Event], explain: bool) -> list[str]:
    fired = Counter(e.rewrite for e in events if e.declined is None)
    lines = [f"  {name} fired {count}×" for name, count in fired.items()] or ["  nothing fired"]
    declined = Counter((e.rewrite, e.declined) for e in events if e.declined is not None)
    lines += [f"  {name} declined {count}×: {why}" for (name, why), count in declined.items()]
    if explain:
        lines.append("")
        for event in events:
            what = "fired" if event.declined is None else f"declined: {event.declined}"
            lines.append(f"  {event.span}  {event.layer}: {event.rewrite} {what}")
    return lines
