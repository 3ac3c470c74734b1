"""Every wrong file beside this one gives exactly the report in the `.txt` beside it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from codes import CODES
from golden import COMMANDS, FILES, HERE, diagnostics_of, report
from write_docs import PAGE, PARTS, page

from cnndsl.cli import status


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_report_is_the_golden_one(path: Path, request: pytest.FixtureRequest) -> None:
    golden = path.with_suffix(".txt")
    told = report(path)
    if request.config.getoption("--update-golden"):
        golden.write_text(told, encoding="utf-8")
    assert told == golden.read_text(encoding="utf-8")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_golden_file_reports_the_code_in_its_name(path: Path) -> None:
    assert f"[{path.name[:5]}]" in path.with_suffix(".txt").read_text(encoding="utf-8")


def test_no_golden_file_is_left_over() -> None:
    assert {path.stem for path in HERE.glob("*.txt")} == {path.stem for path in FILES}


@pytest.mark.parametrize("code", sorted(CODES))
def test_every_code_has_a_golden_file(code: str) -> None:
    of_files = any(path.name.startswith(code) for path in FILES)
    of_commands = any(f"[{code}]" in path.read_text(encoding="utf-8") for path in COMMANDS)
    assert of_files or of_commands


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_mistake_has_a_place(path: Path) -> None:
    for diagnostic in diagnostics_of(path):
        if path.stem != "E0309_no_model":
            assert diagnostic.span is not None


def test_no_report_speaks_of_tokens() -> None:
    terminals = r"\b_?(NAME|INTEGER|LBRACE|RBRACE|LPAR|RPAR|NEWLINE|COMMA|Token|Expected)\b|\$END"
    told = "".join(path.with_suffix(".txt").read_text(encoding="utf-8") for path in FILES)
    assert not re.search(terminals, told)


def test_no_report_shows_how_python_writes_values() -> None:
    shown = r"\b(None|True|Fraction\(|Size\(|<[a-z]+ object|NoneType|Traceback)\b"
    told = [path.with_suffix(".txt") for path in FILES]
    for path in (*told, *COMMANDS):
        assert not re.search(shown, path.read_text(encoding="utf-8")), path


def test_the_page_of_errors_is_current() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run python tests/errors/write_docs.py"


def test_every_code_is_on_the_page() -> None:
    assert all(code[:3] in PARTS for code in CODES)


JSON_KEYS = [
    "code",
    "severity",
    "message",
    "file",
    "line",
    "column",
    "end_line",
    "label",
    "secondary",
    "calls",
    "trace",
    "help",
]


def test_json_is_stable(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(HERE)
    assert status(["check", "E0203_stride.cnn", "E0301_layers.cnn", "--format", "json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert [list(mistake) for mistake in told] == [JSON_KEYS] * len(told)
    here = "E0203_stride.cnn"
    assert told[0] == {
        "code": "E0203",
        "severity": "error",
        "message": "the two sides of `residual` have different shapes",
        "file": here,
        "line": 3,
        "column": 5,
        "end_line": 3,
        "label": "the value that enters is 56x56x64",
        "secondary": [
            {"file": here, "line": 4, "column": 9, "text": "56x56 becomes 28x28 here"},
            {"file": here, "line": 5, "column": 9, "text": "the body leaves 28x28x128"},
        ],
        "calls": [
            "called from E0203_stride.cnn:14:13, in `basic 64 * 2^stage, "
            "stride = 2 if stage > 0 and i == 0 else 1`, stage = 1, depth = 2, i = 0"
        ],
        "trace": [],
        "help": "write `residual project` to put a 1x1 convolution on the shortcut",
    }
    assert {mistake["code"] for mistake in told[1:]} == {"E0301"}
    assert [mistake["line"] for mistake in told[1:]] == [4, 4, 5, 5, 6, 7, 8]


def test_json_of_a_mistake_without_a_place(capsys: pytest.CaptureFixture[str]) -> None:
    assert status(["check", "no/such/file.cnn", "--format", "json"]) == 1
    (told,) = json.loads(capsys.readouterr().out)
    assert list(told) == JSON_KEYS
    assert (told["code"], told["file"], told["line"], told["column"]) == ("C0101", None, None, None)


def test_json_of_a_right_file_is_an_empty_list(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / "net.cnn"
    path.write_text("model net(classes = 10) { input 8x8x3 -> fc classes }\n")
    assert status(["check", str(path), "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out) == []


def test_a_warning_leaves_the_exit_status_at_0(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(HERE)
    assert status(["check", "W0103_unread.cnn"]) == 0
    assert status(["check", "W0103_unread.cnn", "--lint", "--format", "json"]) == 0
    assert [w["severity"] for w in json.loads(capsys.readouterr().out.split("\n", 1)[1])] == [
        "warning"
    ]
