"""Gradients of graphs against central differences."""

from __future__ import annotations

import numpy as np

from cnndsl.backends.numpy import Engine
from cnndsl.graph.autodiff import add_gradients
from cnndsl.graph.graph import Graph, Value
from cnndsl.graph.leaves import Input, Parameter
from cnndsl.graph.op import Initial, Op
from cnndsl.graph.types import Type
from cnndsl.ops.loss import MeanSquaredError
from cnndsl.runtime.lower import lower
from cnndsl.runtime.program import Program

IMAGES = 3
DOUBLE = "float64"


def differentiate(graph: Graph, loss: Value, engine: Engine | None = None) -> Program:
    """The program that computes "loss", and the gradient of every parameter by its name."""
    gradients = add_gradients(graph, loss)
    graph.outputs = {"loss": loss}
    for node, gradient in gradients.items():
        graph.outputs[graph.name(node)] = gradient
    graph.inputs = {k: v for k, v in graph.inputs.items() if isinstance(v.op, Input)}
    graph.heads.clear()
    graph.prune()
    return lower(graph, engine or Engine(), IMAGES)


def with_loss(graph: Graph, y: Value) -> Value:
    """The mean squared distance of y to the input "target"."""
    target = graph.add(Input(y.type), name="target")[0]
    graph.inputs["target"] = target
    return graph.apply(MeanSquaredError(), y, target)


def fill(program: Program, seed: int = 0) -> None:
    """Random numbers for all inputs and states; buffers are positive, for some are variances."""
    random = np.random.default_rng(seed)
    for slots, positive in ((program.inputs, False), (program.states, True)):
        for name, slot in slots.items():
            values = random.normal(size=slot.array.shape)
            if positive and name.endswith(("mean", "variance")):
                values = random.uniform(0.5, 1.5, size=slot.array.shape)
            if slot.array.dtype.kind == "f":
                program.write(name, values.astype(slot.array.dtype))


def check_gradients(program: Program, directions: int = 3, step: float = 1e-5) -> None:
    """The gradient along random directions against central differences, by parameter.

    Of a gradient of norm g, a direction of length 1 in n dimensions sees about g / √n.
    """
    program.run()
    gradients = {name: program.read(name) for name in program.outputs if name != "loss"}
    random = np.random.default_rng(1)
    for name, gradient in gradients.items():
        start = program.states[name].array.copy()
        for _ in range(directions):
            direction = random.normal(size=start.shape)
            direction /= np.linalg.norm(direction)
            losses = []
            for sign in (1, -1):
                program.write(name, start + sign * step * direction)
                program.run()
                losses.append(float(program.outputs["loss"].array))
            program.write(name, start)
            measured = (losses[0] - losses[1]) / (2 * step)
            expected = float(np.sum(gradient * direction))
            typical = np.linalg.norm(gradient) / np.sqrt(gradient.size)
            assert abs(measured - expected) <= 1e-6 * typical + 1e-10, name


def applied(op: Op, types: list[Type]) -> tuple[Graph, Value]:
    """An operation on parameters "x0", "x1", …"""
    graph = Graph()
    leaves = [graph.add(Parameter(t, Initial()), name=f"x{i}")[0] for i, t in enumerate(types)]
    return graph, graph.add(op, *leaves)[0]


def evaluate(op: Op, types: list[Type], arrays: tuple[np.ndarray, ...], output: int = 0):
    """A result of an operation on arrays."""
    graph, y = applied(op, types)
    graph.outputs = {"y": Value(graph, y.node, output)}
    program = lower(graph, Engine(), len(arrays[0]))
    for i, array in enumerate(arrays):
        program.write(f"x{i}", array)
    program.run()
    return program.read("y")
