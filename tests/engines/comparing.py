"""What tests of engines share: the same numbers given to programs of two engines."""

from __future__ import annotations

import numpy as np

from cnndsl.backends import get_backend, numpy
from cnndsl.compile import Objective, compile_inference, compile_training
from cnndsl.graph.graph import Graph
from cnndsl.ops.optimizer import SGD
from cnndsl.passes.gpu import short_bias
from cnndsl.runtime.program import Program

Arrays = dict[str, np.ndarray]

ENGINE = get_backend("onednn")
REFERENCE = get_backend("numpy")


class Rounding(numpy.Engine):
    """The reference with biases that are rounded to bfloat16, as they are for cuDNN."""

    fusions = (*numpy.Engine.fusions, short_bias)


def fill(program: Program, seed: int = 0) -> None:
    """The same random numbers by name, whatever the engine and its layouts."""
    for number, name in enumerate(sorted((*program.states, *program.inputs))):
        random = np.random.default_rng([seed, number])
        type = (program.inputs | program.states)[name].type
        shape = type.concrete()
        if name == "labels":
            values = np.arange(shape[0]) % 4
        elif type.dtype == "int64":
            values = np.ones(shape)
        elif name == "learning_rate":
            values = np.full(shape, 0.1)
        elif "moment" in name or "velocity" in name:
            values = np.zeros(shape)
        elif "variance" in name or "gamma" in name:
            values = random.uniform(0.5, 1.5, shape)
        else:
            values = random.normal(size=shape) * (1 if name == "image" else 0.2)
        program.write(name, values.astype(type.dtype))


def forward(
    graph: Graph, engine, batch: int = 3, states: Arrays | None = None
) -> tuple[Arrays, Program]:
    program = compile_inference(graph, engine, batch)
    fill(program)
    for name in program.states if states else ():
        program.write(name, states[name])
    program.run()
    return {"logits": program.read("logits")}, program


def step(
    graph: Graph, engine, batch: int = 4, objective: Objective | None = None
) -> tuple[Arrays, Program]:
    """The loss, and every state after one step."""
    objective = objective or Objective(optimizer=SGD(momentum=0.9, weight_decay=1e-3))
    program = compile_training(graph, objective, engine, batch)
    fill(program)
    program.run()
    names = ("loss", *program.states)
    return {name: program.read(name) for name in names}, program


def assert_agree(found: Arrays, expected: Arrays, tolerance: float) -> None:
    """Equal by norm; of a bias before a batch norm, whose gradient is 0, by the largest norm."""
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        difference = np.linalg.norm(value.astype(np.float64) - found[name])
        assert difference <= tolerance * max(np.linalg.norm(value), 1e-2 * value.size**0.5), name
