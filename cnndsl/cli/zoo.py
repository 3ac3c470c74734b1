"""`cnndsl zoo`: the networks that come with cnndsl."""

from __future__ import annotations

from pathlib import Path

import click

from cnndsl.diagnostics import did_you_mean, error
from cnndsl.resources import resource


@click.group(
    epilog="""\b
Examples:
  cnndsl zoo list
  cnndsl zoo show lenet
  cnndsl zoo copy resnet my-resnet.cnn
"""
)
def command() -> None:
    """The networks that come with cnndsl."""


def _file(name: str) -> Path:
    path = resource("zoo") / f"{name.removesuffix('.cnn')}.cnn"
    if Path(name).name != name or not path.is_file():
        known = sorted(p.stem for p in resource("zoo").glob("*.cnn"))
        raise error(
            "C0101",
            f"the zoo has no `{name}`",
            help=did_you_mean(name, known) or f"it has {', '.join(known)}",
            status=2,
        )
    return path


@command.command("list")
def list_networks() -> None:
    """List files, their models and their parameters."""
    from cnndsl.frontend.elaborate import elaborate
    from cnndsl.frontend.library import load_file
    from cnndsl.graph import analysis

    for path in sorted(resource("zoo").glob("*.cnn")):
        module = load_file(path, [resource("zoo")])
        first = module.source.line(1)
        click.echo(f"{path.stem:12} {first.removeprefix('#').strip()}")
        for name in module.complete():
            count = analysis.parameters(elaborate(module, name).graph)
            click.echo(f"    {path.stem + ':' + name:32} {count:>13,} parameters")


@command.command("show")
@click.argument("name")
def show(name: str) -> None:
    """Print a network's file."""
    click.echo(_file(name).read_text(encoding="utf-8"), nl=False)


@command.command("copy")
@click.argument("name")
@click.argument("target", required=False, type=click.Path(path_type=Path))
def copy(name: str, target: Path | None) -> None:
    """Copy a network's file, to begin one's own with."""
    from cnndsl.files import write_whole

    path = _file(name)
    place = target or Path(path.name)
    if place.is_dir():
        place = place / path.name
    if place.exists():
        raise error("C0102", f"{place} exists already; nothing was written", status=2)
    write_whole(place, path.read_text(encoding="utf-8"))
    click.echo(f"{place} written")
