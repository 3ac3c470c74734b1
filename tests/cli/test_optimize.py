"""`cnndsl optimize`, `graph --optimized` and `run --memory`, as a user meets them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from cnndsl.backends.onednn import Engine
from cnndsl.cli import status
from cnndsl.resources import resource

GOOGLENET = ["--input", "96x96x3"]
COSTS = ["kernels", "multiply_adds", "bytes", "peak_bytes", "parameters"]


def zoo(name: str) -> str:
    return str(resource("zoo") / name)


def told(words: list[str], capsys: pytest.CaptureFixture[str]) -> dict:
    capsys.readouterr()
    assert status(["optimize", *words, "--backend", "numpy", "--format", "json"]) == 0
    found: dict = json.loads(capsys.readouterr().out)
    return found


@pytest.mark.parametrize("use", ["inference", "training"])
def test_json_has_costs_before_and_after_and_every_rewrite(use: str, capsys) -> None:
    found = told([zoo("googlenet.cnn"), *GOOGLENET, "--for", use], capsys)
    assert list(found["before"]) == list(found["after"]) == COSTS
    assert found["after"]["kernels"] < found["before"]["kernels"]
    merged = [e for e in found["rewrites"] if e["rewrite"] == "merge_siblings" and e["fired"]]
    assert len(merged) == 9
    assert all("googlenet.cnn:" in event["at"] for event in merged)


def test_rewrites_can_be_chosen_and_left_out(capsys) -> None:
    model = [zoo("googlenet.cnn"), *GOOGLENET]
    one = told([*model, "--passes", "merge_siblings,maximum_before_activation"], capsys)
    assert {e["rewrite"] for e in one["rewrites"] if e["fired"]} == {
        "merge_siblings",
        "maximum_before_activation",
    }
    rest = told([*model, "--no-pass", "merge_siblings"], capsys)
    assert "merge_siblings" not in {e["rewrite"] for e in rest["rewrites"]}
    assert rest["after"]["kernels"] > told(model, capsys)["after"]["kernels"]


def test_the_report_names_places_and_costs(capsys) -> None:
    words = ["optimize", zoo("mobilenet.cnn:mobilenet_v2"), "--input", "64x64x3"]
    words += ["--backend", "numpy"]
    assert status(words) == 0
    report = capsys.readouterr().out
    assert "fold_batchnorm fired 52×" in report
    assert "mobilenet.cnn:24:32  0.0.inverted1.bn2 and 16 more" in report
    assert "conv_of_conv declined 2×: one layer would have more multiply-adds" in report
    assert "kernels                       151               54   0.358" in report
    assert "more places" in report
    assert status([*words, "--explain"]) == 0
    assert "more places" not in capsys.readouterr().out


def test_a_training_step_is_brought_within_memory(capsys) -> None:
    words = [zoo("resnet.cnn:resnet20"), "--for", "training", "--batch", "8"]
    free = told(words, capsys)["after"]["peak_bytes"]
    tight = told([*words, "--memory", f"{int(0.85 * free)}B"], capsys)["after"]
    assert tight["peak_bytes"] <= 0.85 * free


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--passes", "merge_sibling"], 2),
        (["--no-pass", "nothing"], 2),
        (["--memory", "1GB"], 2),
        (["--for", "training", "--memory", "much"], 2),
        (["--for", "training", "--memory", "9" * 400 + "GB"], 2),
        (["--for", "training", "--memory", "1KB"], 1),
        (["--batch", "0"], 2),
    ],
)
def test_wrong_options_are_refused(words: list[str], expected: int, capsys) -> None:
    assert status(["optimize", zoo("lenet.cnn"), *words]) == expected
    assert "Traceback" not in capsys.readouterr().err


def test_a_network_that_cannot_be_trained_is_told(tmp_path: Path, capsys) -> None:
    path = tmp_path / "map.cnn"
    path.write_text("model map { input 8x8x3 -> conv 4, 3x3 }\n")
    assert status(["optimize", str(path), "--for", "training"]) == 1
    assert "E0201" in capsys.readouterr().err
    assert status(["optimize", str(path)]) == 0


def test_the_optimized_graph_is_drawn(tmp_path: Path) -> None:
    plain, optimized = tmp_path / "plain.dot", tmp_path / "optimized.dot"
    model = [zoo("googlenet.cnn"), *GOOGLENET]
    assert status(["graph", *model, "-o", str(plain)]) == 0
    assert status(["graph", *model, "--optimized", "-o", str(optimized)]) == 0
    assert "conv 176, 1x1" in optimized.read_text()
    assert "conv 176, 1x1" not in plain.read_text()
    assert status(["graph", *model, "--optimized", "--format", "cnn"]) == 2


def test_training_within_memory_ends_in_the_same_weights(tmp_path: Path, capsys) -> None:
    path = tmp_path / "m.cnn"
    unit = "conv 8, 3x3 -> bn -> relu"
    path.write_text(f"model m {{ input 8x8x1 -> {unit} -> {unit} -> {unit} -> fc 10 }}\n")
    free = told([str(path), "--for", "training", "--batch", "32"], capsys)["after"]["peak_bytes"]
    runs = {"free": [], "tight": ["--memory", f"{int(0.95 * free)}B"]}
    weights = []
    for name, more in runs.items():
        train = ["run", str(path), "--train", "digits", "--epochs", "1", *more]
        assert status([*train, "--out", str(tmp_path / name)]) == 0
        weights.append(load_file(tmp_path / name / "checkpoints" / "last.safetensors"))
    assert weights[0].keys() == weights[1].keys()
    for name, array in weights[0].items():
        np.testing.assert_array_equal(array, weights[1][name], err_msg=name)


@pytest.mark.parametrize(("engine", "merged"), [("numpy", True), ("onednn", False)])
def test_siblings_stay_apart_on_an_engine_that_copies_slices(
    engine: str, merged: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    if (reason := Engine().unavailable()) and engine == "onednn":
        pytest.skip(reason)
    words = ["optimize", zoo("googlenet.cnn"), *GOOGLENET, "--backend", engine]
    assert status(words) == 0
    text = capsys.readouterr().out
    assert ("merge_siblings fired" in text) == merged
    assert ("merge_siblings not run: the onednn engine copies slices" in text) != merged
    assert status([*words, "--passes", "merge_siblings"]) == 0
    assert "merge_siblings fired" in capsys.readouterr().out
