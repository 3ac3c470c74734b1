"""`cnndsl optimize`: what the rewrites do to a network, and why some do not."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from cnndsl.cli.model import Bytes, load_network, model_options
from cnndsl.diagnostics import did_you_mean

if TYPE_CHECKING:
    from cnndsl.compile import Objective
    from cnndsl.graph.graph import Graph
    from cnndsl.graph.rewrite import Event, Rewrite
    from cnndsl.runtime.kernel import Backend


@click.command(
    epilog="""\b
Examples:
  cnndsl optimize zoo/densenet.cnn:densenet121
  cnndsl optimize zoo/densenet.cnn:densenet121 --for training
  cnndsl optimize zoo/densenet.cnn:densenet121 --for training --batch 16 --memory 600MB
  cnndsl optimize zoo/resnet.cnn:resnet50 --explain
  cnndsl optimize zoo/vgg.cnn:vgg16 --passes maximum_before_activation
  cnndsl optimize model.cnn --format json
"""
)
@click.argument("model")
@click.option("--for", "use", type=click.Choice(["inference", "training"]), default="inference")
@click.option("--passes", metavar="A,B", help="Only these rewrites.")
@click.option("--no-pass", "without", multiple=True, metavar="A", help="Not this one.")
@click.option("--explain", is_flag=True, help="Every place, not the first three of each.")
@click.option("--batch", type=click.IntRange(1), default=1, help="Images, for bytes and the peak.")
@click.option("--memory", type=Bytes(), metavar="SIZE", help="Of a training step: recompute.")
@click.option("--backend", metavar="NAME", help="The engine; the best one by default.")
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text")
@model_options
def command(
    model: str,
    use: str,
    passes: str | None,
    without: tuple[str, ...],
    explain: bool,
    batch: int,
    memory: int | None,
    backend: str | None,
    form: str,
    **options: Any,
) -> None:
    """Show which rewrites fire on a network, where, and what it costs before and after.

    Multiply-adds are those of an image. Bytes are those that kernels read and write for a batch,
    weights included; the peak is that of the planned arena. Training is a whole step by
    the model's recipe: the loss, gradients and updates. With --memory its peak is brought down by
    recomputation.
    """
    if memory is not None and use == "inference":
        raise click.UsageError("--memory goes with --for training")

    from cnndsl.backends import get_backend
    from cnndsl.passes import IN_SLICES
    from cnndsl.training.recipe import recipe_of

    engine = get_backend(backend)
    network = load_network(model, **options)
    rewrites, fusions = _chosen(use, passes, without, engine)
    objective = recipe_of(network).objective if use == "training" else None
    before = costs(whole(network.graph, use, (), (), objective=objective), engine, batch)
    events: list[Event] = []
    graph = whole(network.graph, use, rewrites, fusions, events, objective)
    after = costs(graph, engine, batch, memory)
    if form == "json":
        facts = {"before": before, "after": after, "rewrites": [_as_json(e) for e in events]}
        click.echo(json.dumps(facts, indent=2))
        return
    click.echo(f"{network.name}, for {use}")
    for line in _report(events, explain):
        click.echo(line)
    if passes is None and not engine.strides:
        for rewrite in IN_SLICES:
            click.echo(f"  {rewrite.name} not run: the {engine.name} engine copies slices")
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
    objective: Objective | None = None,
) -> Graph:
    """What runs: a forward pass, or a step of training as the objective says."""
    from cnndsl.compile import Objective, inference_graph, training_graph

    if use == "inference":
        return inference_graph(graph, rewrites, fusions, events)
    return training_graph(graph, objective or Objective(), rewrites, fusions, events)


def _chosen(
    use: str, passes: str | None, without: tuple[str, ...], engine: Backend
) -> tuple[list[Rewrite], list[Rewrite]]:
    """The rewrites that the options name, by default the engine's, and its own among them."""
    from cnndsl.compile import rewrites_for
    from cnndsl.passes import FOR_INFERENCE, FOR_TRAINING

    lists = (FOR_INFERENCE if use == "inference" else FOR_TRAINING, engine.fusions)
    known = [rewrite.name for rewrites in lists for rewrite in rewrites]
    default = [rewrite.name for rewrites in lists for rewrite in rewrites_for(engine, rewrites)]
    wanted = [p.strip() for p in passes.split(",")] if passes is not None else default
    for name in (*wanted, *without):
        if name not in known:
            hint = did_you_mean(name, known) or f"there is {', '.join(known)}"
            raise click.UsageError(f"no rewrite for {use} is called '{name}'; {hint}")
    chosen = [[r for r in rs if r.name in wanted and r.name not in without] for rs in lists]
    return chosen[0], chosen[1]


def costs(
    graph: Graph, backend: Backend, batch: int = 1, memory: int | None = None
) -> dict[str, int]:
    """Kernels a run, multiply-adds an image, bytes moved, the arena's bytes, parameters."""
    from cnndsl.compile import program_of
    from cnndsl.graph import analysis
    from cnndsl.runtime.schedule import constant_nodes

    constant = constant_nodes(graph)
    running = [node for node in graph.nodes() if node not in constant]
    program = program_of(graph.copy(), backend, batch, memory)
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
    """What fired and what was declined, each with its places: all of them, or the first three."""
    groups: dict[tuple[str, str | None], list[Event]] = {}
    for event in events:
        groups.setdefault((event.rewrite, event.declined), []).append(event)
    lines = [] if any(event.declined is None for event in events) else ["  nothing fired"]
    for (name, why), found in sorted(groups.items(), key=lambda group: group[0][1] is not None):
        what = "fired" if why is None else "declined"
        lines.append(f"  {name} {what} {len(found)}×" + (f": {why}" if why else ""))
        layers: dict[str, list[str]] = {}
        for event in found:
            layers.setdefault(str(event.span or ""), []).append(event.layer)
        shown = len(layers) if explain else 3
        lines += [f"      {span}  {_some(names)}" for span, names in [*layers.items()][:shown]]
        if len(layers) > shown:
            lines.append(f"      and at {len(layers) - shown} more places")
    return lines


def _some(names: list[str]) -> str:
    """The first name, and how many more there are."""
    return names[0] + (f" and {len(names) - 1} more" if len(names) > 1 else "")
