"""Initial values of parameters and buffers, random by the seed and the parameter's own path."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from cnndsl.graph.graph import Graph
from cnndsl.graph.leaves import STATE
from cnndsl.graph.op import Initial
from cnndsl.passes.training import path_key

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Initialisation:
    """A distribution of weights: variance = gain / fan.

    `he` has gain 2, `xavier` 2 over the sum of the fans, `lecun` 1; `fan` is "in" or "out";
    `uniform` draws from an interval of the same variance.

    Sources: He et al., Delving deep into rectifiers, 2015; Glorot & Bengio, 2010; LeCun et al.,
    Efficient backprop, 1998.
    """

    kind: str = "he"
    fan: str = "in"
    uniform: bool = False

    def deviation(self, initial: Initial) -> float:
        """The standard deviation for a weight's fans."""
        if self.kind == "xavier":
            return math.sqrt(2 / (initial.fan_in + initial.fan_out))
        fan = initial.fan_in if self.fan == "in" else initial.fan_out
        return math.sqrt((2 if self.kind == "he" else 1) / fan)


KINDS = ("he", "xavier", "lecun")


def initial_states(
    graph: Graph, initialisation: Initialisation, seed: int, threads: int | None = None
) -> dict[str, np.ndarray[Any, Any]]:
    """The first value of every parameter and buffer, by path.

    Independent of the order of the graph, and of threads: each path has random numbers of its own.
    """
    leaves = {graph.name(node): graph.op(node) for node in graph.of(*STATE)}
    with ThreadPoolExecutor(threads) as pool:
        draw = partial(_draw, initialisation, seed)
        return dict(zip(leaves, pool.map(draw, leaves, leaves.values()), strict=True))


def _draw(initialisation: Initialisation, seed: int, name: str, leaf: Any) -> np.ndarray[Any, Any]:
    import numpy as np

    initial: Initial = leaf.initial
    shape, dtype = leaf.type.shape, leaf.type.dtype
    if initial.kind == "constant":
        return np.full(shape, initial.value, dtype)
    generator = np.random.Generator(np.random.Philox(key=[seed, path_key(name)]))
    deviation = initialisation.deviation(initial)
    if initialisation.uniform:
        bound = math.sqrt(3) * deviation
        drawn = generator.uniform(-bound, bound, shape)
    else:
        drawn = generator.standard_normal(shape, dtype)
        drawn *= deviation
    result: np.ndarray[Any, Any] = drawn.astype(dtype, copy=False)
    return result
