"""`cnndsl graph`: a picture of a network, or the network as one flat model."""

from __future__ import annotations

from pathlib import Path

import click

from cnndsl.cli.model import load_network, model_options
from cnndsl.files import write_whole

#: What a file's suffix says about its format.
SUFFIXES = {
    ".svg": "svg",
    ".dot": "dot",
    ".gv": "dot",
    ".mmd": "mermaid",
    ".mermaid": "mermaid",
    ".cnn": "cnn",
}


@click.command(
    epilog="""\b
Examples:
  cnndsl graph zoo/googlenet.cnn                     writes googlenet.svg
  cnndsl graph zoo/resnet.cnn:resnet50 -o net.svg --direction right
  cnndsl graph zoo/googlenet.cnn --optimized         what is left of it when it runs
  cnndsl graph model.cnn --format dot | dot -Tpdf -o model.pdf
  cnndsl graph model.cnn --set width=32 -o flat.cnn
"""
)
@click.argument("model")
@click.option("-o", "--output", metavar="FILE", help="The file to write; - is standard output.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["svg", "dot", "mermaid", "cnn"]),
    help="Default: what the file's suffix says, else svg.",
)
@click.option("--expand", is_flag=True, help="Draw every repetition of a block.")
@click.option("--optimized", is_flag=True, help="After the rewrites for inference.")
@click.option("--direction", type=click.Choice(["down", "right"]), default="down")
@model_options
def command(
    model: str,
    output: str | None,
    form: str | None,
    expand: bool,
    direction: str,
    optimized: bool,
    settings: tuple[str, ...],
    input_size: str | None,
    max_nodes: int | None,
    max_steps: int | None,
) -> None:
    """Draw a network as SVG, DOT or Mermaid, or write it as .cnn.

    Without -o an SVG goes to a file named after the model, and all else to standard output. Blocks
    that repeat are drawn once, with their number. What is written as .cnn is one model without
    blocks, loops and parameters, the same graph.
    """
    form = form or _format_of(output)
    network = load_network(model, settings, input_size, max_nodes, max_steps)
    graph = network.graph
    if optimized:
        from cnndsl.compile import inference_graph

        if form == "cnn":
            raise click.UsageError("--optimized is for pictures: svg, dot, mermaid")
        graph = inference_graph(graph)
    if form == "cnn":
        from cnndsl.frontend.unparse import unparse

        text = unparse(network.graph, network.name)
    else:
        from cnndsl.drawing import draw

        text = draw(graph, form, expand=expand, direction=direction)
    if output is None and form == "svg":
        output = f"{network.name}.svg"
    if output is None or output == "-":
        click.echo(text, nl=False)
        return
    write_whole(Path(output), text)
    click.echo(f"wrote {output}")


def _format_of(output: str | None) -> str:
    if output is None or output == "-":
        return "svg"
    suffix = Path(output).suffix.lower()
    if suffix not in SUFFIXES:
        raise click.UsageError(
            f"'{output}' does not say its format: say --format, or use one of "
            + ", ".join(SUFFIXES)
        )
    return SUFFIXES[suffix]
