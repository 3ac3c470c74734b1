"""Lowering: order, shared arrays and memory change no number."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from cnndsl.backends import get_backend
from cnndsl.backends.numpy import Engine
from cnndsl.compile import (
    Objective,
    compile_inference,
    compile_training,
    elaborate_text,
    inference_graph,
    program_of,
    training_graph,
)
from cnndsl.graph.check import verify
from cnndsl.graph.graph import Graph
from cnndsl.graph.op import OPTIMIZERS
from cnndsl.graph.types import Type
from cnndsl.ops.scaling import Guarded
from cnndsl.runtime.kernel import Kernel
from cnndsl.runtime.program import Program
from cnndsl.runtime.schedule import schedule
from cnndsl.training.initialise import Initialisation, initial_states

BRANCHING = """
model m(classes = 3) {
    input 9x9x2
    conv 4, 3x3 -> bn -> relu as a
    residual project { conv 6, 3x3, /2 -> bn -> relu -> conv 6, 3x3 -> bn }
    relu
    concat { | conv 4, 1x1 -> relu | maxpool 3x3, /1, pad=1 | from a -> avgpool 2x2, /2, pad=1 }
    dense 2 { bn -> relu -> conv 2, 3x3 }
    gate { avgpool global -> conv 2, 1x1 -> relu -> conv channels_here, 1x1 -> sigmoid }
    aux 0.3 { avgpool global -> fc classes }
    dropout 0.3
    fc classes
}
""".replace("channels_here", "18")


class WithoutSharing(Engine):
    """The reference engine, every result in an array of its own."""

    def kernel(self, op: Any, inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Kernel:
        return replace(super().kernel(op, inputs, outputs), may_alias=())


def prepared(program: Program, graph: Graph) -> Program:
    states = initial_states(graph, Initialisation(), 1)
    for name, slot in program.states.items():
        shape = slot.type.concrete()
        program.write(name, states.get(name, np.zeros(shape, slot.type.dtype)))
    generator = np.random.default_rng(2)
    image = program.inputs["image"].type.concrete()
    program.write("image", generator.standard_normal(image))
    if "labels" in program.inputs:
        program.write("labels", generator.integers(0, 3, image[0]))
    return program


def after_steps(program: Program, graph: Graph, steps: int = 3) -> dict[str, np.ndarray]:
    prepared(program, graph)
    program.write("learning_rate", 0.1)
    for step in range(steps):
        program.write("step", step + 1)
        program.run()
    return {name: program.read(name) for name in [*program.states, "loss"]}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_sharing_arrays_changes_no_number(optimizer: str) -> None:
    graph = elaborate_text(BRANCHING, dtype="float64")
    objective = Objective(optimizer=OPTIMIZERS[optimizer]())
    shared = compile_training(graph, objective, get_backend("numpy"), 4)
    alone = compile_training(graph, objective, WithoutSharing(), 4)
    assert shared.arena_bytes < alone.arena_bytes
    first, second = after_steps(shared, graph), after_steps(alone, graph)
    for name, array in first.items():
        np.testing.assert_array_equal(array, second[name], err_msg=name)


def test_a_program_repeats_itself_to_the_bit() -> None:
    graph = elaborate_text(BRANCHING)
    program = compile_training(graph, Objective(), get_backend("numpy"), 4)
    first = after_steps(program, graph)
    second = after_steps(program, graph)
    for name, array in first.items():
        np.testing.assert_array_equal(array, second[name], err_msg=name)


def test_what_writes_state_comes_after_its_readers_and_after_the_loss() -> None:
    graph = training_graph(elaborate_text(BRANCHING), Objective())
    verify(graph, "training")
    order = schedule(graph)
    place = {node: i for i, node in enumerate(order)}
    loss = place[graph.outputs["loss"].node]
    assert len(order) == len(set(order))
    for state, value in graph.updates.items():
        assert place[value.node] > loss
        for reader in graph.net.successors(state):
            assert place[reader] <= place[value.node]
    for node in order:
        for source in graph.net.predecessors(node):
            assert source not in place or place[source] < place[node]


def test_evaluation_reads_the_weights_that_training_writes() -> None:
    graph = elaborate_text(BRANCHING)
    training = compile_training(graph, Objective(), get_backend("numpy"), 4)
    evaluation = compile_inference(graph, get_backend("numpy"), 4, training.states)
    after_steps(training, graph)
    evaluation.write("image", training.inputs["image"].array.copy())
    evaluation.run()
    before = evaluation.read("logits")
    training.run()
    evaluation.refresh()
    evaluation.run()
    assert not np.array_equal(before, evaluation.read("logits"))
    for name, slot in evaluation.states.items():
        assert slot.array is training.states[name].array


def test_the_first_layer_that_is_not_finite_is_found_and_state_is_untouched() -> None:
    graph = elaborate_text(BRANCHING)
    program = prepared(compile_training(graph, Objective(), get_backend("numpy"), 4), graph)
    program.write("learning_rate", 0.1)
    weight = program.read("conv2.weight")
    weight[0, 0, 0, 0] = np.inf
    program.write("conv2.weight", weight)
    before = {name: program.read(name) for name in program.states}
    with np.errstate(all="ignore"):
        program.run()
    assert np.isnan(program.read("tally")[0])
    found = program.first_not_finite()
    assert found is not None
    assert found.name == "conv2"
    for name in before.keys() - {"tally"}:
        np.testing.assert_array_equal(before[name], program.read(name))


def test_a_frozen_layer_stays_as_it_was() -> None:
    graph = elaborate_text(BRANCHING)
    objective = Objective(frozen=("conv1", "bn1"))
    program = compile_training(graph, objective, get_backend("numpy"), 4)
    states = initial_states(graph, Initialisation(), 1)
    after = after_steps(program, graph)
    for name in ("conv1.weight", "bn1.gamma", "bn1.beta", "bn1.mean", "bn1.variance"):
        np.testing.assert_array_equal(after[name], states[name], err_msg=name)
    assert not np.array_equal(after["conv2.weight"], states["conv2.weight"])


def test_weight_decay_spares_biases_and_norms() -> None:
    graph = elaborate_text("model m { input 4x4x1 -> conv 2, 3x3 -> relu -> bn -> fc 2 }")
    for everything in (False, True):
        objective = Objective(optimizer=OPTIMIZERS["sgd"](weight_decay=0.5))
        objective = replace(objective, decay_all=everything)
        training = training_graph(graph, objective)
        decays = {
            training.name(node): training.op(node).update.weight_decay  # type: ignore[attr-defined]
            for node in training.of(Guarded)
            if hasattr(training.op(node).update, "weight_decay")  # type: ignore[attr-defined]
        }
        assert decays["conv1.weight"] == decays["fc1.weight"] == 0.5
        spared = 0.5 if everything else 0.0
        assert decays["conv1.bias"] == decays["bn1.gamma"] == decays["fc1.bias"] == spared


def test_of_weights_derived_in_turn_the_last_alone_are_kept() -> None:
    """Those before them share a place, and a refresh makes them again."""
    layers = " -> ".join(["conv 32, 3x3, bias=true -> bn -> scale -> relu"] * 5)
    graph = elaborate_text(f"model m {{ input 6x6x32 -> {layers} }}")
    program = prepared(compile_inference(graph, get_backend("numpy"), 2), graph)
    scaled = [s for s in program.setup if (s.name, s.text) == ("conv1.weight", "scale_filters")]
    assert len(scaled) == 2
    # As they are given, as they are read, and of one layer at a time as they were in between.
    weights = sum(slot.array.nbytes for slot in program.states.values())
    assert program.state_bytes < (2.1 + 1 / 5) * weights
    image = np.random.default_rng(0).normal(size=(2, 6, 6, 32)).astype(np.float32)
    results = []
    for _ in range(2):
        program.write("image", image)
        program.refresh()
        program.run()
        results.append(program.read("logits"))
    np.testing.assert_array_equal(*results)
    plain = prepared(program_of(inference_graph(graph, ()), get_backend("numpy"), 2), graph)
    plain.write("image", image)
    plain.run()
    np.testing.assert_allclose(results[0], plain.read("logits"), rtol=1e-4, atol=1e-4)
