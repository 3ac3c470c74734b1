"""The grammar has one reading; the parser's tables are kept on disk, and never trusted."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from lark import Lark

from cnndsl.frontend.newlines import Newlines
from cnndsl.resources import resource

ROOT = Path(__file__).resolve().parents[2]

SCRIPT = (
    "from cnndsl.diagnostics import Source\n"
    "from cnndsl.frontend.parse import parse\n"
    "print(len(parse(Source('a', 'let a = 1')).items))\n"
)


def test_the_grammar_is_lalr_without_conflicts() -> None:
    pytest.importorskip("interegular")
    grammar = (resource("grammar") / "cnn.lark").read_text(encoding="utf-8")
    start = ["file", "expression"]
    Lark(grammar, parser="lalr", lexer="basic", postlex=Newlines(), strict=True, start=start)


def run(cache: Path) -> str:
    environment = {**os.environ, "XDG_CACHE_HOME": str(cache), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", SCRIPT]
    return subprocess.run(
        command, env=environment, text=True, check=True, capture_output=True
    ).stdout


def test_tables_are_kept_and_found_again(tmp_path: Path) -> None:
    assert run(tmp_path) == "1\n"
    (kept,) = (tmp_path / "cnndsl").iterdir()
    written = kept.stat().st_mtime_ns
    assert run(tmp_path) == "1\n"
    assert kept.stat().st_mtime_ns == written


def test_damaged_tables_are_built_anew(tmp_path: Path) -> None:
    run(tmp_path)
    (kept,) = (tmp_path / "cnndsl").iterdir()
    kept.write_bytes(b"not what it was")
    assert run(tmp_path) == "1\n"
    assert kept.stat().st_size > 1000


def test_without_a_place_for_tables_there_are_none(tmp_path: Path) -> None:
    (tmp_path / "cnndsl").write_text("a file where the folder would be")
    assert run(tmp_path) == "1\n"


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="folders have no mode here")
def test_tables_that_others_could_write_are_not_read(tmp_path: Path) -> None:
    folder = tmp_path / "cnndsl"
    folder.mkdir()
    folder.chmod(0o777)
    assert run(tmp_path) == "1\n"
    assert not list(folder.iterdir())
