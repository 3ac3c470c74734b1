"""`cnndsl graph` as a user calls it."""

from __future__ import annotations

from pathlib import Path

import pytest

from cnndsl.cli import status
from cnndsl.compile import elaborate_file
from cnndsl.graph.compare import isomorphic

ZOO = Path(__file__).resolve().parents[2] / "zoo"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_an_svg_is_named_after_the_model(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert status(["graph", "resnet:resnet18"]) == 0
    assert capsys.readouterr().out == "wrote resnet18.svg\n"
    assert (here / "resnet18.svg").read_text().startswith("<svg ")


@pytest.mark.parametrize(
    ("file", "begins"),
    [
        ("net.svg", "<svg "),
        ("net.dot", 'digraph "lenet" {'),
        ("net.gv", 'digraph "lenet" {'),
        ("net.mmd", "flowchart TD"),
        ("NET.CNN", "model lenet {"),
    ],
)
def test_the_suffix_says_the_format(file: str, begins: str, here: Path) -> None:
    assert status(["graph", "lenet", "-o", file]) == 0
    assert (here / file).read_text().startswith(begins)


@pytest.mark.parametrize(
    ("form", "begins"),
    [("svg", "<svg "), ("dot", "digraph"), ("mermaid", "flowchart LR"), ("cnn", "model lenet {")],
)
def test_a_dash_is_standard_output(
    form: str, begins: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["graph", "lenet", "-o", "-", "--format", form, "--direction", "right"]
    assert status(arguments) == 0
    assert capsys.readouterr().out.startswith(begins)
    assert list(here.iterdir()) == []


def test_text_goes_to_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    assert status(["graph", "lenet", "--format", "dot"]) == 0
    assert capsys.readouterr().out.startswith("digraph")


def test_expand_draws_every_repetition(capsys: pytest.CaptureFixture[str]) -> None:
    sizes = []
    for more in ([], ["--expand"]):
        assert status(["graph", "resnet:resnet50", "--format", "dot", *more]) == 0
        sizes.append(capsys.readouterr().out.count("[label="))
    assert sizes == [41, 73]


def test_what_is_written_as_cnn_is_the_same_network(here: Path) -> None:
    assert status(["graph", "googlenet", "-o", "flat.cnn"]) == 0
    flat = elaborate_file(here / "flat.cnn").graph
    assert isomorphic(flat, elaborate_file(ZOO / "googlenet.cnn").graph)


def test_a_model_is_drawn_with_the_settings_of_the_command_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = ["graph", "lenet", "--format", "dot", "--set", "classes=7", "--input", "48x48x3"]
    assert status(arguments) == 0
    text = capsys.readouterr().out
    assert "input 48x48x3" in text
    assert "fc 7" in text


def test_a_suffix_without_a_format_is_a_mistake_of_the_command_line(
    capsys: pytest.CaptureFixture[str], here: Path
) -> None:
    assert status(["graph", "lenet", "-o", "net.pdf"]) == 2
    assert "say --format" in capsys.readouterr().err
    assert list(here.iterdir()) == []


def test_a_file_that_cannot_be_written_shows_no_traceback(
    capsys: pytest.CaptureFixture[str], here: Path
) -> None:
    (here / "folder.svg").mkdir()
    assert status(["graph", "lenet", "-o", "folder.svg"]) == 1
    assert "folder.svg" in capsys.readouterr().err
