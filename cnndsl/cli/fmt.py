"""`cnndsl fmt`: writes files in their canonical form."""

from __future__ import annotations

import difflib
import sys
from pathlib import Path

import click

from cnndsl.diagnostics import Source


@click.command(
    epilog="""\b
Examples:
  cnndsl fmt model.cnn            rewrite in place
  cnndsl fmt --check zoo/*.cnn    exit 1 if one would change
  cnndsl fmt --diff model.cnn     show what would change
  cnndsl fmt - < model.cnn        from standard input to standard output
"""
)
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option("--check", "only_check", is_flag=True, help="Change nothing; exit 1 if one would.")
@click.option("--diff", "show_diff", is_flag=True, help="Change nothing; show what would.")
def command(files: tuple[str, ...], only_check: bool, show_diff: bool) -> int:
    """Format .cnn files: canonical, comments kept."""
    from cnndsl.files import write_whole
    from cnndsl.frontend.format import format_source
    from cnndsl.frontend.library import read_source

    unlike = 0
    for file in files:
        if file == "-":
            click.echo(format_source(Source("standard input", sys.stdin.read())), nl=False)
            continue
        path = Path(file)
        source = read_source(path)
        text = format_source(source)
        if path.read_bytes() == text.encode():
            continue
        unlike += 1
        if show_diff:
            click.echo(
                "".join(
                    difflib.unified_diff(
                        source.text.splitlines(keepends=True),
                        text.splitlines(keepends=True),
                        file,
                        f"{file} (formatted)",
                    )
                ),
                nl=False,
            )
        elif only_check:
            click.echo(f"{file} would change")
        else:
            write_whole(path, text)
            click.echo(f"{file} formatted")
    return 1 if unlike and (only_check or show_diff) else 0
