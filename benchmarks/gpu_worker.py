"""One side of a comparison on a GPU, in a process of its own: `python benchmarks/gpu_worker.py -h`.

It speaks as `cpu_worker.py` does. Images and labels are on the device from the start, steps are
enqueued without waiting, and the seconds of a turn are those until the last one has ended, divided
by their number. What is held at most counts from the second step on: the first one is when kernels
are chosen.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from cpu_worker import MOMENTUM, RATE, Impossible, data

from cnndsl.cli.model import load_network
from cnndsl.graph import analysis
from cnndsl.training.initialise import initial_states
from cnndsl.training.recipe import recipe_of


@dataclass(frozen=True)
class Job:
    """What a worker does: `use` is "train" or "infer".

    Modes are `ours:<engine>`, `torch:eager`, `torch:compile`, `torch:graphs`, and in inference
    `ort` and `ort:graphs`. `precision` is "bf16", "f32" or "tf32"; PyTorch gets maps with channels
    last, and autocast for bf16, on `device`; ONNX Runtime float16 for bf16.
    """

    mode: str
    network: str
    use: str
    batch: int
    precision: str = "bf16"
    device: str = "cuda"
    warmup: int = 5

    @property
    def script(self) -> Path:
        return Path(__file__)

    def arguments(self) -> list[str]:
        """The job as a command line."""
        return [str(value) for value in asdict(self).values()]


@dataclass(frozen=True)
class Side:
    """A side that is built: what enqueues a step, what waits for it, what it leaves, and what lets
    it forget what it held at most."""

    step: Callable[[], Any]
    wait: Callable[[], Any]
    result: Callable[[], Any]
    facts: Callable[[], dict[str, Any]]
    forget: Callable[[], Any] = lambda: None


def ours(job: Job) -> Side:
    """Our engine of a name."""
    from cnndsl import __version__
    from cnndsl.backends import get_backend
    from cnndsl.compile import Objective, compile_inference, compile_training
    from cnndsl.diagnostics import CnndslError
    from cnndsl.passes.precision import element_type

    try:
        engine = get_backend(job.mode.partition(":")[2], precision=job.precision)
    except CnndslError as failure:
        raise Impossible(failure.diagnostics[0].message) from None
    network = load_network(job.network)
    graph, precision = network.graph, element_type(job.precision)
    states = initial_states(graph, recipe_of(network).initialisation, 0)
    images, labels = data(graph, job.batch)
    if job.use == "train":
        program = compile_training(graph, Objective(precision=precision), engine, job.batch)
        program.write("learning_rate", RATE)
        program.write("labels", labels)
    else:
        program = compile_inference(graph, engine, job.batch, precision=precision)
    for name, slot in program.states.items():
        if name != "learning_rate":
            empty = np.zeros(slot.type.concrete(), slot.type.dtype)
            program.write(name, states.get(name, empty))
    program.write("image", images)
    output = "loss" if job.use == "train" else "logits"

    def facts() -> dict[str, Any]:
        return {
            "version": f"cnndsl {__version__}, {engine.name}",
            "bytes_peak": program.arena_bytes + program.state_bytes,
            "parameter_bytes": 4 * analysis.parameters(graph),
            "moved_bytes": sum(each.moved for each in program.steps),
            "operations": sum(each.operations for each in program.steps),
            "steps": len(program.steps),
        }

    def read() -> Any:
        return program.read(output)

    return Side(program.run, read, read, facts)


def pytorch(job: Job) -> Side:
    """A mode of PyTorch."""
    try:
        import torch
    except ImportError:
        raise Impossible("PyTorch is not installed") from None
    if job.device == "cuda" and not torch.cuda.is_available():
        raise Impossible("PyTorch sees no GPU")
    from torch_models import translate
    from torch_training import loss_of, sgd

    torch.backends.cudnn.benchmark = True
    rounds = job.precision == "tf32"
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = rounds
    loaded = load_network(job.network)
    graph, training = loaded.graph, job.use == "train"
    states = initial_states(graph, recipe_of(loaded).initialisation, 0)
    images, labels = data(graph, job.batch)
    last = {"memory_format": torch.channels_last}
    image = torch.tensor(images, device=job.device).permute(0, 3, 1, 2).contiguous(**last)
    wanted = torch.tensor(labels, device=job.device)
    network = translate(graph, states, heads=training).to(job.device).to(**last)
    short = job.precision == "bf16"
    settings = {
        "eager": None,
        "compile": {"mode": "max-autotune-no-cudagraphs"},
        "graphs": {"mode": "max-autotune"},
    }[job.mode.partition(":")[2]]
    kept: list[Any] = [None]

    def forward(image: Any) -> Any:
        with torch.autocast(job.device, torch.bfloat16, enabled=short):
            return loss_of(network(image), wanted, network.shares) if training else network(image)

    if settings is not None:
        forward = torch.compile(forward, **settings)
    if training:
        optimizer = sgd(network.train(), graph, RATE, MOMENTUM)
    else:
        network.eval()

    def train() -> None:
        optimizer.zero_grad(set_to_none=True)
        kept[0] = forward(image)
        kept[0].backward()
        optimizer.step()

    def infer() -> None:
        with torch.inference_mode(settings is None), torch.no_grad():
            kept[0] = forward(image)

    def wait() -> None:
        if job.device == "cuda":
            torch.cuda.synchronize()

    def facts() -> dict[str, Any]:
        peak = torch.cuda.max_memory_allocated() if job.device == "cuda" else None
        return {"version": f"PyTorch {torch.__version__}", "bytes_peak": peak}

    def result() -> Any:
        return kept[0].detach().float().cpu().numpy()

    def forget() -> None:
        if job.device == "cuda":
            torch.cuda.reset_peak_memory_stats()

    return Side(train if training else infer, wait, result, facts, forget)


def onnx_runtime(job: Job) -> Side:
    """ONNX Runtime on the file that `cnndsl export` writes, images and logits on the device."""
    try:
        import onnxruntime
    except ImportError:
        raise Impossible("ONNX Runtime is not installed (pip install onnxruntime-gpu)") from None
    if job.use == "train":
        raise Impossible("ONNX Runtime is compared in inference alone")
    provider = {"cuda": "CUDAExecutionProvider", "cpu": "CPUExecutionProvider"}[job.device]
    if provider not in onnxruntime.get_available_providers():
        raise Impossible(f"ONNX Runtime has no {provider} here (pip install onnxruntime-gpu)")
    model, ran_in = exported(job)
    settings = {}
    if job.device == "cuda":
        settings["use_tf32"] = str(int(job.precision == "tf32"))
        settings["enable_cuda_graph"] = str(int(job.mode == "ort:graphs"))
    session = onnxruntime.InferenceSession(model, providers=[(provider, settings)])
    if provider not in session.get_providers():
        raise Impossible(f"ONNX Runtime cannot use its {provider} here: CUDA or cuDNN is missing")
    images, _ = data(load_network(job.network).graph, job.batch)
    images = np.ascontiguousarray(np.moveaxis(images, -1, 1))
    (entry,), (leaving,) = session.get_inputs(), session.get_outputs()
    binding = session.io_binding()
    image = onnxruntime.OrtValue.ortvalue_from_numpy(images, job.device, 0)
    shape = [job.batch, *leaving.shape[1:]]
    logits = onnxruntime.OrtValue.ortvalue_from_shape_and_type(shape, np.float32, job.device, 0)
    binding.bind_ortvalue_input(entry.name, image)
    binding.bind_ortvalue_output(leaving.name, logits)
    enqueued = onnxruntime.RunOptions()
    enqueued.add_run_config_entry("disable_synchronize_execution_providers", "1")

    def step() -> None:
        session.run_with_iobinding(binding, enqueued)

    def result() -> Any:
        binding.synchronize_outputs()
        return logits.numpy()

    version = f"ONNX Runtime {onnxruntime.__version__}, {provider}, {ran_in}"
    return Side(step, binding.synchronize_outputs, result, lambda: {"version": version})


def exported(job: Job) -> tuple[bytes, str]:
    """The network as `cnndsl export` writes it, and the element type that it computes in."""
    import onnx

    from cnndsl.export.write import write_onnx

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        write_onnx(load_network(job.network), path, batch=job.batch)
        model = onnx.load(path)
    if job.precision != "bf16":
        return model.SerializeToString(), f"float32{' (tf32)' * (job.precision == 'tf32')}"
    from onnxruntime.transformers.float16 import convert_float_to_float16

    short = convert_float_to_float16(model, keep_io_types=True)
    return short.SerializeToString(), "float16"


def timed(side: Side, count: int) -> float:
    """Seconds a step, of so many that nobody waits for in between."""
    side.wait()
    began = time.perf_counter()
    for _ in range(count):
        side.step()
    side.wait()
    return (time.perf_counter() - began) / count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("mode", "network", "use"):
        parser.add_argument(name)
    parser.add_argument("batch", type=int)
    parser.add_argument("precision", nargs="?", default="bf16")
    parser.add_argument("device", nargs="?", default="cuda")
    parser.add_argument("warmup", nargs="?", type=int, default=5)
    job = Job(**vars(parser.parse_args()))
    channel = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def say(facts: dict[str, Any]) -> None:
        print(json.dumps(facts), file=channel, flush=True)

    kinds = {"ours": ours, "torch": pytorch, "ort": onnx_runtime}
    try:
        side = kinds[job.mode.partition(":")[0]](job)
    except Impossible as reason:
        say({"impossible": str(reason)})
        return
    began = time.perf_counter()
    side.step()
    first = float(np.linalg.norm(np.asarray(side.result(), np.float64)))
    built = time.perf_counter() - began
    side.forget()
    warm = [timed(side, 1) for _ in range(job.warmup)]
    say(
        {"first_result": first, "first_step_seconds": built, "warmup_seconds": warm, **side.facts()}
    )
    for line in sys.stdin:
        command = json.loads(line)
        if "memory" in command:
            say(side.facts())
            continue
        timed(side, max(1, command["settle"]))
        say({"seconds": [timed(side, command["steps"])]})


if __name__ == "__main__":
    main()
