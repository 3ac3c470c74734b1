"""Whether an engine is right on the machine at hand: `python benchmarks/gpu_checks.py ENGINE WHAT`.

Every layer and its gradient, and whole steps of networks, against the reference engine on the same
numbers. Prints a line of JSON for each check as it ends: its name, its distance from the reference
by norm, and how far it may be; or the error.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import numpy as np

from cnndsl.backends import get_backend
from cnndsl.cli.model import load_network
from cnndsl.compile import Objective, compile_inference, compile_training, elaborate_text
from cnndsl.data import feeds
from cnndsl.data.dataset import Dataset, Split
from cnndsl.data.preprocess import preprocessing_for
from cnndsl.diagnostics import CnndslError, Source
from cnndsl.frontend.elaborate import elaborate
from cnndsl.frontend.library import load_text
from cnndsl.graph.graph import Graph
from cnndsl.graph.op import OPS
from cnndsl.ops.optimizer import SGD
from cnndsl.runtime.program import Program
from cnndsl.training.recipe import recipe_of
from cnndsl.training.session import Fitted
from cnndsl.training.session import train as train_fitted

#: How far a result may be from the reference in float32 and in bfloat16.
MAY_DIFFER = {"float32": 2e-5, "bfloat16": 2e-2}
#: The two that come first: if they are wrong, nothing else needs to be looked at.
FIRST = {
    "a kernel": "input 8x8x16 -> relu",
    "a convolution": "input 16x16x32 -> conv 32, 3x3",
}
#: Networks whose steps are not chaotic on random weights, with their images.
NETWORKS = {
    "resnet:resnet20": "32x32x3",
    "alexnet:alexnet": "67x67x3",
    "vgg:vgg11": "64x64x3",
    "googlenet:googlenet": "96x96x3",
    "densenet:cifar_densenet": "16x16x3",
}


def fill(program: Program) -> None:
    """The same random numbers by name, whatever the engine."""
    for number, name in enumerate(sorted((*program.states, *program.inputs))):
        random = np.random.default_rng(number)
        type = (program.inputs | program.states)[name].type
        shape = type.concrete()
        values = np.zeros(shape)
        if name == "labels":
            values = np.arange(shape[0]) % 4
        elif type.dtype == "int64":
            values = np.ones(shape)
        elif name == "learning_rate":
            values = np.full(shape, 0.1)
        elif "variance" in name or "gamma" in name:
            values = random.uniform(0.5, 1.5, shape)
        elif "velocity" not in name:
            several = len(shape) in (2, 4) and name != "image"
            values = random.normal(size=shape) * (2 / np.prod(shape[1:]) if several else 1) ** 0.5
        program.write(name, values.astype(type.dtype))


def results(program: Program, names: list[str]) -> dict[str, np.ndarray]:
    """Of three runs, so that what is captured from the second on is seen too: those of the last."""
    for _ in range(3):
        fill(program)
        program.run()
    return {name: program.read(name) for name in names}


def distance(found: np.ndarray, expected: np.ndarray) -> float:
    """By norm; of what is nearly 0, by that of numbers of 0.01."""
    largest = max(np.linalg.norm(expected), 1e-2 * expected.size**0.5)
    difference = float(np.linalg.norm(expected.astype(np.float64) - found) / largest)
    return difference if np.isfinite(difference) else float("inf")


def forward(graph: Graph, engine: Any, precision: str, batch: int = 3) -> dict[str, np.ndarray]:
    return results(compile_inference(graph, engine, batch, precision=precision), ["logits"])


def step(graph: Graph, engine: Any, precision: str, batch: int = 4) -> dict[str, np.ndarray]:
    """The loss, and what the optimizer was given, after one step."""
    objective = Objective(optimizer=SGD(momentum=0.9), precision=precision)
    program = compile_training(graph, objective, engine, batch)
    velocities = [name for name in program.states if name.endswith("velocity")]
    return results(program, ["loss", *velocities])


def trained(share: float) -> Callable[[Graph, Any, str], dict[str, np.ndarray]]:
    """Training on pixels that the engine may keep if they take so much of its memory at most."""

    def run(graph: Graph, engine: Any, precision: str) -> dict[str, np.ndarray]:
        random = np.random.default_rng(5)
        train, test = (
            Split(random.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8), np.arange(count) % 4)
            for count in (600, 50)
        )
        data = Dataset("drawn", train, test, tuple("abcd"), (0.5,) * 3, (0.25,) * 3)
        network = elaborate(load_text(Source("text", LOOP)))
        recipe = replace(recipe_of(network), precision=precision)
        fitted = Fitted(network, data, preprocessing_for(data, (32, 32), 3), recipe)
        with TemporaryDirectory() as folder, patch.object(feeds, "RESIDENT_SHARE", share):
            result, trainer = train_fitted(fitted, engine, Path(folder) / "run")
        names = [name for name in trainer.program.states if name.endswith("weight")]
        weights = {name: trainer.program.read(name) for name in names}
        return {"test loss": np.array(result.test_loss), **weights}

    return run


#: A network and its recipe, with all that is done to images.
LOOP = """model small {
    input 32x32x3
    conv 16, 3x3 -> bn -> relu -> conv 16, 3x3, /2 -> bn -> relu -> avgpool global -> fc 4
}
train small {
    batch 256
    epochs 3
    augment pad 4, flip, cutout 8
    optimizer sgd, lr=0.05, momentum=0.9
}"""


def examples() -> dict[str, str]:
    """What is written of every layer as an example."""
    texts = [text for kind in OPS.values() for text in kind.examples]
    return FIRST | {text: text for text in texts}


def behind_layers(text: str) -> Graph | None:
    """An example between layers with weights; None if it does not take what such leave."""
    head, *rest = text.split(" -> ")
    first = "conv 16, 3x3" if head.count("x") == 2 else "fc 16"
    try:
        return _graph(" -> ".join([head, first, *rest, "fc 4"]))
    except CnndslError:
        return None


def checks(engine: Any, what: str) -> Iterator[tuple[str, Any, str, Graph]]:
    """Name, function, precision and graph of each."""
    if what == "layers":
        for name, text in examples().items():
            yield name, forward, "float32", _graph(text)
    if what == "gradients":
        for name, text in examples().items():
            graph = behind_layers(text)
            for precision in MAY_DIFFER if graph is not None else ():
                yield f"gradient of {name}, {precision}", step, precision, graph
    if what == "networks":
        for reference, size in NETWORKS.items():
            graph = load_network(reference, ("classes=10",), size).graph
            yield f"step of {reference}", step, "float32", graph
        for where, share in (("kept", 1.0), ("streamed", 0.0)):
            yield f"training on pixels that are {where}", trained(share), "float32", graph


def _graph(text: str) -> Graph:
    return elaborate_text(f"model example {{ {text} }}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("engine")
    parser.add_argument("what", choices=["layers", "gradients", "networks"])
    parser.add_argument("--most", type=int, help="no more checks than that")
    options = parser.parse_args()
    try:
        engine = get_backend(options.engine)
    except CnndslError as failure:
        sys.exit(failure.diagnostics[0].message)
    reference = get_backend("numpy")
    for number, (name, run, precision, graph) in enumerate(checks(engine, options.what)):
        if number == options.most:
            break
        began = time.perf_counter()
        line: dict[str, Any] = {"check": name, "may_differ": MAY_DIFFER[precision]}
        try:
            found, expected = (run(graph, each, precision) for each in (engine, reference))
            line["differs"] = max(distance(found[n], expected[n]) for n in expected)
        except Exception as failure:  # whatever it is, the other checks are to be made
            line["error"] = f"{type(failure).__name__}: {failure}"[:500]
        line["seconds"] = round(time.perf_counter() - began, 2)
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
