"""The engine `cuda` with stand-ins for CuPy and cuDNN: what it would do with a GPU."""

from __future__ import annotations

import sys

import fake_cupy
import numpy as np
import pytest

from cnndsl.backends import get_backend
from cnndsl.backends.cuda import cudnn_library, gpu, simulator
from cnndsl.compile import (
    Objective,
    compile_inference,
    compile_training,
    elaborate_text,
    largest_batch,
)
from cnndsl.diagnostics import CnndslError
from cnndsl.ops.optimizer import SGD
from cnndsl.runtime.profile import profile

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


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> gpu.Engine:
    monkeypatch.setitem(sys.modules, "cupy", fake_cupy.module())
    monkeypatch.setattr(gpu, "Plans", fake_cupy.Plans)
    monkeypatch.setattr(gpu, "MOST_SCRATCH", 4096)
    monkeypatch.setattr(cudnn_library, "unavailable", lambda: None)
    fake_cupy.launched.clear()
    made = gpu.Engine()
    assert made.unavailable() is None
    return made


def written(program):
    for number, (name, slot) in enumerate(sorted((program.states | program.inputs).items())):
        random = np.random.default_rng(number)
        shape = slot.type.concrete()
        values = random.uniform(0.5, 1.5, shape) if slot.type.dtype == "float32" else np.ones(shape)
        program.write(name, values.astype(slot.type.dtype))
    return program


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_steps_are_those_of_the_reference_before_and_after_they_are_captured(
    engine, precision: str
) -> None:
    graph = elaborate_text(TEXT)
    objective = Objective(optimizer=SGD(momentum=0.9), precision=precision)
    found, expected = (
        written(compile_training(graph, objective, each, 4))
        for each in (engine, get_backend("numpy"))
    )
    for _ in range(3):
        found.run()
        expected.run()
        for name in ("loss", *found.states):
            tolerance = {"float32": 1e-4, "bfloat16": 3e-2}[precision]
            here, there = found.read(name), expected.read(name)
            assert here.dtype == there.dtype
            assert here.shape == there.shape
            np.testing.assert_allclose(
                np.linalg.norm(here.astype(np.float64) - there),
                0,
                atol=tolerance * max(1, np.linalg.norm(there.astype(np.float64))),
            )
    assert len(fake_cupy.launched) == 4, "two graphs a step, from the second step on"


def test_a_step_whose_loss_is_no_number_writes_no_state(engine) -> None:
    graph = elaborate_text(TEXT)
    program = written(compile_training(graph, Objective(), engine, 4))
    before = {name: program.read(name) for name in program.states}
    program.run(lambda: False)
    for name, value in before.items():
        np.testing.assert_array_equal(program.read(name), value)


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


def test_plans_are_tuned_once(engine) -> None:
    graph = elaborate_text(TEXT)
    compile_inference(graph, engine, 3)
    tuned = dict(engine._plans.tuned)
    compile_inference(graph, engine, 3)
    assert engine._plans.tuned == tuned
    assert len(tuned) == 3
