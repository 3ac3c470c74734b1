"""The GPU engine on a GPU, checked and then measured: `python benchmarks/gpu.py --help`.

Everything in one command, in pieces of which each is a process of its own. What a piece found is
written to `gpu.json` at once; a piece that is there already is left out, so that the command can be
called again until all is done. Checks come first: of one kernel and one convolution, of every layer
and its gradient, of whole steps. Then the peaks of the device, and ours against modes of PyTorch,
and in inference of ONNX Runtime, taking turns on the same device, weights and images. Of what is
there `--what write` makes the page of the documentation.
"""

from __future__ import annotations

import argparse
import json
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any, NoReturn

import gpu_page
from cpu_pairs import Plan, interval, pair, ratio
from gpu_worker import Job
from measure import RESULTS, machine

from cnndsl.files import write_whole

ROOT = Path(__file__).resolve().parents[1]
CHECKS = Path(__file__).with_name("gpu_checks.py")
#: Images of a step that fill a large card.
TRAIN = {
    "resnet:resnet20": 512,
    "resnet:resnet50": 256,
    "googlenet:googlenet": 256,
    "mobilenet:mobilenet_v2": 256,
    "densenet:densenet121": 128,
    "alexnet:alexnet": 1024,
    "vgg:vgg16": 128,
    "resnext:resnext50_32x4d": 128,
}
#: Images of a forward pass: one for latency, many for throughput.
INFER = (1, 256)
#: The peers' modes; the latter in inference alone.
TORCH, ORT = ("torch:eager", "torch:compile", "torch:graphs"), ("ort", "ort:graphs")
#: Elements of the array that is copied to measure peaks, and rows of the matrices.
LARGE = {"cuda": (2**30, 8192), "cpu": (2**22, 256)}

Piece = tuple[str, Callable[[], Any]]


def checked(engine: str, what: str, most: int | None, limit: float) -> dict[str, Any]:
    """The checks of a kind, as far as they came in the time; and which failed."""
    command = [sys.executable, str(CHECKS), engine, what]
    command += ["--most", str(most)] if most else []
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=limit, check=False)
        printed, said, status = done.stdout, done.stderr, done.returncode
    except subprocess.TimeoutExpired as late:
        printed, said, status = (late.stdout or b"").decode(), "out of time", None
    lines = [json.loads(line) for line in printed.splitlines()]
    failed = [
        line for line in lines if "error" in line or not line["differs"] <= line["may_differ"]
    ]
    result = {"status": status, "checks": len(lines), "failed": failed, "all": lines}
    if status != 0:
        result["said"] = said.strip().splitlines()[-3:]
    print(f"    {len(lines)} checks, {len(failed)} failed", *result.get("said", ()), flush=True)
    for line in failed[:20]:
        print(f"        {line['check']}: {line.get('error', line.get('differs'))}", flush=True)
    return result


def peaks(device: str) -> dict[str, Any]:
    """Bytes a second of a copy, read and written, and operations a second of products in bf16."""
    import torch

    elements, rows = LARGE[device]
    big = torch.empty(elements, dtype=torch.float32, device=device)
    other = torch.empty_like(big)
    a, b = (torch.randn(rows, rows, device=device, dtype=torch.bfloat16) for _ in range(2))
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    return {
        "device": torch.cuda.get_device_name() if device == "cuda" else device,
        "properties": _properties() if device == "cuda" else None,
        "torch": torch.__version__,
        "copy_bytes_per_second": 2 * big.nbytes / _seconds(lambda: other.copy_(big), wait),
        "bf16_operations_per_second": 2 * rows**3 / _seconds(lambda: a @ b, wait),
    }


def _properties() -> Any:
    """What cuDNN knows of the device: what tests plan for is to be that."""
    from cnndsl.backends.cuda.cudnn_library import frontend, unavailable

    if unavailable() is not None:
        return None
    return json.loads(frontend().create_device_properties(0).serialize())


def _seconds(call: Callable[[], Any], wait: Callable[[], Any], repeats: int = 10) -> float:
    for _ in range(3):
        call()
    wait()
    began = time.perf_counter()
    for _ in range(repeats):
        call()
    wait()
    return (time.perf_counter() - began) / repeats


def compared(ours: Job, mode: str, plan: Plan, peaks: dict[str, Any] | None) -> dict[str, Any]:
    """A job of ours and a mode of a peer, in turns, and what follows from that."""
    result = pair(ours, replace(ours, mode=mode), plan)
    if "skipped" in result:
        print(f"    skipped: {result['skipped']}", flush=True)
        return result
    own, peer = (statistics.median(result[side]["seconds"]) for side in ("ours", "peer"))
    low, high = interval(result)
    known = gpu_page.figures(result, ours.use, ours.batch, peaks)
    print(
        f"    {1e3 * peer:9.3f} ms, ours {1e3 * own:9.3f} ms ({ours.batch / own:,.0f} images/s): "
        f"{ratio(result):.2f} [{low:.2f}, {high:.2f}], differ by "
        f"{result['results_differ_by']:.0e}, "
        f"memory {gpu_page.beside(known['memory_ratio'], None)}, "
        f"of the roofline {gpu_page.beside(known['roofline_share'], None, form='.0%')}",
        flush=True,
    )
    return {**result, **known}


def pieces(options: argparse.Namespace, found: dict[str, Any]) -> Iterator[Piece]:
    """All that is to be done, in order, each with a name; `found` is what is there by then."""
    job = Job(f"ours:{options.engine}", "", "train", 0, options.precision, options.device)
    plan = Plan(rounds=options.rounds, turn=options.turn, pause=0.05)
    what = options.what.split(",")
    if "check" in what:
        for kind in ("layers", "gradients", "networks"):
            yield (
                f"check {kind}",
                lambda kind=kind: checked(options.engine, kind, options.most, options.limit),
            )
    if "peaks" in what:
        yield "peaks", lambda: peaks(options.device)
    networks = options.networks.split(",") if options.networks else list(TRAIN)
    modes = options.modes.split(",")

    def turns(own: Job, mode: str) -> dict[str, Any]:
        return compared(own, mode, plan, gpu_page.peaks_of(found))

    if "train" in what:
        for network in networks:
            for mode in (mode for mode in modes if mode not in ORT):
                own = replace(job, network=network, batch=options.batch or TRAIN[network])
                yield (
                    f"train {network} {own.batch} {own.precision} {mode}",
                    lambda own=own, mode=mode: turns(own, mode),
                )
    if "infer" in what:
        for network in networks:
            for batch in (options.batch,) if options.batch else INFER:
                for mode in modes:
                    own = replace(job, network=network, use="infer", batch=batch)
                    yield (
                        f"infer {network} {batch} {own.precision} {mode}",
                        lambda own=own, mode=mode: turns(own, mode),
                    )


def _too_long(*_: object) -> NoReturn:
    raise TimeoutError("it took too long")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--what", default="check,peaks,train,infer", help="some of these, or `write` the page"
    )
    parser.add_argument("--engine", default="cuda")
    parser.add_argument("--device", default="cuda", help="PyTorch's")
    parser.add_argument("--precision", default="bf16", choices=["bf16", "f32", "tf32"])
    parser.add_argument("--networks", help="resnet:resnet50,vgg:vgg16")
    parser.add_argument("--modes", default=",".join([*TORCH, *ORT]))
    parser.add_argument("--batch", type=int, help="instead of each network's own")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--turn", type=float, default=0.5, help="seconds of a turn at least")
    parser.add_argument("--most", type=int, help="checks of a kind")
    parser.add_argument("--limit", type=float, default=240, help="seconds of a piece at most")
    parser.add_argument("--seconds", type=float, default=280, help="begin no piece after them")
    parser.add_argument("--again", action="store_true", help="do pieces that are there already")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of gpu.json")
    parser.add_argument("--docs", type=Path, default=ROOT / "docs", help="folder of the page")
    options = parser.parse_args()
    path = options.results / "gpu.json"
    if options.what == "write":
        print(gpu_page.write(path, options.docs))
        return
    signal.signal(signal.SIGALRM, _too_long)
    found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    began = time.perf_counter()
    for name, run in pieces(options, found):
        if name in found and not options.again:
            continue
        if time.perf_counter() - began > options.seconds:
            print(f"out of time before: {name}", flush=True)
            break
        print(name, flush=True)
        start = time.perf_counter()
        signal.alarm(int(options.limit) + 10)
        try:
            result = run()
        except Exception as failure:  # the other pieces are to be done all the same
            result = {"error": f"{type(failure).__name__}: {failure}"[:500]}
            print(f"    {result['error']}", flush=True)
        signal.alarm(0)
        found[name] = {"took_seconds": round(time.perf_counter() - start, 1), "result": result}
        found |= {"machine": machine(), "date": date.today().isoformat()}
        write_whole(path, json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
