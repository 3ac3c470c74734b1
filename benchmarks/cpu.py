"""Our engine against PyTorch and ONNX Runtime on the CPU: `python benchmarks/cpu.py --help`.

Training steps (forward, loss, backward, SGD with momentum 0.9), forward passes, the memory of a
step and the time to the first one. Each side is a process of its own (`cpu_worker.py`). Ours and a
mode of a peer take turns on the same weights and images, and a ratio comes from their own turns
alone. Results go to `results/cpu.json`, entry by entry, and the page of the documentation is made
from that file.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import cpu_page
from cpu_pairs import BF16, MODES, Plan, alone, interval, pair, ratio
from cpu_worker import Job
from measure import RESULTS, busy, write_result

from cnndsl.compile import Objective, training_graph
from cnndsl.graph import analysis
from cnndsl.graph.graph import Graph

ROOT = Path(__file__).resolve().parents[1]
#: Images of a training step.
TRAINING = {
    "resnet:resnet20": 128,
    "alexnet:alexnet": 32,
    "googlenet:googlenet": 16,
    "resnet:resnet50": 16,
    "densenet:densenet121": 16,
    "mobilenet:mobilenet_v2": 16,
    "vgg:vgg16": 16,
}
INFERENCE = (
    "resnet:resnet50",
    "vgg:vgg16",
    "googlenet:googlenet",
    "densenet:densenet121",
    "mobilenet:mobilenet_v2",
)
BATCHES = (1, 16)
STARTING = ("resnet:resnet20", "resnet:resnet50")
#: How far the norms of logits may be apart, relatively.
AGREE = {"f32": 1e-3, "bf16": 5e-2}
#: The part of the machine that others may take before we warn.
BUSY = 0.05
WHAT = ("train", "infer", "memory", "start", "write")

#: `cnndsl run` that says when its first step began and ended, and ends.
FIRST_STEP = """
import os, time
from cnndsl.training import loop
step = loop.Trainer._step
def first(*arguments):
    began = time.time()
    step(*arguments)
    print(began, time.time(), flush=True)
    os._exit(0)
loop.Trainer._step = first
from cnndsl.cli import main
main()
"""


def work(graph: Graph, use: str) -> int:
    """Multiply-adds an image: of a forward pass, or of a whole step before any rewrite.

    A step's are the forward pass's and, for every layer, those of both gradients; the first has
    none of its input.
    """
    if use == "infer":
        return sum(analysis.multiply_adds(graph, node) for node in analysis.main_path(graph))
    step = training_graph(graph, Objective(), (), ())
    return sum(analysis.multiply_adds(step, node) for node in step.nodes())


def jobs(options: argparse.Namespace, what: str) -> Iterator[Job]:
    """The jobs of our side: every network that is wanted, with its batches."""
    batches: dict[str, tuple[int, ...]] = {name: (batch,) for name, batch in TRAINING.items()}
    if what == "infer":
        batches = dict.fromkeys(INFERENCE, BATCHES)
    if what == "start":
        batches = {name: batches[name] for name in STARTING}
    use = "infer" if what == "infer" else "train"
    mode = f"ours:{options.engine}" if options.engine else "ours"
    for name in options.networks or batches:
        own = (options.batch,) if options.batch else batches.get(name, (16,))
        for batch in own:
            yield Job(mode, name, use, batch, options.input, options.warmup)


def of_peer(job: Job, mode: str, warmup: int | None = None) -> Job:
    """The same job of another mode."""
    return Job(mode, job.network, job.use, job.batch, job.input, warmup or job.warmup)


def compare(job: Job, modes: list[str], plan: Plan) -> dict[str, Any]:
    """A job of ours against each mode of the peers in turn."""
    pairs = {}
    for mode in modes:
        own = replace(job, precision="bf16" if mode == BF16 else "f32")
        result = pair(own, of_peer(job, mode), plan)
        wrong = job.use == "infer" and result.get("results_differ_by", 0) > AGREE[own.precision]
        if wrong:
            result = {
                "skipped": f"its logits differ from ours by {result['results_differ_by']:.0e}"
            }
        pairs[mode] = result
        if "skipped" in result:
            print(f"    {mode:28} skipped: {result['skipped']}", flush=True)
            continue
        ours, peer = (statistics.median(result[side]["seconds"]) for side in ("ours", "peer"))
        low, high = interval(result)
        print(
            f"    {mode:28} {1e3 * peer:10.1f} ms, ours {1e3 * ours:10.1f} ms: "
            f"{ratio(result):.2f} [{low:.2f}, {high:.2f}]  "
            f"{len(result['peer']['seconds'])} rounds, "
            f"results differ by {result['results_differ_by']:.0e}",
            flush=True,
        )
    return {"pairs": pairs}


def remember(job: Job, modes: list[str]) -> dict[str, Any]:
    """What each side holds while it trains, one after another."""
    sides = {mode: alone(of_peer(job, mode)) for mode in (job.mode, *modes)}
    for mode, side in sides.items():
        if "skipped" in side or side["bytes_before"] is None:
            print(f"    {mode:28} {side.get('skipped', 'memory is read on Linux alone')}")
            continue
        held = side["bytes_peak"] - side["bytes_before"]
        print(f"    {mode:28} {held / 1e6:10.1f} MB", flush=True)
    return {"sides": {_side(mode): side for mode, side in sides.items()}}


def _side(mode: str) -> str:
    return "ours" if mode.startswith("ours") else mode


def first_step(job: Job) -> tuple[float, float]:
    """Seconds from the start of `cnndsl run` to the beginning and to the end of its first step."""
    engine = job.mode.partition(":")[2]
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-c", FIRST_STEP, "run", job.network, "--train", "synthetic"]
        command += ["--batch", str(job.batch), "--out", f"{folder}/run"]
        command += ["--backend", engine] if engine else []
        command += ["--input", job.input] if job.input else []
        began = time.time()
        printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    start, end = map(float, printed.split()[-2:])
    return start - began, end - began


def begin(job: Job, modes: list[str], rounds: int) -> dict[str, Any]:
    """Seconds to the first step of `cnndsl run`, and to its end of workers of each side."""
    steps = [first_step(job) for _ in range(rounds)]
    sides: dict[str, Any] = {"cnndsl run": {"begins": [s[0] for s in steps]}}
    sides["cnndsl run"]["ends"] = [s[1] for s in steps]
    for mode in (job.mode, *modes):
        found = [alone(of_peer(job, mode, 1)) for _ in range(rounds)]
        skipped = next((each["skipped"] for each in found if "skipped" in each), None)
        ends = {"ends": [each["seconds_to_ready"] for each in found if not skipped]}
        sides[_side(mode)] = {"skipped": skipped} if skipped else ends
    for side, result in sides.items():
        shown = f"{statistics.median(result['ends']):.2f} s" if "ends" in result else result
        print(f"    {side:28} {shown}", flush=True)
    return {"sides": sides}


def measure(what: str, job: Job, options: argparse.Namespace) -> dict[str, Any]:
    """An entry of the results."""
    print(f"{what} {job.network}, batch {job.batch}", flush=True)
    others = busy()
    if others is not None and others > BUSY:
        print(f"    others take {others:.0%} of the machine: such times say little", flush=True)
    graph, _ = job.load()
    modes = [mode for mode in MODES[job.use] if not options.modes or mode in options.modes]
    facts = {
        "what": what,
        "network": job.network,
        "batch": job.batch,
        "input": str(graph.inputs["image"].type),
        "parameters": analysis.parameters(graph),
        "multiply_adds": work(graph, job.use),
        "date": date.today().isoformat(),
        "busy_before": others,
    }
    if what == "memory":
        return {**facts, **remember(job, modes)}
    if what == "start":
        return {**facts, **begin(job, modes, options.rounds)}
    plan = Plan(options.rounds, options.turn, options.pause, options.hopeless)
    return {**facts, **compare(job, modes, plan)}


def main() -> None:
    def words(text: str) -> list[str]:
        return text.split(",")

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--what", type=words, default=list(WHAT), help=",".join(WHAT))
    parser.add_argument("--networks", type=words, help="resnet:resnet50,vgg:vgg16")
    parser.add_argument("--modes", type=words, help="torch:channels_last,onnxruntime")
    parser.add_argument("--engine", help="ours; the best one by default")
    parser.add_argument("--batch", type=int, help="instead of each network's own")
    parser.add_argument("--input", default="", help="HxWxC instead of each network's own")
    parser.add_argument("--rounds", type=int, default=7, help="turns of each side")
    parser.add_argument("--turn", type=float, default=0.5, help="seconds of a turn at least")
    parser.add_argument("--pause", type=float, default=0.3, help="seconds between turns")
    parser.add_argument("--warmup", type=int, default=3, help="steps before any is counted")
    parser.add_argument("--hopeless", type=float, default=5.0, help="times ours: one round")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of cpu.json")
    parser.add_argument("--docs", type=Path, default=ROOT / "docs", help="folder of the page")
    options = parser.parse_args()
    unknown = set(options.what) - set(WHAT)
    if unknown:
        parser.error(f"--what is of {', '.join(WHAT)}, not {', '.join(sorted(unknown))}")

    path = options.results / "cpu.json"
    measured = json.loads(path.read_text())["measured"] if path.exists() else {"entries": {}}
    wanted = [what for what in WHAT if what in options.what and what != "write"]
    if wanted:
        peaks = [sys.executable, str(Path(__file__).with_name("cpu_peaks.py"))]
        printed = subprocess.run(peaks, check=True, capture_output=True, text=True).stdout
        measured["peaks"] = json.loads(printed)
    for what in wanted:
        for job in jobs(options, what):
            entry = measure(what, job, options)
            key = f"{what} {job.network} {entry['input']} {job.batch}"
            old = measured["entries"].get(key, {})
            for part in ("pairs", "sides"):
                if part in entry:
                    entry[part] = {**old.get(part, {}), **entry[part]}
            measured["entries"][key] = entry
            write_result("cpu", measured, options.results)
    if "write" in options.what:
        for written in cpu_page.write(path, options.docs):
            print(written)


if __name__ == "__main__":
    main()
