"""One side of a comparison in a process of its own: `python benchmarks/cpu_worker.py --help`.

Builds a network, warms up and says so in a line of JSON on standard output. Then it answers a line
of JSON on standard input with another: `{"steps": 5, "settle": 1}` with the seconds of each of five
steps, one more before them not counted; `{"memory": true}` with bytes. Between them it waits. All
else that is printed goes to standard error.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cnndsl.cli.model import find_model, load_network
from cnndsl.graph.graph import Graph
from cnndsl.training.initialise import initial_states
from cnndsl.training.recipe import recipe_of

#: Of SGD in training; small, so that a network with random weights stays finite on one batch.
RATE, MOMENTUM = 1e-4, 0.9
STATUS = Path("/proc/self/status")


@dataclass(frozen=True)
class Job:
    """What a worker does: `use` is "train" or "infer", `input` HxWxC or empty for the model's.

    `precision`, "f32" or "bf16", is ours; a mode of a peer says its own.
    """

    mode: str
    network: str
    use: str
    batch: int
    input: str = ""
    warmup: int = 3
    precision: str = "f32"

    @property
    def script(self) -> Path:
        return Path(__file__)

    def arguments(self) -> list[str]:
        """The job as a command line."""
        return [str(value) for value in asdict(self).values()]

    def load(self) -> tuple[Graph, dict[str, np.ndarray]]:
        """The network, and its first weights: those of its recipe, the same in every worker."""
        network = load_network(self.network, input_size=self.input or None)
        return network.graph, initial_states(network.graph, recipe_of(network).initialisation, 0)


class Impossible(Exception):
    """A side that cannot run here, in words."""


@dataclass(frozen=True)
class Side:
    """A side that is built: a step that returns its loss or its logits, and facts to report."""

    step: Callable[[], Any]
    facts: dict[str, Any]


def data(graph: Graph, batch: int) -> tuple[np.ndarray, np.ndarray]:
    """Random images (N, H, W, C) and labels, the same in every worker."""
    numbers = np.random.default_rng(0)
    shape = (batch, *graph.inputs["image"].type.features)
    images = numbers.standard_normal(shape, np.float32)
    return images, numbers.integers(0, graph.outputs["logits"].type.elements, batch)


# Ours --------------------------------------------------------------------------------------------


def ours(job: Job, imported: Callable[[], None]) -> Side:
    """Our engine, `ours` for the best one or `ours:<name>`; images are copied in at every step."""
    from cnndsl.backends import get_backend
    from cnndsl.compile import Objective, compile_inference, compile_training
    from cnndsl.diagnostics import CnndslError
    from cnndsl.passes.precision import element_type

    try:
        engine = get_backend(job.mode.partition(":")[2] or None)
    except CnndslError as failure:
        raise Impossible(failure.diagnostics[0].message) from None
    imported()
    graph, states = job.load()
    images, labels = data(graph, job.batch)
    training = job.use == "train"
    precision = element_type(job.precision)
    if training:
        program = compile_training(graph, Objective(precision=precision), engine, job.batch)
    else:
        program = compile_inference(graph, engine, job.batch, precision=precision)
    for name, slot in program.states.items():
        program.write(name, states.get(name, np.zeros(slot.type.concrete(), slot.type.dtype)))
    if training:
        program.write("learning_rate", RATE)
        program.write("labels", labels)

    def step() -> Any:
        program.write("image", images)
        program.run()
        return program.read("loss" if training else "logits")

    from cnndsl import __version__

    return Side(
        step,
        {
            "version": f"cnndsl {__version__}, {engine.name}",
            "planned_bytes": program.arena_bytes + program.state_bytes,
            "moved_bytes": sum(each.moved for each in program.steps),
        },
    )


# PyTorch -----------------------------------------------------------------------------------------


def pytorch(job: Job, imported: Callable[[], None]) -> Side:
    """A mode of PyTorch, `torch:<mode>`; see MODES in cpu_pairs."""
    try:
        import torch
    except ImportError:
        raise Impossible("PyTorch is not installed") from None
    from torch_models import translate

    mode = job.mode.partition(":")[2]
    compiled = mode in ("compile", "compile_channels_last", "inductor", "inductor_channels_last")
    if compiled:
        import torch._inductor.compile_fx
    _touch()
    imported()
    graph, states = job.load()
    images, labels = data(graph, job.batch)
    layout = torch.contiguous_format
    if mode in ("channels_last", "bf16", "frozen") or mode.endswith("channels_last"):
        layout = torch.channels_last
    image = torch.tensor(images).permute(0, 3, 1, 2).contiguous(memory_format=layout)
    network = translate(graph, states, heads=job.use == "train").to(memory_format=layout)
    facts = {"version": f"PyTorch {torch.__version__}", "threads": torch.get_num_threads()}
    if job.use == "train":
        return Side(_training(network, graph, image, torch.tensor(labels), mode, compiled), facts)
    return Side(_inference(network.eval(), image, mode, compiled), facts)


def _touch() -> None:
    """A step of one layer, so that what libraries load when first used is there already."""
    import torch

    layer = torch.nn.Conv2d(8, 8, 3)
    layer(torch.ones(1, 8, 8, 8)).sum().backward()


def _training(
    network: Any, graph: Graph, image: Any, labels: Any, mode: str, compiled: bool
) -> Callable[[], Any]:
    import torch
    from torch_training import loss_of, sgd

    optimizer = sgd(network.train(), graph, RATE, MOMENTUM)

    def forward(image: Any) -> Any:
        with torch.autocast("cpu", torch.bfloat16, enabled=mode == "bf16"):
            return loss_of(network(image), labels, network.shares)

    if compiled:
        forward = torch.compile(forward)

    def step() -> Any:
        optimizer.zero_grad()
        loss = forward(image)
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def _inference(network: Any, image: Any, mode: str, compiled: bool) -> Callable[[], Any]:
    import torch

    if mode.startswith("inductor"):
        import torch._inductor.config

        torch._inductor.config.freezing = True
    if mode == "frozen":
        with torch.no_grad():
            network = torch.jit.optimize_for_inference(torch.jit.trace(network, image))
    run = torch.compile(network) if compiled else network

    # Freezing and traced modules want no_grad; inference_mode is the quickest for the others.
    without = torch.no_grad if compiled or mode == "frozen" else torch.inference_mode

    def step() -> Any:
        with without(), torch.autocast("cpu", torch.bfloat16, enabled=mode == "bf16"):
            return run(image).float()

    return step


# ONNX Runtime ------------------------------------------------------------------------------------


def onnx_runtime(job: Job, imported: Callable[[], None]) -> Side:
    """ONNX Runtime on the file that we export, in a process that exports and ends."""
    try:
        import onnxruntime
    except ImportError:
        raise Impossible("ONNX Runtime is not installed") from None
    if job.use == "train":
        raise Impossible("ONNX Runtime is compared in inference alone")
    imported()
    graph, _ = job.load()
    images, _ = data(graph, job.batch)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        command = [sys.executable, __file__, *job.arguments(), "--export", str(path)]
        subprocess.run(command, check=True, stdout=sys.stderr)
        if not path.exists():
            raise Impossible("this version of ours does not export ONNX")
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (entry,) = session.get_inputs()
    if list(entry.shape[1:]) != list(images.shape[1:]):
        images = np.ascontiguousarray(np.moveaxis(images, -1, 1))

    def step() -> Any:
        return session.run(None, {entry.name: images})[0]

    return Side(step, {"version": f"ONNX Runtime {onnxruntime.__version__}"})


def export(job: Job, path: Path) -> None:
    """Write the network with the weights of all workers as ONNX, if we can."""
    from cnndsl import load

    reference = find_model(job.network)
    size = tuple(map(int, job.input.split("x"))) if job.input else None
    model = load(reference.path, reference.name, input_size=size)
    if hasattr(model, "export"):
        model.export(path)


# The process -------------------------------------------------------------------------------------


def memory(line: str) -> int | None:
    """Bytes that the process holds (`VmRSS`) or held at most (`VmHWM`); None off Linux."""
    if not STATUS.exists():
        return None
    found = next(text for text in STATUS.read_text().splitlines() if text.startswith(line))
    return int(found.split()[1]) * 1024


def forget_peak() -> bool:
    """Give free memory back and start `VmHWM` anew; whether the system lets us."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def timed(step: Callable[[], Any], count: int) -> list[float]:
    """Seconds of each of some steps."""
    seconds = []
    for _ in range(count):
        began = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - began)
    return seconds


def length(result: Any) -> float:
    """The norm of a result: the loss itself, or that of the logits."""
    return float(np.linalg.norm(np.asarray(result, dtype=np.float64)))


def build(job: Job) -> tuple[Side, dict[str, Any]]:
    """The side of a job, warm, and what the parent is told."""
    kinds = {"ours": ours, "torch": pytorch, "onnxruntime": onnx_runtime}
    before: list[int | None] = []
    side = kinds[job.mode.partition(":")[0]](job, lambda: before.append(memory("VmRSS")))
    began = time.perf_counter()
    first = length(side.step())
    seconds = [time.perf_counter() - began, *timed(side.step, job.warmup - 1)]
    told = {"first_result": first, "warmup_seconds": seconds, "bytes_before": before[0]}
    return side, {**told, "peak_is_of_steps": forget_peak(), **side.facts}


def answer(side: Side, command: dict[str, Any]) -> dict[str, Any]:
    """What a command of the parent asks for."""
    if "memory" in command:
        return {"bytes_peak": memory("VmHWM")}
    timed(side.step, command["settle"])
    return {"seconds": timed(side.step, command["steps"])}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("mode", "network", "use"):
        parser.add_argument(name)
    parser.add_argument("batch", type=int)
    parser.add_argument("input", nargs="?", default="")
    parser.add_argument("warmup", nargs="?", type=int, default=3)
    parser.add_argument("precision", nargs="?", default="f32")
    parser.add_argument("--export", type=Path, help="write this .onnx file and end")
    options = vars(parser.parse_args())
    path, job = options.pop("export"), Job(**options)
    if path is not None:
        export(job, path)
        return
    channel = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def say(facts: dict[str, Any]) -> None:
        print(json.dumps(facts), file=channel, flush=True)

    try:
        side, told = build(job)
    except Impossible as reason:
        say({"impossible": str(reason)})
        return
    say(told)
    for line in sys.stdin:
        say(answer(side, json.loads(line)))


if __name__ == "__main__":
    main()
