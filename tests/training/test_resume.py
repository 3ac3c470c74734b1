"""A killed run, resumed, ends as if nothing had happened."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from kill_and_resume import command, fingerprint, finish, trials

from cnndsl.backends import get_backend
from cnndsl.cli import status
from cnndsl.diagnostics import Source
from cnndsl.frontend.elaborate import elaborate
from cnndsl.frontend.library import load_text
from cnndsl.training.loop import Interrupted
from cnndsl.training.session import Overrides, fit
from cnndsl.training.session import train as run

if sys.platform == "win32":
    pytest.skip("signals are those of POSIX", allow_module_level=True)

MODEL = """
model small(classes = 10) {
    input 8x8x1
    conv 8, 3x3 -> bn -> relu
    maxpool 2x2, /2
    dropout 0.2
    fc classes
}

train small {
    augment     shift 1, cutout 2
    batch       32
    epochs      6
    optimizer   adam, lr=0.005
    schedule    plateau, patience=0, factor=0.5
}
"""


@pytest.fixture
def model(tmp_path: Path) -> str:
    path = tmp_path / "small.cnn"
    path.write_text(MODEL)
    return str(path)


def test_killed_runs_end_bit_identical_to_an_undisturbed_one(model: str, tmp_path: Path) -> None:
    assert trials(model, "digits", 4, tmp_path, []) == []


def test_a_run_killed_between_metrics_and_checkpoint_repeats_no_line(
    model: str, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    finish(model, "digits", out, "--epochs", "2")
    wanted = fingerprint(out)
    with (out / "metrics.jsonl").open("a") as file:
        file.write(json.dumps({"epoch": 3, "half": "written"})[:9])
    (out / "result.json").unlink()
    finish(model, "digits", out, "--epochs", "2", "--resume")
    assert fingerprint(out) == wanted


def test_control_c_keeps_a_checkpoint_and_exits_130(model: str, tmp_path: Path) -> None:
    out = tmp_path / "run"
    process = subprocess.Popen(
        command(model, "digits", out, "--epochs", "2000"),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    for _ in range(600):
        if (out / "checkpoints" / "last.safetensors").exists():
            break
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, shown = process.communicate(timeout=60)
    assert process.returncode == 130
    assert b"--resume" in shown
    assert b"Traceback" not in shown


def test_a_run_is_not_overwritten_without_resume(model: str, tmp_path: Path, capsys) -> None:
    arguments = ["run", model, "--train", "digits", "--epochs", "1", "--out", str(tmp_path / "run")]
    assert status(arguments) == 0
    assert status(arguments) == 2
    assert "T0203" in capsys.readouterr().err


def test_a_run_of_other_arguments_is_not_resumed(model: str, tmp_path: Path, capsys) -> None:
    arguments = ["run", model, "--train", "digits", "--epochs", "1", "--out", str(tmp_path / "run")]
    assert status(arguments) == 0
    assert status([*arguments, "--seed", "7", "--resume"]) == 1
    assert "seed" in capsys.readouterr().err


def test_a_resumed_complete_run_trains_no_further(model: str, tmp_path: Path) -> None:
    out = tmp_path / "run"
    finish(model, "digits", out, "--epochs", "1")
    before = fingerprint(out)
    finish(model, "digits", out, "--epochs", "1", "--resume")
    assert fingerprint(out) == before


def test_what_a_kill_left_of_a_checkpoint_is_removed(model: str, tmp_path: Path) -> None:
    out = tmp_path / "run"
    finish(model, "digits", out, "--epochs", "1")
    remains = out / "checkpoints" / ".last.safetensors.abc"
    remains.write_bytes(b"half")
    finish(model, "digits", out, "--epochs", "1", "--resume")
    assert not remains.exists()


def test_a_folder_that_cannot_be_written_is_told(model: str, tmp_path: Path, capsys) -> None:
    (tmp_path / "file").write_text("")
    out = tmp_path / "file" / "run"
    assert status(["run", model, "--train", "digits", "--out", str(out)]) == 1
    assert "C0102" in capsys.readouterr().err


def test_stopping_after_any_step_and_going_on_changes_nothing(tmp_path: Path) -> None:
    module = load_text(Source("small", MODEL))

    def train(out: Path, stop: Callable[[], bool], resume: bool) -> None:
        fitted = fit(
            lambda parameters: elaborate(module, parameters=parameters),
            {},
            "digits",
            overrides=Overrides(epochs=2, batch=400),
        )
        run(fitted, get_backend("numpy"), out, stop=stop, resume=resume)

    train(tmp_path / "whole", lambda: False, resume=False)
    wanted = fingerprint(tmp_path / "whole")
    for last in range(1, 7):
        steps = iter(range(1, 100))
        out = tmp_path / str(last)
        with pytest.raises(Interrupted):
            train(out, lambda steps=steps, last=last: next(steps) == last, resume=False)
        train(out, lambda: False, resume=True)
        assert fingerprint(out) == wanted
