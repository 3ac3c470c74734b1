"""`cnndsl summary`: what each layer leaves and costs."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from cnndsl.cli.model import load_network, model_options, precision_option

if TYPE_CHECKING:
    from cnndsl.frontend.elaborate import Network


@click.command(
    epilog="""\b
Examples:
  cnndsl summary zoo/alexnet.cnn
  cnndsl summary zoo/resnet.cnn:resnet50 --input 160x160x3
  cnndsl summary zoo/densenet.cnn:densenet121 --batch 16
  cnndsl summary zoo/densenet.cnn:densenet121 --batch 16 --precision bf16
  cnndsl summary model.cnn --format json
"""
)
@click.argument("model")
@click.option("--batch", type=click.IntRange(1), help="Tell the memory that so many images take.")
@click.option("--backend", metavar="NAME", help="The engine; the best one by default.")
@precision_option
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text")
@model_options
def command(
    model: str,
    batch: int | None,
    backend: str | None,
    precision: str,
    form: str,
    settings: tuple[str, ...],
    input_size: str | None,
    max_nodes: int | None,
    max_steps: int | None,
) -> None:
    """Print name, layer, output, parameters, multiply-adds, activation bytes and receptive field.

    Multiply-adds count convolutions and fully connected layers alone, and the side heads apart.
    Bytes are of one image in float32. With --batch, also the memory that programs of the engine
    will take: values, scratch and weights, and in training gradients and moments, by the recipe.
    """
    for option, given in (("backend", backend is not None), ("precision", precision != "f32")):
        if given and batch is None:
            raise click.UsageError(f"--{option} goes with --batch")
    network = load_network(model, settings, input_size, max_nodes, max_steps)
    facts = summary_of(network)
    if batch is not None:
        facts["memory"] = _memory(network, batch, backend, precision)
    if form == "json":
        click.echo(json.dumps(facts, indent=2))
        return
    for line in _table(facts):
        click.echo(line)


def summary_of(network: Network) -> dict[str, Any]:
    """The stable machine-readable summary."""
    from cnndsl.frontend.unparse import written
    from cnndsl.graph import analysis

    graph = network.graph
    rows = analysis.summarise(graph)
    main = analysis.main_path(graph)
    return {
        "model": network.name,
        "input": str(graph.inputs["image"].type),
        "parameters": analysis.parameters(graph),
        "buffers": analysis.buffers(graph),
        "multiply_adds": sum(row.multiply_adds for row in rows if row.node in main),
        "flops": sum(analysis.flops(graph, row.node) for row in rows if row.node in main),
        "activation_bytes": sum(row.bytes for row in rows if row.node in main),
        "depth": analysis.depth(graph)[graph.outputs["logits"].node],
        "side_heads": {
            "parameters": sum(row.parameters for row in rows if row.node not in main),
            "multiply_adds": sum(row.multiply_adds for row in rows if row.node not in main),
        },
        "layers": [
            {
                "name": row.name,
                "layer": written(graph, row.node),
                "output": str(row.output),
                "parameters": row.parameters,
                "multiply_adds": row.multiply_adds,
                "activation_bytes": row.bytes,
                "receptive_field": str(row.receptive_field),
            }
            for row in rows
        ],
    }


def _memory(network: Network, batch: int, backend: str | None, precision: str) -> dict[str, Any]:
    """The planned bytes of inference and of a training step."""
    from cnndsl.backends import get_backend
    from cnndsl.compile import planned_memory
    from cnndsl.passes.precision import element_type
    from cnndsl.training.recipe import recipe_of

    engine = get_backend(backend, precision=precision)
    recipe = replace(recipe_of(network), precision=element_type(precision))
    planned = planned_memory(network.graph, recipe.objective, engine, batch)
    return {"engine": engine.name, "batch": batch, **planned}


def _table(facts: dict[str, Any]) -> list[str]:
    head = ("name", "layer", "output", "parameters", "multiply-adds", "bytes", "receptive field")
    rows = [
        (
            layer["name"],
            layer["layer"],
            layer["output"],
            f"{layer['parameters']:,}" if layer["parameters"] else "",
            f"{layer['multiply_adds']:,}" if layer["multiply_adds"] else "",
            f"{layer['activation_bytes']:,}",
            layer["receptive_field"],
        )
        for layer in facts["layers"]
    ]
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]

    def line(row: tuple[str, ...]) -> str:
        cells = [
            cell.ljust(width) if i < 3 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        return "  ".join(cells).rstrip()

    rule = "─" * len(line(head))
    flops = facts["flops"]
    lines = [f"{facts['model']}, input {facts['input']}", rule, line(head), rule]
    lines += [line(row) for row in rows]
    lines += [
        rule,
        f"parameters       {facts['parameters']:,}"
        + (f"  (and {facts['buffers']:,} of statistics)" if facts["buffers"] else ""),
        f"multiply-adds    {facts['multiply_adds']:,} an image  ({flops:,} FLOPs with all else)",
        f"activations      {facts['activation_bytes']:,} bytes an image",
        f"depth            {facts['depth']} layers with weights",
    ]
    if facts["side_heads"]["parameters"]:
        side = facts["side_heads"]
        lines.append(
            f"side heads       {side['parameters']:,} of the parameters, "
            f"{side['multiply_adds']:,} more multiply-adds in training"
        )
    if "memory" in facts:
        memory = facts["memory"]
        lines.append(
            f"memory           {memory['inference'] / 1e6:,.1f} MB in inference, "
            f"{memory['training'] / 1e6:,.1f} MB in training, "
            f"batch {memory['batch']} on {memory['engine']}"
        )
    return lines
