"""The whole path in seconds: text, graph, program, training, command line. Runs first."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

import cnndsl
from cnndsl.cli import status

TINY = """
model tiny(classes = 4) {
    input 8x8x1
    conv 8, 3x3 -> bn -> relu
    residual { conv 8, 3x3 -> bn -> relu -> conv 8, 3x3 -> bn }
    relu -> maxpool 2x2, /2
    dropout 0.1
    fc classes
}

train tiny {
    batch       16
    epochs      6
    optimizer   sgd, lr=0.05, momentum=0.9
}

expect tiny { depth == 4 }
"""


def test_a_text_becomes_a_trained_network(tmp_path: Path) -> None:
    model = tmp_path / "tiny.cnn"
    model.write_text(TINY)
    out = tmp_path / "run"
    command = ["run", str(model), "--train", "digits", "--out", str(out)]
    assert status(command) == 0
    result = json.loads((out / "result.json").read_text())
    assert result["test_accuracy"] > 0.9
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2, 3, 4, 5, 6]
    assert lines[-1]["loss"] < lines[0]["loss"]


def test_a_compiled_model_is_callable_on_arrays(tmp_path: Path) -> None:
    path = tmp_path / "tiny.cnn"
    path.write_text(TINY)
    compiled = cnndsl.load(path).compile(batch=3)
    images = np.random.default_rng(0).standard_normal((3, 8, 8, 1)).astype(np.float32)
    logits = compiled(images)
    assert logits.shape == (3, 4)
    weights = compiled.weights
    weights["fc1.bias"] = weights["fc1.bias"] + 1
    compiled.weights = weights
    np.testing.assert_allclose(compiled(images), logits + 1, rtol=1e-5)
    two = compiled(images[:2])
    np.testing.assert_allclose(two, logits[:2] + 1, rtol=1e-5)
    many = compiled(np.concatenate([images, images[:2]]))
    np.testing.assert_allclose(many, np.concatenate([logits, logits[:2]]) + 1, rtol=1e-5)
    compiled.weights = {**weights, "fc1.bias": weights["fc1.bias"] + 1}
    np.testing.assert_allclose(compiled(images[:2]), two + 1, rtol=1e-5)


def test_a_mistake_is_reported_where_it_stands(tmp_path: Path, capsys) -> None:
    path = tmp_path / "wrong.cnn"
    path.write_text("model m {\n    input 8x8x1\n    residual { conv 4, 3x3 }\n    fc 2\n}\n")
    assert status(["check", str(path)]) == 1
    shown = capsys.readouterr().err
    assert "error[E0203]" in shown
    assert "wrong.cnn:3:5" in shown
    assert "residual project" in shown
