"""float16 between layers: gradients of a scaled loss, and steps that are skipped."""

from __future__ import annotations

import numpy as np
import pytest
from comparing import ENGINE, REFERENCE, assert_agree, fill
from test_onednn import chain

from cnndsl.backends.cuda import simulated, simulator
from cnndsl.cli import status
from cnndsl.compile import Objective, compile_training
from cnndsl.ops.optimizer import SGD, AdamW
from cnndsl.resources import resource
from cnndsl.runtime.program import Program

SIMULATED = simulated.Engine()
ENGINES = [
    REFERENCE,
    pytest.param(
        ENGINE,
        marks=pytest.mark.skipif(bool(ENGINE.unavailable()), reason=ENGINE.unavailable() or ""),
    ),
    pytest.param(
        SIMULATED,
        marks=[
            pytest.mark.gate,
            pytest.mark.skipif(bool(simulator.unavailable()), reason=simulator.unavailable() or ""),
        ],
    ),
]
NAMED = pytest.mark.parametrize("engine", ENGINES, ids=lambda engine: engine.name)
#: What a skipped step computes on the way.
OVERFLOW = pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
TEXT = "input 8x8x16 -> conv 16, 3x3 -> bn -> relu -> conv 8, 3x3 -> relu -> fc 4"
SCALING = ("loss_scale", "finite_steps")


def prepared(engine, optimizer=None, scale: float = 1024.0, finite: float = 0.0) -> Program:
    """A step in float16 with the numbers of one in float32."""
    optimizer = optimizer or SGD(momentum=0.9)
    plain = in_float32(optimizer)
    objective = Objective(optimizer=optimizer, precision="float16")
    program = compile_training(chain(TEXT), objective, engine, 4)
    for name, slot in (plain.inputs | plain.states).items():
        program.write(name, REFERENCE.download(slot.array, slot.type))
    for name, value in zip(SCALING, (scale, finite), strict=True):
        program.write(name, np.float32(value))
    return program


def in_float32(optimizer) -> Program:
    program = compile_training(chain(TEXT), Objective(optimizer=optimizer), REFERENCE, 4)
    fill(program)
    return program


def read(program: Program) -> dict[str, np.ndarray]:
    watched = (*SCALING, "tally")
    return {name: program.read(name) for name in program.states if name not in watched}


@NAMED
@pytest.mark.parametrize("optimizer", [SGD(momentum=0.9), SGD(), AdamW()])
def test_a_step_is_that_of_float32(optimizer, engine) -> None:
    expected, found = in_float32(optimizer), prepared(engine, optimizer)
    expected.run()
    found.run()
    tolerance = 2e-2 if isinstance(optimizer, SGD) else 0.2  # Adam's first step is a sign
    assert_agree(read(found), read(expected), tolerance)
    assert abs(found.read("loss") - expected.read("loss")) < 1e-2 * abs(expected.read("loss"))
    assert found.read("finite_steps") == 1


@OVERFLOW
@NAMED
def test_gradients_that_overflow_skip_the_step_and_halve_the_scale(engine) -> None:
    program = prepared(engine, scale=2.0**40, finite=7)
    before = read(program)
    program.run()
    after = read(program)
    for name, value in before.items():
        np.testing.assert_array_equal(after[name], value, err_msg=name)
    assert np.isfinite(program.read("loss"))
    assert program.read("loss_scale") == 2.0**39
    assert program.read("finite_steps") == 0


@OVERFLOW
@NAMED
@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_a_loss_that_is_not_finite_changes_nothing_from_then_on(precision, engine) -> None:
    objective = Objective(optimizer=SGD(momentum=0.9), precision=precision)
    program = compile_training(chain(TEXT), objective, engine, 4)
    fill(program)
    program.write("tally", np.zeros(4, np.float32))
    program.run()
    loss = program.read("loss")
    np.testing.assert_allclose(program.read("tally")[[0, 3]], (loss, 1), rtol=1e-6)
    before = read(program)
    bias = before["fc1.bias"]
    program.write("fc1.bias", np.full_like(bias, np.nan))
    program.run()
    program.write("fc1.bias", bias)
    program.run()
    assert np.isfinite(program.read("loss"))
    assert np.isnan(program.read("tally")[0])
    assert program.read("tally")[3] == 1
    for name, value in read(program).items():
        np.testing.assert_array_equal(value, before[name], err_msg=name)


@NAMED
def test_a_sum_of_losses_is_not_rounded_away(engine) -> None:
    program = prepared(engine)
    program.write("tally", np.array([2.0**25, 0, 0, 0], np.float32))
    losses = []
    for _ in range(5):
        program.run()
        losses.append(float(program.read("loss")))
    total, lost, *_ = program.read("tally").astype(np.float64)
    np.testing.assert_allclose(total - lost - 2.0**25, sum(losses), rtol=1e-6)


@NAMED
@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("most", [0.25, 1e6])
def test_gradients_are_clipped_by_the_norm_of_all(most: float, precision: str, engine) -> None:
    """With a rate of 1 and no momentum a step is the gradient."""
    norms = {}
    for clip in (None, most):
        objective = Objective(optimizer=SGD(), precision=precision, clip=clip)
        program = compile_training(chain(TEXT), objective, engine, 4)
        fill(program)
        program.write("learning_rate", 1.0)
        if precision == "float16":
            program.write("loss_scale", 1024.0)
        trained = [n for n in program.states if n.endswith(("weight", "bias", "gamma", "beta"))]
        before = {name: program.read(name) for name in trained}
        program.run()
        changes = {name: before[name] - program.read(name) for name in trained}
        norms[clip] = np.sqrt(sum(np.sum(np.square(c, dtype=np.float64)) for c in changes.values()))
    assert norms[None] > 0.5
    np.testing.assert_allclose(norms[most], min(most, norms[None]), rtol=1e-3)


@NAMED
def test_two_thousand_finite_steps_double_the_scale(engine) -> None:
    program = prepared(engine, scale=64.0, finite=1998)
    for scale, steps in ((64, 1999), (128, 0), (128, 1)):
        program.run()
        assert (program.read("loss_scale"), program.read("finite_steps")) == (scale, steps)


def test_small_gradients_are_lost_without_a_scale_and_kept_with_one() -> None:
    """Behind weights of 2^-24 they are smaller than the least number of float16, which is that."""
    changes = []
    for scale in (1.0, 2.0**16):
        program = prepared(REFERENCE, SGD(), scale=scale)
        program.write("fc1.weight", 2.0**-24 * np.sign(program.read("fc1.weight")))
        before = program.read("conv2.weight")
        program.run()
        changes.append(np.abs(program.read("conv2.weight") - before).max())
    assert changes[0] == 0
    assert changes[1] > 0


def test_lenet_learns_in_float16_from_the_command_line(tmp_path, capsys) -> None:
    lenet = str(resource("zoo") / "lenet.cnn")
    words = [lenet, "--train", "digits", "--epochs", "3", "--precision", "fp16"]
    assert status(["run", *words, "--out", str(tmp_path / "run")]) == 0
    accuracy = float(capsys.readouterr().out.split("test accuracy ")[1].split("%")[0])
    assert accuracy > 85
