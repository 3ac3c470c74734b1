"""The command line: one file a command, loaded when it is called."""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any

import click

from cnndsl import __version__

#: Commands and what they do in a line, so that `--help` loads none of them.
COMMANDS = {
    "run": "train a network, evaluate it, or name what is on an image",
    "check": "report every mistake of a file",
    "fmt": "write a file in its canonical form",
    "summary": "print shapes, parameters, multiply-adds and receptive fields",
    "optimize": "show what the rewrites do to a network",
    "kernels": "list the kernels that a GPU would execute, and show their text",
    "graph": "draw a network as SVG, DOT, Mermaid, or write it as .cnn",
    "export": "write a network and its weights as ONNX",
    "zoo": "list, show and copy the networks that come with cnndsl",
    "ops": "the reference of layers, losses and optimisers",
}


class Commands(click.Group):
    """Finds a command in the module of its name."""

    def list_commands(self, context: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        module = importlib.import_module(f"cnndsl.cli.{name}")
        command: click.Command = module.command
        return command

    def resolve_command(
        self, context: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(context, args)
        except click.UsageError as problem:
            from cnndsl.diagnostics import did_you_mean

            hint = did_you_mean(args[0], COMMANDS)
            raise click.UsageError(
                f"there is no command '{args[0]}'" + (f"; {hint}" if hint else ""), context
            ) from problem

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


EPILOG = """\b
Examples:
  cnndsl run zoo/lenet.cnn --train digits
  cnndsl check model.cnn
  cnndsl summary zoo/resnet.cnn:resnet50
  cnndsl graph zoo/googlenet.cnn -o googlenet.svg
"""


@click.group(cls=Commands, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="cnndsl")
def cnndsl() -> None:
    """A language and compiler for convolutional networks."""


def main(arguments: list[str] | None = None) -> None:
    """Entry point: exit status 0, 1 (network or data wrong), 2 (usage), 130 (interrupted)."""
    sys.exit(status(arguments))


def status(arguments: list[str] | None = None) -> int:
    """Run a command line and return its exit status; a user's mistake never shows a traceback."""
    from cnndsl.diagnostics import CnndslError, render_all

    try:
        result: Any = cnndsl.main(arguments, prog_name="cnndsl", standalone_mode=False)
        sys.stdout.flush()
        return result if isinstance(result, int) else 0
    except click.exceptions.Abort:
        click.echo("interrupted", err=True)
        return 130
    except KeyboardInterrupt:
        click.echo("interrupted", err=True)
        return 130
    except click.ClickException as problem:
        problem.show()
        return 2
    except CnndslError as problem:
        click.echo(render_all(problem.diagnostics), err=True)
        return problem.status
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except MemoryError:
        click.echo("there is not enough memory: a smaller `--batch` needs less", err=True)
        return 1
