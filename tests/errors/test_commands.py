"""Wrong command lines and calls say exactly what is in `commands/`, and leave nothing half done."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from command_lines import LINES, USAGE, Line
from golden import COMMANDS
from library_calls import CALLS, GUARDS, Call
from workplace import contents, fill

from cnndsl.cli import status
from cnndsl.diagnostics import CnndslError, render_all
from cnndsl.graph.op import Mismatch

FOLDER = Path(__file__).parent / "commands"


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with a finished run in it."""
    folder = tmp_path_factory.mktemp("template")
    fill(folder)
    run = ["--train", "digits", "--out", str(folder / "runs" / "net-digits")]
    assert status(["run", str(folder / "net.cnn"), *run]) == 0
    return folder


@pytest.fixture
def place(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the template, which is the working folder."""
    folder = tmp_path / "place"
    shutil.copytree(template, folder)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("CNNDSL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "100")
    return folder


def said_by_line(line: Line, capsys: pytest.CaptureFixture[str], place: Path) -> str:
    """What a command line says, and that it keeps its promises."""
    before = contents(place)
    capsys.readouterr()
    ended = status(line.words.split())
    told = capsys.readouterr()
    assert ended == line.status, told.err
    after = contents(place)
    assert set(after) - set(before) == set(line.leaves)
    assert all(after[name] == content for name, content in before.items())
    assert told.out == "" or line.leaves
    return f"$ cnndsl {line.words}\n{told.err}exit status {ended}\n"


def said_by_call(call: Call, place: Path) -> str:
    """What a call of the library says."""
    before = contents(place)
    with pytest.raises(CnndslError) as failure:
        call()
    assert contents(place) == before
    return render_all(failure.value.diagnostics) + "\n"


def compare(name: str, parts: list[str], place: Path, request: pytest.FixtureRequest) -> None:
    golden = FOLDER / f"{name}.txt"
    told = "\n".join(parts).replace(str(place), "HERE").replace(str(place.parent), "ABOVE")
    if request.config.getoption("--update-golden"):
        golden.write_text(told, encoding="utf-8")
    assert told == golden.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", LINES)
def test_a_wrong_command_line_says_so(
    name: str, place: Path, capsys: pytest.CaptureFixture[str], request: pytest.FixtureRequest
) -> None:
    parts = [said_by_line(line, capsys, place) for line in LINES[name]]
    compare(name, parts, place, request)


@pytest.mark.parametrize("words", USAGE)
def test_wrong_usage_ends_with_2(
    words: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said_by_line(Line(words, 2), capsys, place)


@pytest.mark.parametrize("code", CALLS)
def test_a_wrong_call_says_so(code: str, place: Path, request: pytest.FixtureRequest) -> None:
    parts = [said_by_call(call, place) for call in CALLS[code]]
    assert all(part.startswith(f"error[{code}]: ") for part in parts)
    compare(f"{code}_library", parts, place, request)


@pytest.mark.parametrize("guard", GUARDS)
def test_an_operation_that_cannot_be_is_refused(guard: Callable[[], object]) -> None:
    with pytest.raises(Mismatch):
        guard()


def test_no_golden_file_of_a_command_is_left_over() -> None:
    assert {path.stem for path in COMMANDS} == {*LINES, *(f"{code}_library" for code in CALLS)}
