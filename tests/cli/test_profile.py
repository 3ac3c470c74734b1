"""`run --profile`, `run --threads` and `summary --batch`, as a user meets them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cnndsl.backends import get_backend
from cnndsl.cli import status
from cnndsl.compile import compile_inference, compile_training
from cnndsl.resources import resource
from cnndsl.training.recipe import recipe_of

MODEL = [str(resource("zoo") / "resnet.cnn") + ":resnet20"]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("engine", ["numpy", None])
def test_a_profile_names_steps_and_how_they_are_done(engine: str | None, capsys) -> None:
    words = ["--backend", engine] if engine else []
    assert status(["run", *MODEL, "--profile", *words]) == 0
    head, *rows, total = capsys.readouterr().out.splitlines()
    assert "GFLOP/s" in head
    assert any("conv 16, 3x3" in row for row in rows)
    milliseconds = [float(row.split()[0]) for row in rows if not row.startswith("and ")]
    assert milliseconds == sorted(milliseconds, reverse=True)
    assert "% of the" in total


def test_a_training_step_is_profiled_and_nothing_is_trained(capsys) -> None:
    words = [*MODEL, "--train", "synthetic", "--batch", "4", "--profile"]
    assert status(["run", *words]) == 0
    shown = capsys.readouterr().out
    assert "conv_weight_gradient" in shown
    assert "test accuracy" not in shown
    assert list(Path.cwd().iterdir()) == []


@pytest.mark.parametrize(
    "words", [["--out", "a"], ["--epochs", "1"], ["--weights", "a"], ["--checkpoint-seconds", "1"]]
)
def test_what_a_profile_would_not_heed_is_refused(words: list[str], capsys) -> None:
    assert status(["run", *MODEL, "--train", "synthetic", "--profile", *words]) == 2
    assert f"{words[0]} would do nothing" in capsys.readouterr().err


def test_the_largest_batch_keeps_to_the_memory_that_is_given(capsys) -> None:
    words = [*MODEL, "--train", "synthetic", "--profile", "--batch", "auto"]
    batches = []
    for memory in ("20MB", "60MB"):
        assert status(["run", *words, "--memory", memory]) == 0
        said = capsys.readouterr().err
        batches.append(int(said.split("batch = ")[1].split(",")[0]))
    assert 1 <= batches[0] < batches[1]


def test_threads_are_the_engines(capsys) -> None:
    engine = get_backend()
    before = engine.threads()
    try:
        assert status(["run", *MODEL, "--threads", "2"]) == 0
        assert get_backend().threads() == (2 if engine.name == "onednn" else before)
    finally:
        engine.use_threads(before)
    assert status(["run", *MODEL, "--threads", "0"]) == 2


@pytest.mark.parametrize("engine", ["numpy", None])
def test_a_summary_plans_the_memory_that_programs_take(engine: str | None, capsys) -> None:
    from cnndsl.cli.model import load_network

    words = ["summary", *MODEL, "--batch", "3", *(["--backend", engine] if engine else [])]
    assert status([*words, "--format", "json"]) == 0
    memory = json.loads(capsys.readouterr().out)["memory"]
    network, backend = load_network(MODEL[0]), get_backend(engine)
    for use, program in (
        ("inference", compile_inference(network.graph, backend, 3)),
        ("training", compile_training(network.graph, recipe_of(network).objective, backend, 3)),
    ):
        assert memory[use] == program.arena_bytes + program.state_bytes
    assert status(words) == 0
    assert "MB in training, batch 3" in capsys.readouterr().out
    assert status(["summary", *MODEL, "--backend", "numpy"]) == 2
