"""Every rewrite is the equation that it says: on its examples, and on the zoo, in float64."""

from __future__ import annotations

import numpy as np
import pytest

from cnndsl.backends import get_backend
from cnndsl.compile import Objective, elaborate_text
from cnndsl.frontend.elaborate import elaborate
from cnndsl.frontend.library import load_file
from cnndsl.graph import analysis
from cnndsl.graph.autodiff import add_gradients
from cnndsl.graph.check import verify
from cnndsl.graph.graph import Graph
from cnndsl.graph.rewrite import Rewrite, optimise
from cnndsl.graph.types import Size
from cnndsl.passes import FOR_INFERENCE, FOR_TRAINING
from cnndsl.passes.inference import for_inference
from cnndsl.passes.training import add_loss, for_training
from cnndsl.resources import resource
from cnndsl.runtime.lower import lower
from cnndsl.runtime.program import Program
from cnndsl.training.initialise import Initialisation, initial_states

EXAMPLES = [(r, e) for r in FOR_INFERENCE for e in r.fires_on]
IN_TRAINING = [(r, e) for r in FOR_TRAINING for e in r.fires_on]
EXCEPTIONS = [(r, e) for r in FOR_INFERENCE for e in r.leaves_alone]

ZOO = {
    "lenet:lenet": "32x32x1",
    "alexnet:alexnet": "67x67x3",
    "vgg:vgg16_bn": "32x32x3",
    "googlenet:googlenet": "96x96x3",
    "resnet:resnet18": "32x32x3",
    "resnet:resnet20": "16x16x3",
    "densenet:densenet121": "32x32x3",
    "densenet:cifar_densenet": "16x16x3",
}


def shrunken(reference: str) -> Graph:
    file, name = reference.split(":")
    size = Size(*map(int, ZOO[reference].split("x")))
    module = load_file(resource("zoo") / f"{file}.cnn")
    parameters = {"classes": 10}
    network = elaborate(module, name, parameters=parameters, input_size=size, dtype="float64")
    return network.graph


def fill(program: Program, graph: Graph, batch: int) -> None:
    """Random weights, statistics, image and labels, the same for every program of a graph."""
    states = initial_states(graph, Initialisation(), 5)
    for name, slot in program.states.items():
        noise = np.random.default_rng(len(name)).uniform(0.5, 1.5, slot.type.concrete())
        is_weight = name.endswith("weight")
        program.write(name, states[name] if is_weight else noise if name in states else 1)
    generator = np.random.default_rng(6)
    program.write("image", generator.standard_normal(program.inputs["image"].type.concrete()))
    if "labels" in program.inputs:
        program.write("labels", generator.integers(0, 3, batch))


def close(first: np.ndarray, second: np.ndarray) -> bool:
    return bool(np.linalg.norm(first - second) <= 1e-9 * max(1e-30, np.linalg.norm(first)))


def inference(graph: Graph, rewrites: tuple[Rewrite, ...]) -> np.ndarray:
    changed = graph.copy()
    for_inference(changed)
    optimise(changed, rewrites)
    verify(changed, "optimise")
    program = lower(changed, get_backend("numpy"), 2)
    fill(program, graph, 2)
    program.run()
    return program.read("logits")


def gradients(graph: Graph, rewrites: tuple[Rewrite, ...]) -> dict[str, np.ndarray]:
    changed = graph.copy()
    for_training(changed)
    optimise(changed, rewrites)
    verify(changed, "optimise")
    loss = add_loss(changed, Objective().loss)
    for node, value in add_gradients(changed, loss).items():
        changed.outputs[f"gradient of {changed.name(node)}"] = value
    changed.prune()
    optimise(changed, rewrites)
    verify(changed, "optimise")
    program = lower(changed, get_backend("numpy"), 3)
    fill(program, graph, 3)
    program.run()
    return {name: program.read(name) for name in program.outputs}


def fired(graph: Graph, rewrites: tuple[Rewrite, ...]) -> list[str]:
    return [e.rewrite for e in optimise(graph, rewrites) if e.declined is None]


def work(graph: Graph) -> tuple[int, int]:
    nodes = analysis.layers(graph)
    return sum(analysis.multiply_adds(graph, n) for n in nodes), len(nodes)


def model(example: str) -> Graph:
    return elaborate_text(f"model m {{ {example} }}", dtype="float64")


@pytest.mark.parametrize(("rewrite", "example"), EXAMPLES, ids=lambda x: getattr(x, "name", x))
def test_a_rewrite_fires_on_its_examples_and_changes_no_number(
    rewrite: Rewrite, example: str
) -> None:
    graph = model(example)
    changed = graph.copy()
    for_inference(changed)
    before = work(changed)
    assert rewrite.name in fired(changed, (rewrite,))
    assert fired(changed, (rewrite,)) == []
    assert work(changed)[0] <= before[0]
    assert close(inference(graph, ()), inference(graph, (rewrite,)))


@pytest.mark.parametrize(("rewrite", "example"), EXCEPTIONS, ids=lambda x: getattr(x, "name", x))
def test_a_rewrite_leaves_alone_what_it_says(rewrite: Rewrite, example: str) -> None:
    changed = model(example)
    for_inference(changed)
    assert fired(changed, (rewrite,)) == []


@pytest.mark.parametrize(("rewrite", "example"), IN_TRAINING, ids=lambda x: getattr(x, "name", x))
def test_a_rewrite_for_training_changes_no_gradient(rewrite: Rewrite, example: str) -> None:
    graph = model(f"{example} -> fc 3")
    first, second = gradients(graph, ()), gradients(graph, (rewrite,))
    assert first.keys() == second.keys()
    for name, array in first.items():
        assert close(array, second[name]), name


@pytest.mark.parametrize("reference", ZOO)
def test_the_zoo_computes_the_same_in_inference(reference: str) -> None:
    graph = shrunken(reference)
    assert close(inference(graph, ()), inference(graph, FOR_INFERENCE))


@pytest.mark.parametrize("reference", ZOO)
def test_the_zoo_has_the_same_gradients(reference: str) -> None:
    graph = shrunken(reference)
    first, second = gradients(graph, ()), gradients(graph, FOR_TRAINING)
    for name, array in first.items():
        assert close(array, second[name]), name


@pytest.mark.parametrize("rewrite", FOR_INFERENCE, ids=lambda rewrite: rewrite.name)
def test_a_rewrite_states_its_equation(rewrite: Rewrite) -> None:
    assert rewrite.equation
    assert rewrite.fires_on
    assert rewrite.leaves_alone


def test_densenets_transitions_have_a_quarter_of_the_work() -> None:
    graph = shrunken("densenet:densenet121")
    changed = graph.copy()
    for_training(changed)
    before, _ = work(changed)
    assert fired(changed, FOR_TRAINING).count("average_before_pointwise") == 3
    assert work(changed)[0] < before


def test_resnets_batch_norms_all_vanish() -> None:
    graph = shrunken("resnet:resnet18")
    for_inference(graph)
    assert fired(graph, FOR_INFERENCE).count("fold_batchnorm") == 20
    assert not [n for n in analysis.layers(graph) if graph.op(n).name == "bn"]


def test_derived_weights_are_computed_once_and_again_when_weights_change() -> None:
    graph = model("input 6x6x3 -> conv 4, 3x3 -> bn -> relu")
    for_inference(graph)
    optimise(graph, FOR_INFERENCE)
    program = lower(graph, get_backend("numpy"), 2)
    assert [step.text.split()[0] for step in program.steps] == ["conv", "relu"]
    assert len(program.setup) == 3
    fill(program, graph, 2)
    program.run()
    first = program.read("logits")
    program.run()
    np.testing.assert_array_equal(first, program.read("logits"))
    program.write("bn1.gamma", 2 * program.read("bn1.gamma"))
    program.write("bn1.beta", 2 * program.read("bn1.beta"))
    program.run()
    np.testing.assert_allclose(2 * first, program.read("logits"))
