"""`cnndsl ops`: the reference of layers, from their docstrings."""

from __future__ import annotations

import inspect

import click

from cnndsl.diagnostics import did_you_mean, error


@click.command(
    epilog="""\b
Examples:
  cnndsl ops
  cnndsl ops conv
  cnndsl ops --format markdown > docs/layers.md
"""
)
@click.argument("name", required=False)
@click.option("--format", "form", type=click.Choice(["text", "markdown"]), default="text")
def command(name: str | None, form: str) -> None:
    """List the layers, joins, losses and optimisers, or explain one of them."""
    from cnndsl.frontend.kinds import FOREIGN
    from cnndsl.reference import entries, markdown

    if form == "markdown":
        click.echo(markdown(), nl=False)
        return
    known = entries()
    if name is None:
        for group, members in known.items():
            click.echo(f"{group}:")
            for word, (_, text) in members.items():
                click.echo(f"    {word:14} {inspect.cleandoc(text).splitlines()[0]}")
        return
    for members in known.values():
        if name in members:
            signature, text = members[name]
            click.echo(f"{signature}\n\n{inspect.cleandoc(text)}")
            return
    words = [word for members in known.values() for word in members]
    raise error(
        "C0103",
        f"there is no layer, loss or optimiser `{name}`",
        help=FOREIGN.get(name.lower().replace("_", ""))
        or did_you_mean(name, words)
        or "`cnndsl ops` lists them",
        status=2,
    )
