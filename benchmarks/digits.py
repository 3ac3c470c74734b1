"""LeNet on the digits, five seeds as five processes: `python benchmarks/digits.py`."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from measure import write_result

ROOT = Path(__file__).resolve().parents[1]
CODE = "from cnndsl.cli import main; main()"


def train(seed: int, folder: Path) -> dict[str, float]:
    """Test accuracy and the seconds of the whole process."""
    out = folder / str(seed)
    arguments = ["run", "zoo/lenet.cnn", "--train", "digits", "--seed", str(seed)]
    began = time.perf_counter()
    subprocess.run(
        [sys.executable, "-c", CODE, *arguments, "--out", str(out)],
        check=True,
        capture_output=True,
        cwd=ROOT,
    )
    seconds = time.perf_counter() - began
    accuracy = json.loads((out / "result.json").read_text())["test_accuracy"]
    print(f"seed {seed}: {accuracy:.2%} in {seconds:.1f} s", flush=True)
    return {"seed": seed, "test_accuracy": accuracy, "seconds": seconds}


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        runs = [train(seed, Path(folder)) for seed in range(5)]
    median = statistics.median(run["test_accuracy"] for run in runs)
    print(f"median {median:.2%}")
    print(write_result("digits", {"runs": runs, "median_test_accuracy": median}))


if __name__ == "__main__":
    main()
