"""The program of a training step on fresh weights, which are drawn while it is compiled."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from cnndsl.compile import compile_training
from cnndsl.graph.graph import Graph
from cnndsl.passes.pixels import PixelSource
from cnndsl.runtime.kernel import Backend
from cnndsl.runtime.program import Program
from cnndsl.training.initialise import initial_states
from cnndsl.training.recipe import Recipe


def fresh_step(
    graph: Graph, recipe: Recipe, backend: Backend, source: PixelSource | None = None
) -> Program:
    """The program, its states at their first values; moments are zero, as memory is."""
    with ThreadPoolExecutor(1) as pool, _switching_often():
        drawn = pool.submit(initial_states, graph, recipe.initialisation, recipe.seed, threads=1)
        program = compile_training(graph, recipe.objective, backend, recipe.batch, source)
        states = drawn.result()
    for name in program.states.keys() & states.keys():
        program.write(name, states[name])
    if "seed" in program.states:
        program.write("seed", recipe.seed)
    return program


@contextmanager
def _switching_often() -> Iterator[None]:
    """Let other threads go on with short tasks while one compiles: it gives way every 0.1 ms."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-4)
    try:
        yield
    finally:
        sys.setswitchinterval(before)
