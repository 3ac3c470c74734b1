"""How long parsing, elaboration and checking take: `python benchmarks/frontend.py`.

In process for ResNets of 18 to 1,202 layers, and as processes for some commands.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from measure import median_seconds, write_result

import cnndsl.ops  # noqa: F401
from cnndsl.compile import check
from cnndsl.diagnostics import Source
from cnndsl.frontend.library import load_file, load_text
from cnndsl.graph import analysis

ROOT = Path(__file__).resolve().parents[1]
RESNET = ROOT / "zoo" / "resnet.cnn"
CODE = "from cnndsl.cli import main; main()"


def in_process(name: str, text: str | None = None) -> dict[str, object]:
    """Seconds of parse + elaborate + check of one model, and its layers."""

    def run() -> None:
        module = load_text(Source("text", text)) if text else load_file(RESNET)
        diagnostics, networks = check(module, name)
        assert not diagnostics
        run.layers = len(analysis.layers(networks[0].graph))  # type: ignore[attr-defined]

    seconds = median_seconds(run, time.perf_counter)
    layers = run.layers  # type: ignore[attr-defined]
    print(
        f"{name:12} {layers:6} layers {1e3 * seconds:8.1f} ms {1e6 * seconds / layers:6.0f} µs each"
    )
    return {"model": name, "layers": layers, "seconds": seconds}


def process(*arguments: str) -> dict[str, object]:
    """Seconds of a command as a process of its own."""
    command = [sys.executable, "-c", CODE, *arguments]

    def run() -> None:
        subprocess.run(command, check=True, capture_output=True, cwd=ROOT)

    seconds = median_seconds(run, time.perf_counter)
    print(f"cnndsl {' '.join(arguments):40} {1e3 * seconds:8.1f} ms")
    return {"command": " ".join(arguments), "seconds": seconds}


def main() -> None:
    deep = RESNET.read_text() + "\nmodel resnet1202 = cifar(200)\n"
    inside = [in_process(f"resnet{n}") for n in (18, 50, 152, 20, 110)]
    inside.append(in_process("resnet1202", deep))
    outside = [
        process("--help"),
        process("check", "zoo/resnet.cnn:resnet152"),
        process("summary", "zoo/resnet.cnn:resnet152"),
        process("fmt", "--check", "zoo/resnet.cnn"),
    ]
    print(write_result("frontend", {"in_process": inside, "processes": outside}))


if __name__ == "__main__":
    main()
