"""What every benchmark shares: the machine's description, medians, and results as JSON."""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

from cnndsl import __version__
from cnndsl.files import write_whole

RESULTS = Path(__file__).parent / "results"


def machine() -> dict[str, Any]:
    """The processor, its cores, the memory and the versions that matter."""
    import numpy

    model, memory = platform.processor(), None
    if Path("/proc/cpuinfo").exists():
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
        memory = int(Path("/proc/meminfo").read_text().split()[1]) // 1024
    return {
        "processor": model,
        "cores": os.cpu_count(),
        "memory_mib": memory,
        "system": platform.platform(),
        "python": platform.python_version(),
        "numpy": numpy.__version__,
        "cnndsl": __version__,
    }


def median_seconds(call: Callable[[], Any], clock: Callable[[], float], repeats: int = 7) -> float:
    """The median time of a call, after one that does not count."""
    call()
    times = []
    for _ in range(repeats):
        began = clock()
        call()
        times.append(clock() - began)
    return statistics.median(times)


def write_result(name: str, measured: Any) -> Path:
    """Write `results/<name>.json` with the machine and the day."""
    path = RESULTS / f"{name}.json"
    content = {"machine": machine(), "date": date.today().isoformat(), "measured": measured}
    write_whole(path, json.dumps(content, indent=2) + "\n")
    return path
