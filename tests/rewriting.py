"""What tests of rewrites share: networks made small, and programs that are filled and compared."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cnndsl.backends import get_backend
from cnndsl.compile import Objective, elaborate_text
from cnndsl.frontend.elaborate import elaborate
from cnndsl.frontend.library import load_file
from cnndsl.graph.autodiff import add_gradients
from cnndsl.graph.check import verify
from cnndsl.graph.graph import Graph
from cnndsl.graph.rewrite import Rewrite, optimise
from cnndsl.graph.types import Size
from cnndsl.passes.inference import for_inference
from cnndsl.passes.training import add_loss, for_training
from cnndsl.resources import resource
from cnndsl.runtime.lower import lower
from cnndsl.runtime.program import Program
from cnndsl.training.initialise import Initialisation, initial_states

ENGINE = get_backend("numpy")

PATHS = "resnext:paths50"
#: Networks of the zoo and of the examples, with an input that makes them small.
ZOO = {
    "lenet:lenet": "32x32x1",
    "alexnet:alexnet": "67x67x3",
    "vgg:vgg16_bn": "32x32x3",
    "googlenet:googlenet": "96x96x3",
    "resnet:resnet18": "32x32x3",
    "resnet:resnet20": "16x16x3",
    "densenet:densenet121": "32x32x3",
    "densenet:cifar_densenet": "16x16x3",
    "mobilenet:mobilenet_v2": "32x32x3",
    "cells:cells": "16x16x3",
    "convnext:convnext_t": "32x32x3",
    "fully_convolutional:fully_convolutional": "64x64x3",
    "inception:inception": "32x32x3",
    "keras_resnet:resnet50_v2": "32x32x3",
    "norms:norms": "32x32x3",
    "ported:ported": "32x32x3",
    "repvgg:repvgg_a0": "32x32x3",
    "student:student": "32x32x3",
    "resnext:beside50": "16x16x3",
    PATHS: "16x16x3",
}
#: Arguments that make a family's member small.
SMALLER: dict[str, dict[str, str | int]] = {
    "densenet:cifar_densenet": {"n": 3},
    "cells:cells": {"width": 4, "repeats": 1},
    "convnext:convnext_t": {"depths": "[1, 1]", "width": 16},
    "fully_convolutional:fully_convolutional": {"width": 4, "dense": 16, "window": 2},
    "inception:inception": {"width": 4},
    "keras_resnet:resnet50_v2": {"depths": "[1, 2]"},
    "norms:norms": {"width": 4},
    "ported:ported": {"width": 4},
    "repvgg:repvgg_a0": {"depths": "[2, 1]", "widths": "[8, 8, 12]"},
    "student:student": {"width": 4},
    "resnext:beside50": {"depths": "[1]"},
    PATHS: {"depths": "[1]"},
}
EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


def shrunken(reference: str, dtype: str = "float64") -> Graph:
    """A network with a small input; of a family with few blocks."""
    file, name = reference.split(":")
    size = Size(*map(int, ZOO[reference].split("x")))
    paths = [folder / f"{file}.cnn" for folder in (EXAMPLES, resource("zoo"))]
    module = load_file(next(path for path in paths if path.is_file()))
    parameters = {"classes": 10, **SMALLER.get(reference, {})}
    network = elaborate(module, name, parameters=parameters, input_size=size, dtype=dtype)
    return network.graph


def model(example: str) -> Graph:
    """A network of one line, in float64."""
    return elaborate_text(f"model m {{ {example} }}", dtype="float64")


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


def close(first: np.ndarray, second: np.ndarray, scale: float = 0.0) -> bool:
    """Whether arrays agree at 1e-9 by norm, or to rounding of what is `scale` large."""
    distance = np.linalg.norm(first - second)
    return bool(distance <= max(1e-9 * np.linalg.norm(first), 1e-13 * scale, 1e-39))


def inference(
    graph: Graph, rewrites: Sequence[Rewrite], fusions: Sequence[Rewrite] = ()
) -> np.ndarray:
    """What a network computes after rewrites."""
    changed = graph.copy()
    for_inference(changed)
    optimise(changed, rewrites)
    return outputs(changed, fusions, graph)["logits"]


def outputs(
    changed: Graph, fusions: Sequence[Rewrite], graph: Graph, images: int = 3
) -> dict[str, np.ndarray]:
    """What a rewritten graph computes after an engine's fusions, with the weights of another."""
    optimise(changed, fusions)
    verify(changed, "optimise")
    program = lower(changed, ENGINE, images)
    fill(program, graph, images)
    program.run()
    return {name: program.read(name) for name in program.outputs}


def gradients(
    graph: Graph, rewrites: Sequence[Rewrite], fusions: Sequence[Rewrite] = ()
) -> dict[str, np.ndarray]:
    """The loss and the gradient of every parameter after rewrites, before and after autodiff."""
    changed = graph.copy()
    for_training(changed)
    optimise(changed, rewrites)
    verify(changed, "optimise")
    loss = add_loss(changed, Objective().loss)
    for node, value in add_gradients(changed, loss).items():
        changed.outputs[f"gradient of {changed.name(node)}"] = value
    changed.prune()
    optimise(changed, rewrites)
    return outputs(changed, fusions, graph)


def assert_same(first: dict[str, np.ndarray], second: dict[str, np.ndarray]) -> None:
    """Gradients are equal; of one that is zero but for rounding, as far as the largest allows."""
    assert first.keys() == second.keys()
    largest = max(float(np.linalg.norm(array)) for array in first.values())
    for name, array in first.items():
        assert close(array, second[name], largest), name


def fired(graph: Graph, rewrites: Sequence[Rewrite]) -> list[str]:
    """The names of the rewrites that fired."""
    return [e.rewrite for e in optimise(graph, rewrites) if e.declined is None]
