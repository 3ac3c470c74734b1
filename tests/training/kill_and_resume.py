"""Kills training processes at random moments, resumes them, and compares with an undisturbed run.

As a script: `python tests/training/kill_and_resume.py zoo/resnet.cnn:resnet20 synthetic 20`.
"""

from __future__ import annotations

import hashlib
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from safetensors.numpy import load_file


def command(model: str, data: str, out: Path, *more: str) -> list[str]:
    """The command line of a run that writes checkpoints as often as it can."""
    arguments = ["run", model, "--train", data, "--out", str(out), "--checkpoint-seconds", "0.05"]
    code = "from cnndsl.cli import main; main()"
    return [sys.executable, "-c", code, *arguments, *more]


def fingerprint(out: Path) -> tuple[str, list[dict[str, object]], object]:
    """Every tensor's bytes, the metrics without times, and the test accuracy."""
    digest = hashlib.sha256()
    for name, array in sorted(load_file(out / "checkpoints" / "last.safetensors").items()):
        digest.update(name.encode())
        digest.update(array.tobytes())
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    for line in lines:
        del line["images_per_second"]
    return digest.hexdigest(), lines, json.loads((out / "result.json").read_text())["test_accuracy"]


def finish(model: str, data: str, out: Path, *more: str) -> float:
    """Run to the end; the seconds it took."""
    began = time.monotonic()
    subprocess.run(command(model, data, out, *more), check=True, capture_output=True)
    return time.monotonic() - began


def kill_after(seconds: float, model: str, data: str, out: Path, *more: str) -> bool:
    """Start or resume a run and kill it (SIGKILL) after so many seconds; whether it still ran."""
    process = subprocess.Popen(
        command(model, data, out, *more), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return True
    return False


def trials(
    model: str, data: str, count: int, folder: Path, options: Sequence[str], seed: int = 0
) -> list[str]:
    """Kill `count` runs at random moments and resume them; what differs from the undisturbed run.

    A run that ends before its moment comes is not counted, and another one is tried.
    """
    randomness = random.Random(seed)
    seconds = finish(model, data, folder / "whole", *options)
    wanted = fingerprint(folder / "whole")
    kills, tried, differences = 0, 0, []
    while kills < count:
        out = folder / f"trial-{tried}"
        tried += 1
        if tried > 3 * count:
            raise RuntimeError("the runs end before they can be killed")
        moment = randomness.uniform(0.1, 0.95) * seconds
        if not kill_after(moment, model, data, out, *options):
            continue
        kills += 1
        finish(model, data, out, *options, "--resume")
        found = fingerprint(out)
        for what, here, there in zip(("weights", "metrics", "test"), found, wanted, strict=True):
            if here != there:
                differences.append(f"killed after {moment:.2f} s: {what} differ")
        print(f"kill {kills}, after {moment:.2f} s", flush=True)
    return differences


if __name__ == "__main__":
    network, dataset, number, *rest = sys.argv[1:]
    with tempfile.TemporaryDirectory() as place:
        wrong = trials(network, dataset, int(number), Path(place), rest)
    print(f"{number} kills, {len(wrong)} differences")
    print("\n".join(wrong))
    sys.exit(bool(wrong))
