"""Mutants of the zoo: no traceback, none past the limits, and the mistake is told where it is.

The suite tries a few hundred. `pytest tests/mutants --mutants 10000`, or `python
tests/mutants/run.py 10000 --processes 2`, tries as many as are said, of every variant of the zoo.
"""

from __future__ import annotations

import random

import pytest
from edits import Mutant, mutate
from judge import judge, shares, shown
from operators import OPERATORS
from originals import Program, light, whole
from run import trial

from cnndsl.cli.check import diagnose
from cnndsl.diagnostics import Source
from cnndsl.frontend.library import load_text

#: Up to so many, variants that differ in numbers alone are left out.
FEW = 1000
#: The part of the mistakes that the first report must place.
STRUCK = 0.95


def test_mistakes_are_told_where_they_are(
    request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    count = request.config.getoption("--mutants")
    tally = trial(count, 7, light() if count <= FEW else whole())
    if count > FEW:
        with capsys.disabled():
            print("\n" + tally.table())
    report = "\n\n".join(map(shown, tally.bad[:20]))
    assert not tally.total["traceback"], report
    assert not tally.total["slow"], report
    assert shares(tally.total)[0] >= STRUCK, report


@pytest.mark.parametrize("program", light(), ids=lambda p: p.name.rpartition("/")[2])
def test_what_is_mutated_is_right(program: Program) -> None:
    assert diagnose(load_text(Source(program.name, program.text)))[0] == []


@pytest.mark.parametrize("name", OPERATORS)
def test_an_operator_strikes_where_it_says(name: str) -> None:
    rng = random.Random(name)
    made = [
        mutant
        for program in light()
        for _ in range(5)
        if (mutant := mutate(program, name, rng)) is not None
    ]
    assert made
    for mutant in made:
        assert _changed(mutant) <= mutant.struck


def _changed(mutant: Mutant) -> set[int]:
    """The first line in which a mutant differs from its program."""
    before, after = mutant.program.text.split("\n"), mutant.text.split("\n")
    pairs = enumerate(zip(before, after, strict=False), start=1)
    return set([number for number, (old, new) in pairs if old != new][:1])


PROGRAM = Program("net.cnn", "model net(classes = 10) {\n    input 8x8x3\n    fc classes\n}\n")


def _mutant(old: str, new: str, *struck: int) -> Mutant:
    return Mutant(PROGRAM, "by_hand", PROGRAM.text.replace(old, new), frozenset(struck))


def test_a_judge_tells_the_cases_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    assert judge(_mutant("10", "11", 1)).kind == "right"
    assert judge(_mutant("fc", "fcc", 3)).kind == "first"
    assert judge(_mutant("classes =", "claases =", 1)).kind == "named"
    assert judge(_mutant("fc", "fcc", 2)).kind == "elsewhere"
    monkeypatch.setattr("judge.diagnose", lambda module: 1 / 0)
    assert judge(_mutant("10", "11", 1)).kind == "traceback"
