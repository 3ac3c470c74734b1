"""What the rewrites save, optimised ÷ not: `python benchmarks/rewrites.py [NAME …]`.

With names, only those networks are measured anew. For every network of the zoo, and ResNeXt-50
drawn as paths and in groups: kernels, multiply-adds, bytes moved and the planned arena, and the
time of a forward pass and of a training step of one image on the reference engine, both programs
alternating. Writes the table too.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from measure import RESULTS, write_result

from cnndsl.backends import get_backend
from cnndsl.cli.optimize import costs, whole
from cnndsl.files import write_whole
from cnndsl.frontend.elaborate import elaborate
from cnndsl.frontend.library import load_file
from cnndsl.graph.graph import Graph
from cnndsl.passes import FOR_INFERENCE, FOR_TRAINING
from cnndsl.runtime.lower import lower
from cnndsl.runtime.program import Program
from cnndsl.runtime.recompute import recompute
from cnndsl.training.initialise import Initialisation, initial_states

ROOT = Path(__file__).resolve().parents[1]
ENGINE = get_backend("numpy")
COUNTS = ("kernels", "multiply_adds", "bytes", "peak_bytes")
SHOWN = ("kernels", "multiply-adds", "bytes", "peak", "time")
#: Seconds that the timed runs of one pair may take, and how often each runs at least and at most.
PATIENCE, LEAST, MOST = 12.0, 3, 9


def program(graph: Graph, plain: Graph) -> Program:
    """A program of one image, with the weights of the plain graph."""
    made = lower(graph, ENGINE, 1)
    states = initial_states(plain, Initialisation(), 0)
    for name, slot in made.states.items():
        made.write(name, states.get(name, np.zeros(slot.type.concrete())))
    shape = made.inputs["image"].type.concrete()
    made.write("image", np.random.default_rng(0).standard_normal(shape))
    if "labels" in made.inputs:
        made.write("labels", [1])
    made.run()
    return made


def timed(pair: list[Program]) -> list[float]:
    """Median seconds of each program, alternating."""
    times: list[list[float]] = [[], []]
    start = time.perf_counter()
    while len(times[0]) < MOST:
        for each, seconds in zip(pair, times, strict=True):
            began = time.perf_counter()
            each.run()
            seconds.append(time.perf_counter() - began)
        if time.perf_counter() - start > PATIENCE and len(times[0]) >= LEAST:
            break
    return [statistics.median(seconds) for seconds in times]


def measure(name: str, graph: Graph) -> dict[str, object]:
    """The costs of a network before and after, and the times of both."""
    result: dict[str, object] = {"model": name}
    for use, rewrites in (("inference", FOR_INFERENCE), ("training", FOR_TRAINING)):
        plain = whole(graph, use, (), ())
        optimised = whole(graph, use, rewrites, ENGINE.fusions)
        before, after = costs(plain, ENGINE), costs(optimised, ENGINE)
        first, second = timed([program(plain, graph), program(optimised, graph)])
        before, after = {**before, "seconds": first}, {**after, "seconds": second}
        result[use] = {"before": before, "after": after}
    halved = whole(graph, "training", FOR_TRAINING, ENGINE.fusions)
    plain_peak = result["training"]["before"]["peak_bytes"]  # type: ignore[index]
    recompute(halved, ENGINE, 1, plain_peak // 2)
    again = program(halved, graph)
    optimised_program = program(whole(graph, "training", FOR_TRAINING, ENGINE.fusions), graph)
    first, second = timed([optimised_program, again])
    result["half_the_memory"] = {
        "peak_bytes": again.arena_bytes,
        "seconds": second,
        "without": first,
    }
    return result


def row(result: dict[str, object]) -> str:
    """A line of the table."""
    cells = [f"`{result['model']}`"]
    for use in ("inference", "training"):
        entry = result[use]
        before, after = entry["before"], entry["after"]  # type: ignore[index]
        cells += [f"{after[key] / before[key]:.2f}" for key in (*COUNTS, "seconds")]
    plain = result["training"]["before"]["peak_bytes"]  # type: ignore[index]
    half = result["half_the_memory"]
    cells.append(f"{half['peak_bytes'] / plain:.2f}")  # type: ignore[index]
    cells.append(f"{half['seconds'] / half['without']:.2f}")  # type: ignore[index]
    return "| " + " | ".join(cells) + " |"


def table(measured: list[dict[str, object]]) -> list[str]:
    """The lines of the page."""
    titles = ["", *(f"inference: {word}" for word in SHOWN), *(f"step: {word}" for word in SHOWN)]
    titles += ["half: peak", "half: time"]
    head = ["| " + " | ".join(titles) + " |", "|---" * len(titles) + "|"]
    return [HEAD, *head, *map(row, measured)]


def networks() -> Iterator[tuple[str, Graph]]:
    """Every model of the zoo that needs no argument, and the example that draws 32 paths."""
    for path in (*sorted((ROOT / "zoo").glob("*.cnn")), ROOT / "examples" / "resnext.cnn"):
        module = load_file(path)
        for name in module.complete():
            yield name, elaborate(module, name).graph


HEAD = """# What the rewrites save

Optimised ÷ not, one image, on the reference engine; measured by `python benchmarks/rewrites.py`,
both programs alternating, medians. Multiply-adds are those of convolutions and fully connected
layers; bytes those that kernels read and write; peak that of the planned arena. The last two
columns: the peak of a training step that is to keep to half of the plain one's memory by
recomputation, ÷ the plain one's, and its time ÷ that of the optimised step without recomputation.
"""


def main() -> None:
    wanted, path = sys.argv[1:], RESULTS / "rewrites.json"
    known = json.loads(path.read_text())["measured"] if wanted else []
    kept = {result["model"]: result for result in known}
    measured = []
    for name, graph in networks():
        if not wanted or name in wanted:
            measured.append(measure(name, graph))
            print(row(measured[-1]), flush=True)
        elif name in kept:
            measured.append(kept[name])
    print(write_result("rewrites", measured))
    write_whole(RESULTS / "rewrites.md", "\n".join(table(measured)) + "\n")


if __name__ == "__main__":
    main()
