"""The engine `cuda` with stand-ins for CuPy and cuDNN: what it would do with a GPU."""

from __future__ import annotations

import json

import fake_cupy
import numpy as np
import pytest

from cnndsl.backends import get_backend
from cnndsl.backends.cuda import cudnn_library, gpu, simulated, simulator, staging
from cnndsl.compile import (
    Objective,
    compile_inference,
    compile_training,
    elaborate_text,
    largest_batch,
)
from cnndsl.data import feeds
from cnndsl.data.dataset import Dataset, Split
from cnndsl.data.preprocess import preprocessing_for
from cnndsl.diagnostics import CnndslError, Source
from cnndsl.frontend.elaborate import elaborate
from cnndsl.frontend.library import load_text
from cnndsl.ops.optimizer import SGD
from cnndsl.runtime.profile import profile
from cnndsl.training.recipe import recipe_of
from cnndsl.training.session import Fitted
from cnndsl.training.session import train as train_fitted

pytestmark = [
    pytest.mark.gate,
    pytest.mark.skipif(simulator.unavailable() is not None, reason=str(simulator.unavailable())),
]

TEXT = """model small {
    input 8x8x16
    conv 16, 3x3 -> bn -> relu as a
    concat { | conv 8, 1x1, bias=true | from a -> maxpool 3x3, /1, pad=1 }
    dropout 0.25
    fc 4
}"""


def written(program):
    for number, (name, slot) in enumerate(sorted((program.states | program.inputs).items())):
        random = np.random.default_rng(number)
        shape = slot.type.concrete()
        values = random.uniform(0.5, 1.5, shape) if slot.type.dtype == "float32" else np.ones(shape)
        program.write(name, values.astype(slot.type.dtype))
    return program


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_steps_are_those_of_the_simulated_engine_before_and_after_they_are_captured(
    engine, precision: str
) -> None:
    graph = elaborate_text(TEXT)
    objective = Objective(optimizer=SGD(momentum=0.9), precision=precision)
    found, expected = (
        written(compile_training(graph, objective, each, 4))
        for each in (engine, simulated.Engine())
    )
    for _ in range(3):
        found.run()
        expected.run()
        for name in ("loss", *found.states):
            np.testing.assert_array_equal(found.read(name), expected.read(name), strict=True)
    assert len(fake_cupy.launched) == 2, "one graph a step, from the second step on"


def test_a_step_whose_loss_is_no_number_writes_no_state(engine) -> None:
    graph = elaborate_text(TEXT)
    program = written(compile_training(graph, Objective(), engine, 4))
    program.write("fc1.bias", np.full(4, np.nan))
    before = {name: program.read(name) for name in program.states}
    for _ in range(3):
        program.run()
        assert np.isnan(program.read("tally")[0])
        for name in before.keys() - {"tally"}:
            np.testing.assert_array_equal(program.read(name), before[name])


@pytest.mark.parametrize("share", [1.0, 0.0], ids=["resident", "streamed"])
def test_training_prepares_images_on_the_device(
    engine, share: float, monkeypatch, tmp_path
) -> None:
    """The network is trained as it is by the engine that is given images, and evaluated too."""
    monkeypatch.setattr(feeds, "RESIDENT_SHARE", share)
    monkeypatch.setattr(staging, "SMALL", 256)
    random = np.random.default_rng(3)
    train, test = (
        Split(
            random.integers(0, 256, (count, 8, 8, 3), dtype=np.uint8),
            np.arange(count, dtype=np.int64) % 3,
        )
        for count in (30, 11)
    )
    data = Dataset("drawn", train, test, ("a", "b", "c"), (0.5, 0.4, 0.6), (0.3, 0.2, 0.3))
    network = elaborate(load_text(Source("text", RECIPE)))
    fitted = Fitted(network, data, preprocessing_for(data, (8, 8), 3), recipe_of(network))
    metrics = []
    for each in (engine, get_backend("numpy")):
        out = tmp_path / each.name
        result, trainer = train_fitted(fitted, each, out)
        lines = (out / "metrics.jsonl").read_text().splitlines()
        metrics.append([(m["loss"], m["accuracy"]) for m in map(json.loads, lines)])
        metrics[-1].append((result.test_loss, result.test_accuracy))
        given = trainer.program.inputs
        if each is engine:
            assert given["chosen"].type.shape[1] == 4
            assert given["pixels"].type.dtype == "uint8"
            assert given["pixels"].type.concrete()[0] == (len(trainer.loader) if share else 8)
        else:
            assert "image" in given
    np.testing.assert_allclose(*metrics, rtol=1e-4)


RECIPE = """model small {
    input 8x8x3
    conv 8, 3x3 -> bn -> relu
    avgpool global
    fc 3
}
train small {
    batch 8
    epochs 2
    augment pad 2, flip
    optimizer sgd, lr=0.05, momentum=0.9
}"""


def test_what_is_written_is_read_whatever_the_order_in_memory(engine) -> None:
    program = compile_inference(elaborate_text(TEXT), engine, 3)
    for name, slot in program.states.items():
        shape = slot.type.concrete()
        value = np.random.default_rng(0).normal(size=shape).astype(slot.type.dtype)
        program.write(name, value)
        np.testing.assert_array_equal(program.read(name), value)
    with pytest.raises(ValueError, match="shape"):
        program.write("image", np.zeros((2, 8, 8, 16), np.float32))


def test_steps_are_timed_by_events(engine) -> None:
    program = written(compile_inference(elaborate_text(TEXT), engine, 3))
    timings = profile(program, repeats=2)
    assert {timing.seconds for timing in timings} == {0.001}


def test_without_cudnn_kernels_of_our_own_do_what_it_does(engine, monkeypatch) -> None:
    monkeypatch.setattr(cudnn_library, "unavailable", lambda: "it is not installed")
    assert engine.unavailable() is None
    graph = elaborate_text(TEXT)
    found, expected = (
        written(compile_inference(graph, each, 3)) for each in (engine, get_backend("numpy"))
    )
    assert any("gemm" in step.implementation for step in found.steps)
    assert not any("cudnn" in step.implementation for step in found.steps)
    for program in (found, expected):
        program.run()
    np.testing.assert_allclose(found.read("logits"), expected.read("logits"), rtol=1e-4)


def test_peaks_are_those_of_a_product_and_a_copy(engine, monkeypatch) -> None:
    monkeypatch.setattr(gpu, "PEAK_SIZE", 8)
    monkeypatch.setattr(gpu, "PEAK_BYTES", 64)
    peaks = engine.peaks()
    assert peaks.operations == 2 * 8**3 / 0.001
    assert peaks.bytes == 2 * 64 / 0.001


def test_what_does_not_fit_is_refused_before_anything_is_allocated(engine, monkeypatch) -> None:
    monkeypatch.setattr(fake_cupy, "FREE", 10**6)
    graph = elaborate_text(TEXT)
    with pytest.raises(CnndslError, match=r"takes .* MB, which is more than is free"):
        compile_training(graph, Objective(), engine, 64)
    batch = largest_batch(graph, Objective(), engine, 64)
    assert 1 < batch < 64
    compile_training(graph, Objective(), engine, batch)


@pytest.mark.parametrize("slower", [False, True])
def test_what_is_slower_with_its_addend_is_done_apart(engine, slower, monkeypatch) -> None:
    """A copy of as many bytes takes next to nothing here."""
    monkeypatch.setattr(gpu.Engine, "_copied_bytes_per_second", 1e15)
    monkeypatch.setattr(fake_cupy.Plan, "seconds_added", 2e-3 if slower else 0.5e-3)
    graph = elaborate_text(
        "model m { input 8x8x8 -> add { | conv 8, 3x3 | maxpool 3x3, /1, pad=1 } -> relu -> fc 4 }"
    )
    found, expected = (
        written(compile_inference(graph, each, 3)) for each in (engine, get_backend("numpy"))
    )
    step = next(step for step in found.steps if "add" in step.text)
    assert step.implementation == ("cudnn + pointwise" if slower else "cudnn")
    for program in (found, expected):
        program.run()
    np.testing.assert_allclose(found.read("logits"), expected.read("logits"), rtol=1e-4)


def test_plans_are_tuned_once(engine) -> None:
    graph = elaborate_text(TEXT)
    compile_inference(graph, engine, 3)
    tuned = dict(engine._plans.tuned)
    compile_inference(graph, engine, 3)
    assert engine._plans.tuned == tuned
    assert len(tuned) == 3
