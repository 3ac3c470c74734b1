"""What cnndsl says about a wrong file, as the golden files keep it."""

from __future__ import annotations

import contextlib
from pathlib import Path

from cnndsl.cli.check import diagnose
from cnndsl.diagnostics import CnndslError, Diagnostic, render_all
from cnndsl.frontend.library import load_file

HERE = Path(__file__).parent
#: The wrong files. Those in folders are what `use` brings in, and have no golden file of their own.
FILES = sorted(HERE.glob("*.cnn"))
#: What commands say, a file a command.
COMMANDS = sorted((HERE / "commands").glob("*.txt"))


def diagnostics_of(path: Path) -> list[Diagnostic]:
    """What `cnndsl check --lint` finds, called from the folder of the file."""
    with contextlib.chdir(path.parent):
        try:
            return diagnose(load_file(Path(path.name)), lints=True)[0]
        except CnndslError as failure:
            return list(failure.diagnostics)


def report(path: Path) -> str:
    """What a person is told about the file; empty if nothing is wrong with it."""
    return "".join(f"{render_all([found])}\n\n" for found in diagnostics_of(path))[:-1]
