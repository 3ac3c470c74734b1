"""Slices and concats without copies, and states side by side."""

from __future__ import annotations

import numpy as np

from cnndsl.backends import get_backend
from cnndsl.compile import (
    Objective,
    compile_inference,
    compile_training,
    elaborate_text,
    training_graph,
)
from cnndsl.graph.graph import Graph
from cnndsl.runtime.lower import lower
from cnndsl.runtime.program import Program

ENGINE = get_backend("numpy")
INCEPTION = (
    "model m { input 8x8x4 -> concat { | conv 3, 1x1 -> tanh | conv 5, 3x3 -> tanh"
    " | conv 2, 5x5 -> tanh } -> maxpool 2x2, /2 -> fc 3 }"
)
SIBLINGS = (
    "model m { input 8x8x4 -> concat { | conv 3, 1x1 -> bn -> tanh | conv 5, 1x1 -> bn -> tanh }"
    " -> fc 3 }"
)


def words(program: Program) -> list[str]:
    return [step.text.split()[0] for step in program.steps]


def plain(graph: Graph) -> Program:
    return lower(graph, ENGINE, 2)


def test_parts_of_a_concat_are_computed_in_place() -> None:
    assert "concat" not in words(plain(elaborate_text(INCEPTION)))


def test_what_a_concat_cannot_hold_is_copied() -> None:
    text = "model m { input 4x4x2 as a -> relu as b -> concat { | identity | from a | from b } }"
    program = plain(elaborate_text(text))
    assert words(program).count("concat") == 1
    random = np.random.default_rng(0).normal(size=(2, 4, 4, 2)).astype(np.float32)
    program.write("image", random)
    program.run()
    positive = np.maximum(random, 0)
    expected = np.concatenate([positive, random, positive], axis=-1)
    np.testing.assert_array_equal(program.read("logits"), expected)


def test_a_slice_is_no_kernel() -> None:
    program = plain(elaborate_text("model m { input 4x4x6 -> relu -> slice 2..5 -> tanh }"))
    assert words(program) == ["relu", "tanh"]


def test_states_side_by_side_keep_their_names_and_share_an_array() -> None:
    graph = elaborate_text(SIBLINGS)
    program = compile_training(graph, Objective(), ENGINE, 2)
    apart = lower(training_graph(graph, Objective(), ()), ENGINE, 2)
    assert program.states.keys() == apart.states.keys()
    assert {n: s.type for n, s in program.states.items()} == {
        n: s.type for n, s in apart.states.items()
    }
    first, second = program.states["conv1.weight"].array, program.states["conv2.weight"].array
    assert first.base is second.base
    assert words(program).count("sgd") < words(apart).count("sgd")
    assert words(program).count("running_average") == 2


def test_evaluation_reads_states_that_stand_side_by_side() -> None:
    graph = elaborate_text(SIBLINGS)
    training = compile_training(graph, Objective(), ENGINE, 2)
    evaluation = compile_inference(graph, ENGINE, 2, training.states)
    alone = compile_inference(graph, ENGINE, 2)
    random = np.random.default_rng(0)
    for name, slot in training.states.items():
        values = random.uniform(0.5, 1.5, slot.type.concrete())
        training.write(name, values)
        if name in alone.states:
            alone.write(name, values)
    image = random.normal(size=(2, 8, 8, 4))
    for program in (evaluation, alone):
        program.write("image", image)
        program.run()
    np.testing.assert_allclose(evaluation.read("logits"), alone.read("logits"), rtol=1e-5)
