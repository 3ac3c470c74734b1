"""Every command as a person types it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file

from cnndsl.backends import get_backend
from cnndsl.cli import COMMANDS, status
from cnndsl.data import load
from cnndsl.resources import resource

SMALL = """model small(classes = 10) {
    input 8x8x1
    conv 8, 3x3 -> bn -> relu
    maxpool 2x2, /2
    fc classes
}

train small {
    data      digits
    batch     32
    epochs    3
    optimizer sgd, lr=0.05, momentum=0.9
}
"""


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("small.cnn").write_text(SMALL)


@pytest.fixture
def trained() -> Path:
    assert status(["run", "small.cnn", "--train", "digits", "--out", "run"]) == 0
    return Path("run")


def test_a_run_leaves_its_folder(capsys) -> None:
    trained = Path("run")
    assert status(["run", "small.cnn", "--train", "digits", "--out", "run"]) == 0
    shown = capsys.readouterr().out
    assert "epoch   1/3" in shown
    assert "test accuracy" in shown
    result = json.loads((trained / "result.json").read_text())
    assert {
        "test_accuracy",
        "seconds",
        "images_per_second",
        "parameters",
        "seed",
        "backend",
    } <= set(result)
    assert result["backend"] == get_backend().name
    assert len((trained / "metrics.jsonl").read_text().splitlines()) == 3
    assert {p.name for p in (trained / "checkpoints").iterdir()} == {
        "last.safetensors",
        "best.safetensors",
    }


def test_evaluation_gives_the_runs_own_accuracy(trained: Path, capsys) -> None:
    expected = json.loads((trained / "result.json").read_text())["test_accuracy"]
    capsys.readouterr()
    assert status(["run", "small", "--eval", "digits", "--weights", "run"]) == 0
    assert f"accuracy {expected:.2%}" in capsys.readouterr().out


def test_prediction_names_what_is_on_an_image(trained: Path, capsys) -> None:
    split = load("digits").test
    files = []
    for i in range(20):
        files.append(f"{i}.png")
        Image.fromarray(split.images[i, :, :, 0]).resize((31, 17)).save(files[-1])
    capsys.readouterr()
    assert status(["run", "small", "--predict", *files, "--weights", "run"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[::6] == files
    best = [line.split()[-1] for line in lines[1::6]]
    hits = sum(a == str(b) for a, b in zip(best, split.labels[:20], strict=True))
    assert hits >= 12
    assert sum(float(line.split("%")[0]) for line in lines[1:6]) <= 100.1


def test_a_run_without_a_mode_prints_times(trained: Path, capsys) -> None:
    capsys.readouterr()
    assert status(["run", "small", "--batch", "3"]) == 0
    assert "output (3, 10)" in capsys.readouterr().out
    assert status(["run", "small", "--weights", "run"]) == 0


def test_classes_come_from_the_data_and_are_said(capsys) -> None:
    generator = np.random.default_rng(0)
    images = generator.integers(0, 255, (40, 8, 8)).astype(np.uint8)
    np.savez("mine.npz", images=images, labels=np.arange(40) % 4)
    assert status(["run", "small.cnn", "--train", "npz:mine.npz", "--epochs", "1"]) == 0
    shown = capsys.readouterr()
    assert "classes = 4" in shown.err
    assert "runs/small-mine" in shown.out
    assert status(["run", "small", "--eval", "npz:mine.npz", "--weights", _only_run()]) == 0


def _only_run() -> str:
    (found,) = Path("runs").iterdir()
    return str(found)


def test_the_summary_is_machine_readable(capsys) -> None:
    assert status(["summary", "zoo/lenet.cnn", "--format", "json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert {"model", "input", "parameters", "multiply_adds", "activation_bytes", "layers"} <= set(
        facts
    )
    assert facts["parameters"] == 61_706
    assert sum(layer["parameters"] for layer in facts["layers"]) == 61_706
    assert facts["layers"][1] == {
        "name": "conv1",
        "layer": "conv 6, 5x5, pad=0",
        "output": "28x28x6",
        "parameters": 156,
        "multiply_adds": 117_600,
        "activation_bytes": 4 * 28 * 28 * 6,
        "receptive_field": "5x5",
    }


def test_the_summary_is_a_table_with_totals(capsys) -> None:
    assert status(["summary", "googlenet"]) == 0
    shown = capsys.readouterr().out
    assert "13,378,280" in shown
    assert "1,582,671,872" in shown
    assert "side heads       6,379,728" in shown


def test_settings_and_input_change_a_model(capsys) -> None:
    arguments = ["resnet:resnet50", "--set", "classes=7", "--input", "160x160x3"]
    assert status(["check", *arguments]) == 0
    assert "not checked" in capsys.readouterr().out
    assert status(["summary", *arguments, "--format", "json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["input"] == "160x160x3"
    assert facts["layers"][-1]["output"] == "7"


def test_fmt_checks_shows_and_writes(capsys) -> None:
    Path("ugly.cnn").write_text("model m{\r\n input 4x4x1\n\n\n  conv 3,3x3->relu # why\n}")
    assert status(["fmt", "--check", "ugly.cnn"]) == 1
    assert status(["fmt", "--diff", "ugly.cnn"]) == 1
    assert "+    conv 3, 3x3 -> relu" in capsys.readouterr().out
    assert status(["fmt", "ugly.cnn"]) == 0
    assert status(["fmt", "--check", "ugly.cnn", "small.cnn"]) == 0
    assert "# why" in Path("ugly.cnn").read_text()


def test_the_zoo_is_listed_shown_and_copied(capsys) -> None:
    assert status(["zoo", "list"]) == 0
    assert "resnet:resnet152" in capsys.readouterr().out
    assert status(["zoo", "show", "lenet"]) == 0
    assert capsys.readouterr().out == (resource("zoo") / "lenet.cnn").read_text()
    assert status(["zoo", "copy", "lenet", "mine.cnn"]) == 0
    assert status(["check", "mine.cnn:lenet"]) == 0
    assert status(["zoo", "copy", "lenet", "mine.cnn"]) == 2
    assert status(["zoo", "show", "lenett"]) == 2
    assert "did you mean `lenet`?" in capsys.readouterr().err


def test_the_reference_explains_every_word(capsys) -> None:
    from cnndsl.reference import entries

    assert status(["ops"]) == 0
    listing = capsys.readouterr().out
    for members in entries().values():
        for name in members:
            assert f"    {name} " in listing
            assert status(["ops", name]) == 0
            assert len(capsys.readouterr().out.strip()) > 20
    assert status(["ops", "cnov"]) == 2


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_helps_with_examples(command: str, capsys) -> None:
    assert status([command, "--help"]) == 0
    shown = capsys.readouterr().out
    assert "Examples:" in shown
    assert f"cnndsl {command}" in shown


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], 2),
        (["rnu"], 2),
        (["check"], 2),
        (["check", "nothing.cnn"], 1),
        (["check", "nothing"], 2),
        (["check", "small.cnn:smal"], 1),
        (["run", "small.cnn", "--train", "digits", "--eval", "digits"], 2),
        (["run", "small.cnn", "--train", "digitz"], 1),
        (["run", "small.cnn", "--train", "digits", "--batch", "0"], 2),
        (["run", "small.cnn", "--train", "digits", "--resume"], 2),
        (["run", "small.cnn", "--eval", "digits"], 2),
        (["run", "small.cnn", "--eval", "digits", "--epochs", "3"], 2),
        (["run", "small.cnn", "--predict", "a.png", "--batch", "3"], 2),
        (["run", "small.cnn", "--lr", "0.1"], 2),
        (["run", "small.cnn", "--data-dir", "."], 2),
        (["run", "small.cnn", "--eval", "digits", "--weights", "nothing"], 1),
        (["run", "small.cnn", "--predict", "nothing.png", "--weights", "small.cnn"], 1),
        (["run", "small.cnn", "--backend", "nmpy"], 2),
        (["run", "small.cnn", "--set", "classes"], 2),
        (["run", "small.cnn", "--set", "clases=3"], 2),
        (["run", "small.cnn", "--set", "classes=[1"], 1),
        (["run", "small.cnn", "--input", "8x8"], 2),
        (["run", "small.cnn", "--train", "digits", "--set", "classes=3"], 1),
        (["summary", "resnet"], 1),
        (["fmt", "nothing.cnn"], 1),
        (["graph", "small.cnn", "-o", "x.jpeg"], 2),
    ],
)
def test_bad_usage_is_told_without_a_traceback(arguments: list[str], expected: int, capsys) -> None:
    before = sorted(Path.cwd().iterdir())
    assert status(arguments) == expected
    shown = capsys.readouterr()
    assert shown.err.strip() or not arguments
    assert "Traceback" not in shown.err
    assert sorted(Path.cwd().iterdir()) == before


def test_weights_of_another_model_are_refused(trained: Path, capsys) -> None:
    Path("other.cnn").write_text(SMALL.replace("conv 8", "conv 9").replace("small", "other"))
    capsys.readouterr()
    assert status(["run", "other.cnn", "--eval", "digits", "--weights", "run"]) == 1
    assert "T0202" in capsys.readouterr().err


def test_training_goes_on_from_weights(trained: Path, capsys) -> None:
    arguments = ["run", "small", "--train", "digits", "--weights", "run", "--epochs", "0"]
    assert status([*arguments, "--out", "again"]) == 0
    first, second = (json.loads(Path(p, "result.json").read_text()) for p in ("run", "again"))
    assert first["test_accuracy"] == second["test_accuracy"]


def test_a_checkout_without_installation_runs(tmp_path: Path) -> None:
    root = Path(__file__).resolve().parents[2]
    for folder in ("cnndsl", "grammar", "zoo"):
        shutil.copytree(root / folder, tmp_path / "bare" / folder)
    code = "import sys; sys.path.insert(0, 'bare'); from cnndsl.cli import main; main()"
    command = [sys.executable, "-c", code, "check", "zoo/lenet.cnn"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    assert "lenet is right" in shown.stdout


def test_evaluation_never_sees_images_that_were_trained_on(capsys) -> None:
    generator = np.random.default_rng(0)
    images = generator.integers(0, 255, (200, 8, 8)).astype(np.uint8)
    np.savez("mine.npz", images=images, labels=np.arange(200) % 4)
    train = ["run", "small", "--train", "npz:mine.npz", "--seed", "7", "--out", "run"]
    assert status(train) == 0
    result = json.loads(Path("run", "result.json").read_text())
    capsys.readouterr()
    assert status(["run", "small", "--eval", "npz:mine.npz", "--weights", "run"]) == 0
    assert f"loss {result['test_loss']:.4f}" in capsys.readouterr().out


def test_side_heads_start_from_weights_too() -> None:
    text = SMALL.replace("    fc classes\n", "    aux 0.3 { fc 8 -> fc classes }\n    fc classes\n")
    Path("headed.cnn").write_text(text.replace("small", "headed"))
    run = ["run", "headed", "--train", "digits"]
    assert status([*run, "--epochs", "1", "--out", "first"]) == 0
    again = [*run, "--epochs", "0", "--seed", "3", "--weights", "first", "--out", "second"]
    assert status(again) == 0
    first, second = (
        load_file(Path(p, "checkpoints", "last.safetensors")) for p in ("first", "second")
    )
    assert any("fc2" in name for name in first)
    for name, array in first.items():
        if not name.endswith((".velocity", "tally")):
            np.testing.assert_array_equal(array, second[name], err_msg=name)
