"""`cnndsl kernels`, and engines that cannot run here, as a user meets them."""

from __future__ import annotations

import pytest

from cnndsl import backends
from cnndsl.backends import get_backend
from cnndsl.backends.cuda import gpu
from cnndsl.cli import status
from cnndsl.diagnostics import CnndslError
from cnndsl.resources import resource

RESNET = str(resource("zoo") / "resnet.cnn") + ":resnet20"
LENET = str(resource("zoo") / "lenet.cnn")


def told(words: list[str], capsys: pytest.CaptureFixture[str], expected: int = 0) -> str:
    capsys.readouterr()
    assert status(["kernels", *words]) == expected
    found = capsys.readouterr()
    return found.out if expected == 0 else found.err


def test_a_training_step_has_a_kernel_for_all_that_cudnn_does_not_do(capsys) -> None:
    *rows, sums = told([RESNET, "--for", "training", "--batch", "512"], capsys).splitlines()
    launches, kernels, calls = (int(word) for word in sums.split() if word.isdigit())
    assert len(rows) == 1 + launches + calls
    assert kernels < launches
    assert calls == 3 * 20 - 1
    named = {row.split()[1] for row in rows[1:]}
    assert {"pointwise", "columns", "column_totals", "cuDNN:"} <= named
    assert "cross_entropy_with_gradient" in named


def test_kernels_are_written_for_their_shapes(capsys) -> None:
    words = [RESNET, "--for", "training", "--batch", "4", "--source", "stage1.0.cifar_basic1.bn1"]
    text = told([*words, "--precision", "bf16"], capsys)
    assert " columns(PARAMETERS, float *partial)" in text
    assert "constexpr int CHANNELS = 32;" in text
    assert "const bfloat16 *x0" in text
    assert "const float *x0" in told(words, capsys)


def test_in_tf32_products_may_be_rounded_and_nothing_else_changes(capsys) -> None:
    words = [LENET, "--for", "training", "--batch", "4", "--precision"]
    exact, rounded = (told([*words, precision], capsys) for precision in ("f32", "tf32"))
    calls = exact.count("cuDNN: ")
    assert rounded.count(", float32 in tf32") == calls > 0
    assert rounded.replace(" in tf32", "") == exact
    assert "tf32" not in told([*words, "bf16"], capsys)


def test_what_is_done_to_all_weights_is_a_launch_that_says_how_many_they_are(capsys) -> None:
    words = [RESNET, "--for", "training", "--batch", "4", "--precision", "bf16"]
    many = [row for row in told(words, capsys).splitlines() if " more  " in row]
    kernels = [row.split(" more ")[1].split()[0] for row in many]
    assert kernels[:2] == ["cast_together", "running_average_together"]
    assert kernels[2:] == ["sgd_together"] * 2, "of weights, and of biases and norms"
    source = told([*words, "--source", many[0].split("  ")[0]], capsys)
    assert "void __launch_bounds__(256, 6)\nENTRY(" in source


def test_a_layer_without_a_kernel_is_a_usage_error(capsys) -> None:
    said = told([RESNET, "--source", "conv9"], capsys, expected=2)
    assert "no kernel is of a layer 'conv9'" in said


@pytest.mark.skipif(gpu.Engine().unavailable() is None, reason="there is a GPU")
def test_without_a_gpu_the_engine_says_why_in_a_sentence(capsys) -> None:
    with pytest.raises(CnndslError, match="the cuda engine cannot run here") as problem:
        get_backend("cuda")
    assert problem.value.status == 1
    assert status(["run", RESNET, "--backend", "cuda"]) == 1
    assert "Traceback" not in capsys.readouterr().err


def test_a_gpu_is_looked_for_where_there_is_a_driver(monkeypatch) -> None:
    looked = []
    monkeypatch.setattr(gpu.Engine, "unavailable", lambda engine: looked.append(1) or "no")
    monkeypatch.setattr(backends, "_may_have_gpu", lambda: False)
    assert get_backend().name != "cuda"
    assert not looked
    monkeypatch.setattr(backends, "_may_have_gpu", lambda: True)
    assert get_backend().name != "cuda"
    assert looked
