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
    return {name: program.read(name) for name in program.states if name not in SCALING}


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
    before = {n: v for n, v in read(program).items() if not n.endswith(("mean", "variance"))}
    program.run()
    after = read(program)
    for name, value in before.items():
        np.testing.assert_array_equal(after[name], value, err_msg=name)
    assert np.isfinite(program.read("loss"))
    assert program.read("loss_scale") == 2.0**39
    assert program.read("finite_steps") == 0


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
