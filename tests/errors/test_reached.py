"""Every place in cnndsl that reports a mistake is reached by the golden files and their tables."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path

import pytest
from command_lines import LINES
from golden import FILES, report
from library_calls import CALLS, GUARDS
from sites import lines_run, missed, sites
from workplace import fill

from cnndsl.cli import status
from cnndsl.diagnostics import CnndslError
from cnndsl.graph.op import Mismatch


@pytest.fixture(scope="module")
def reached(tmp_path_factory: pytest.TempPathFactory) -> set[tuple[str, int]]:
    """The lines that run while every golden file, command line and call is tried."""
    folder = tmp_path_factory.mktemp("reached")
    fill(folder)
    nothing = io.StringIO()
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.chdir(folder),
        contextlib.redirect_stderr(nothing),
        contextlib.redirect_stdout(nothing),
    ):
        patch.setenv("CNNDSL_CACHE", str(folder / "cache"))
        status(["run", "net.cnn", "--train", "digits", "--out", "runs/net-digits"])
        with lines_run(sites()) as seen:
            for path in FILES:
                report(path)
            for line in (line for lines in LINES.values() for line in lines):
                status(line.words.split())
            for call in (*(call for calls in CALLS.values() for call in calls), *GUARDS):
                with contextlib.suppress(CnndslError, Mismatch):
                    call()
    return seen


def test_every_site_is_reached(reached: set[tuple[str, int]]) -> None:
    left = "\n".join(map(str, missed(sites(), reached)))
    assert not left, f"nothing in tests/errors leads to\n{left}"


def test_sites_are_found() -> None:
    found = {site.code for site in sites()}
    assert {"E0101", "E0203", "E0302", "W0101", "C0101", "D0407", "T0202", "Unfit"} <= found
    assert len(sites()) > 250


def test_a_line_that_does_not_run_is_missed(tmp_path: Path) -> None:
    wanted = [site for site in sites() if site.path.name == "joins.py"]
    with lines_run(wanted) as seen:
        pass
    assert missed(wanted, seen) == wanted
