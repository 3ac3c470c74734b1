"""Every wrong file beside this one gives exactly the report in the `.txt` beside it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from cnndsl.diagnostics import CODES, CnndslError, Source, render_all
from cnndsl.frontend.parse import parse

HERE = Path(__file__).parent
FILES = sorted(HERE.glob("*.cnn"))


def report(path: Path) -> str:
    """What a person is told about the file; empty if nothing is wrong with it."""
    try:
        parse(Source(path.name, path.read_bytes().decode("utf-8")))
    except CnndslError as error:
        return render_all(error.diagnostics) + "\n"
    return ""


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_report_is_the_golden_one(path: Path, request: pytest.FixtureRequest) -> None:
    golden = path.with_suffix(".txt")
    told = report(path)
    if request.config.getoption("--update-golden"):
        golden.write_text(told, encoding="utf-8")
    assert told == golden.read_text(encoding="utf-8")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_golden_file_reports_the_code_in_its_name(path: Path) -> None:
    assert f"[{path.name[:5]}]" in report(path)


@pytest.mark.parametrize("code", sorted(code for code in CODES if code.startswith("E01")))
def test_every_code_of_syntax_has_a_golden_file(code: str) -> None:
    assert any(path.name.startswith(code) for path in FILES)


def test_no_report_speaks_of_tokens() -> None:
    terminals = r"\b_?(NAME|INTEGER|LBRACE|RBRACE|LPAR|RPAR|NEWLINE|COMMA|Token|Expected)\b|\$END"
    told = "".join(path.with_suffix(".txt").read_text(encoding="utf-8") for path in FILES)
    assert not re.search(terminals, told)
