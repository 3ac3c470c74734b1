"""What the rewrites save on the zoo, optimised ÷ not: `python benchmarks/rewrites.py`.

Counted (kernels, multiply-adds, bytes, peak) for inference and for training's forward pass, and
timed for inference of one image on the reference engine, both programs alternating.
"""

from __future__ import annotations

import statistics
import time
from pathlib import Path

import numpy as np
from measure import write_result

from cnndsl.backends import get_backend
from cnndsl.cli.optimize import costs, prepared
from cnndsl.frontend.elaborate import elaborate
from cnndsl.frontend.library import load_file
from cnndsl.graph.graph import Graph
from cnndsl.graph.rewrite import optimise
from cnndsl.passes import FOR_INFERENCE, FOR_TRAINING
from cnndsl.runtime.lower import lower
from cnndsl.runtime.program import Program
from cnndsl.training.initialise import Initialisation, initial_states

ZOO = Path(__file__).resolve().parents[1] / "zoo"
TIMED = ("lenet", "alexnet", "googlenet", "resnet18", "resnet50", "resnet20", "densenet121")


def programs(plain: Graph, optimised: Graph) -> list[Program]:
    """Both as programs of one image, with the same weights."""
    states = initial_states(plain, Initialisation(), 0)
    made = []
    for graph in (plain, optimised):
        program = lower(graph, get_backend("numpy"), 1)
        for name in program.states:
            program.write(name, states[name])
        shape = program.inputs["image"].type.concrete()
        program.write("image", np.random.default_rng(0).standard_normal(shape))
        program.run()
        made.append(program)
    return made


def timed(pair: list[Program], repeats: int = 7) -> list[float]:
    """Median seconds of each program, alternating."""
    times: list[list[float]] = [[], []]
    for _ in range(repeats):
        for program, seconds in zip(pair, times, strict=True):
            began = time.perf_counter()
            program.run()
            seconds.append(time.perf_counter() - began)
    return [statistics.median(seconds) for seconds in times]


def measure(name: str, graph: Graph) -> dict[str, object]:
    result: dict[str, object] = {"model": name}
    for use, rewrites in (("inference", FOR_INFERENCE), ("training", FOR_TRAINING)):
        plain = prepared(graph, use)
        optimised = plain.copy()
        fired = [e.rewrite for e in optimise(optimised, rewrites) if e.declined is None]
        before, after = costs(plain), costs(optimised)
        ratios = {key: after[key] / before[key] for key in before}
        entry: dict[str, object] = {"before": before, "after": after, "fired": len(fired)}
        line = "  ".join(f"{key} {ratio:.3f}" for key, ratio in ratios.items())
        if use == "inference" and name in TIMED:
            first, second = timed(programs(plain, optimised))
            entry |= {"seconds_before": first, "seconds_after": second}
            line += f"  time {second / first:.3f} ({1e3 * first:.1f} ms)"
        print(f"{name:16} {use:10} {line}", flush=True)
        result[use] = entry
    return result


def main() -> None:
    measured = []
    for path in sorted(ZOO.glob("*.cnn")):
        module = load_file(path)
        for name in module.complete():
            measured.append(measure(name, elaborate(module, name).graph))
    print(write_result("rewrites", measured))


if __name__ == "__main__":
    main()
