"""Every family of the zoo, on small images, keeps the promises of every stage and trains."""

from __future__ import annotations

import numpy as np
import pytest

from cnndsl.backends import get_backend
from cnndsl.compile import compile_inference, compile_training, elaborate_file
from cnndsl.graph.autodiff import add_gradients
from cnndsl.graph.check import verify
from cnndsl.graph.types import Size
from cnndsl.ops.scaling import AllFinite
from cnndsl.passes.inference import for_inference
from cnndsl.passes.training import add_loss, for_training
from cnndsl.passes.updates import add_updates, watch
from cnndsl.resources import resource
from cnndsl.training.initialise import initial_states
from cnndsl.training.recipe import recipe_of

#: A member of every family, and the smallest image that its windows allow.
SMALL = {
    "lenet:lenet": "32x32x1",
    "alexnet:alexnet": "67x67x3",
    "alexnet:alexnet_towers": "67x67x3",
    "vgg:vgg11": "32x32x3",
    "vgg:vgg16_bn": "32x32x3",
    "googlenet:googlenet": "96x96x3",
    "resnet:resnet18": "32x32x3",
    "resnet:resnet50": "32x32x3",
    "resnet:resnet20": "16x16x3",
    "resnext:resnext50_32x4d": "32x32x3",
    "mobilenet:mobilenet_v1": "64x64x3",
    "mobilenet:mobilenet_v2": "96x96x3",
    "densenet:densenet121": "64x64x3",
    "densenet:cifar_densenet": "16x16x3",
}


def network_of(reference: str):
    file, name = reference.split(":")
    size = Size(*map(int, SMALL[reference].split("x")))
    path = resource("zoo") / f"{file}.cnn"
    return elaborate_file(path, name, parameters={"classes": 10}, input_size=size)


@pytest.mark.parametrize("reference", SMALL)
def test_every_stage_keeps_its_promises(reference: str) -> None:
    network = network_of(reference)
    objective = recipe_of(network).objective
    graph = network.graph
    verify(graph, "elaboration")
    inference = graph.copy()
    for_inference(inference)
    verify(inference, "for_inference")
    training = graph.copy()
    for_training(training)
    verify(training, "for_training")
    loss = add_loss(training, objective.loss)
    verify(training, "add_loss")
    (finite,) = training.add(AllFinite(), watch(training), name="finite")
    verify(training, "watch")
    gradients = add_gradients(training, loss)
    verify(training, "add_gradients")
    add_updates(training, gradients, objective.optimizer, finite)
    training.prune()
    verify(training, "add_updates")


@pytest.mark.parametrize("reference", SMALL)
def test_two_images_are_learned_by_heart(reference: str) -> None:
    network = network_of(reference)
    recipe = recipe_of(network)
    backend = get_backend("numpy")
    program = compile_training(network.graph, recipe.objective, backend, 2)
    states = initial_states(network.graph, recipe.initialisation, 0)
    for name, slot in program.states.items():
        shape = slot.type.concrete()
        program.write(name, states.get(name, np.zeros(shape, slot.type.dtype)))
    generator = np.random.default_rng(0)
    image = generator.standard_normal(program.inputs["image"].type.concrete())
    program.write("image", image)
    program.write("labels", np.array([3, 7]))
    program.write("learning_rate", 0.0001)
    if "step" in program.states:
        program.write("step", 1)  # the same masks each time
    losses = []
    for _ in range(6):
        program.run()
        losses.append(float(program.read("loss")))
    assert np.isfinite(losses).all()
    assert losses[-1] < losses[0]
    evaluation = compile_inference(network.graph, backend, 2, program.states)
    evaluation.write("image", image)
    evaluation.run()
    assert np.isfinite(evaluation.read("logits")).all()
