"""Recomputation keeps to a budget of memory and changes no number."""

from __future__ import annotations

import numpy as np
import pytest

from cnndsl.backends import get_backend
from cnndsl.compile import (
    Objective,
    compile_training,
    elaborate_file,
    elaborate_text,
    keep_to,
    training_graph,
)
from cnndsl.diagnostics import CnndslError
from cnndsl.graph.check import verify
from cnndsl.graph.graph import Graph
from cnndsl.passes import FOR_TRAINING
from cnndsl.resources import resource
from cnndsl.runtime.lower import lower, planned_bytes
from cnndsl.runtime.program import Program
from cnndsl.runtime.recompute import recompute
from cnndsl.training.initialise import Initialisation, initial_states

ENGINE = get_backend("numpy")
BATCH = 4


def network(file: str, name: str, **parameters: int | str) -> Graph:
    return elaborate_file(resource("zoo") / file, name, parameters=parameters).graph


def densenet() -> Graph:
    return network("densenet.cnn", "cifar_densenet", n=6)


def plain_bytes(graph: Graph) -> int:
    return planned_bytes(training_graph(graph, Objective(), ()), ENGINE, BATCH)[0]


def three_steps(program: Program, graph: Graph, classes: int = 10) -> dict[str, np.ndarray]:
    states = initial_states(graph, Initialisation(), 0)
    for name, slot in program.states.items():
        program.write(name, states.get(name, np.zeros(slot.type.concrete())))
    program.write("learning_rate", 0.05)
    random = np.random.default_rng(0)
    for _ in range(3):
        program.write("image", random.normal(size=program.inputs["image"].type.concrete()))
        program.write("labels", random.integers(0, classes, BATCH))
        program.run()
    return {name: program.read(name) for name in (*program.outputs, *program.states)}


@pytest.mark.parametrize(
    ("file", "name"), [("densenet.cnn", "cifar_densenet"), ("resnet.cnn", "resnet20")]
)
def test_a_step_keeps_to_its_memory_with_the_same_numbers(file: str, name: str) -> None:
    graph = network(file, name, n=6 if name == "cifar_densenet" else 2)
    free = compile_training(graph, Objective(), ENGINE, BATCH)
    budget = int(0.8 * free.arena_bytes)
    tight = compile_training(graph, Objective(memory=budget), ENGINE, BATCH)
    assert tight.arena_bytes <= budget < free.arena_bytes
    assert len(tight.steps) > len(free.steps)
    first, second = three_steps(free, graph), three_steps(tight, graph)
    assert first.keys() == second.keys()
    for key, array in first.items():
        np.testing.assert_array_equal(array, second[key], err_msg=key)


def test_densenet_learns_in_half_of_the_memory() -> None:
    graph = densenet()
    budget = plain_bytes(graph) // 2
    assert compile_training(graph, Objective(memory=budget), ENGINE, BATCH).arena_bytes <= budget


@pytest.mark.parametrize(
    "body",
    [
        "conv 8, 3x3 -> relu -> avgpool 2x2, /2",
        "conv 8, 3x3 -> groupnorm 4 -> relu -> conv 8, 3x3 -> layernorm -> gelu",
        "conv 8, 3x3 -> bn -> relu -> gate { avgpool global -> conv 8, 1x1 -> sigmoid }",
        "conv 8, 3x3 -> lrn 5 -> conv 8, 3x3 -> silu -> dropout 0.5",
    ],
)
def test_whatever_can_be_recomputed_is_the_same(body: str) -> None:
    graph = elaborate_text(f"model m {{ input 6x6x4 -> {body} -> conv 8, 3x3 -> fc 3 }}")
    free = training_graph(graph, Objective(), FOR_TRAINING, ENGINE.fusions)
    tight = free.copy()
    recompute(tight, ENGINE, BATCH, 0)
    assert len(tight) > len(free)
    first, second = (three_steps(lower(each, ENGINE, BATCH), graph, 3) for each in (free, tight))
    for key, array in first.items():
        np.testing.assert_array_equal(array, second[key], err_msg=key)


def test_what_the_backward_pass_does_not_read_is_not_made_again() -> None:
    body = "conv 8, 3x3 -> relu as a -> maxpool 3x3, /1, pad=1 -> add { | identity | from a }"
    graph = elaborate_text(f"model m {{ input 6x6x4 -> {body} -> conv 8, 3x3 -> fc 3 }}")
    step = training_graph(graph, Objective(), FOR_TRAINING, ENGINE.fusions)
    before = len(step)
    recompute(step, ENGINE, BATCH, 0)
    assert len(step) == before


def test_no_more_is_recomputed_than_is_needed() -> None:
    graph = training_graph(densenet(), Objective(), FOR_TRAINING, ENGINE.fusions)
    needed = planned_bytes(graph, ENGINE, BATCH)[0]
    counts = []
    for share in (1.0, 0.9, 0.7):
        changed = graph.copy()
        keep_to(changed, ENGINE, BATCH, int(share * needed))
        verify(changed, "recompute")
        counts.append(len(changed))
    assert len(graph) == counts[0] < counts[1] < counts[2]


def test_memory_that_is_too_little_is_told() -> None:
    with pytest.raises(CnndslError) as caught:
        compile_training(densenet(), Objective(memory=1000), ENGINE, BATCH)
    assert caught.value.diagnostics[0].code == "C0203"
