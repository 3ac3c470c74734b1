"""`cnndsl export`: a network with its weights as an ONNX file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from cnndsl.cli.model import elaborator, model_options, parse_settings, with_saved_parameters


class Batch(click.ParamType):  # type: ignore[type-arg]
    """A number of images, or the word `dynamic`, which is None."""

    name = "batch"

    def convert(
        self, value: Any, param: click.Parameter | None, context: click.Context | None
    ) -> int | None:
        if value == "dynamic":
            return None
        try:
            number: int = click.IntRange(1, 2**31).convert(value, param, context)
        except click.BadParameter:
            self.fail(f"a number or `dynamic` is wanted, this is '{value}'", param, context)
        return number


@click.command(
    epilog="""\b
Examples:
  cnndsl export zoo/lenet.cnn --weights runs/lenet-digits -o lenet.onnx
  cnndsl export zoo/resnet.cnn:resnet50 -o resnet50.onnx
  cnndsl export zoo/vgg.cnn:vgg16 --input 160x160x3 --batch 1 -o vgg16.onnx
"""
)
@click.argument("model")
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The file to write, FILE.onnx.",
)
@click.option(
    "--weights",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="A checkpoint or run folder; random weights without.",
)
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), help="Of random weights.")
@click.option(
    "--batch",
    type=Batch(),
    metavar="N|dynamic",
    default="dynamic",
    show_default=True,
    help="Images that the file takes at a time.",
)
@model_options
def command(
    model: str,
    output: Path,
    weights: Path | None,
    seed: int | None,
    batch: int | None,
    settings: tuple[str, ...],
    **options: Any,
) -> None:
    """Write a network and its weights as ONNX, opset 21.

    Images are float32 (N, C, H, W). With the weights of a run they are pixels from 0 to 255: the
    normalisation that the run was trained with is in the file. Resizing is not.
    """
    if output.suffix.lower() != ".onnx":
        raise click.UsageError(f"what is written is ONNX, and '{output}' does not end in .onnx")
    if weights is not None and seed is not None:
        raise click.UsageError("--seed is of random weights, and --weights gives others")

    from cnndsl.export.write import write_onnx
    from cnndsl.training import checkpoint
    from cnndsl.training.session import find_weights

    elaborate = elaborator(model, **options)
    given, saved, origin = parse_settings(settings), None, ""
    if weights is not None:
        path = find_weights(weights)
        saved, origin = checkpoint.load(path), str(path)
        given = with_saved_parameters(given, saved, elaborate)
    interface = write_onnx(elaborate(given), output, saved, origin, batch=batch, seed=seed or 0)
    if saved is None:
        click.echo("the weights are random: --weights takes those of a run", err=True)
    click.echo(f"wrote {output}: {interface}")
