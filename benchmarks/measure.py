"""What every benchmark shares: the machine's description, medians, and results as JSON."""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
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


def busy(seconds: float = 1.0) -> float | None:
    """The part of all cores' time that others take, seen while we wait; None off Linux.

    What a hypervisor takes away counts as well.
    """
    path = Path("/proc/stat")
    if not path.exists():
        return None

    def ticks() -> list[int]:
        return [int(word) for word in path.read_text().split("\n", 1)[0].split()[1:9]]

    before = ticks()
    time.sleep(seconds)
    spent = [after - earlier for earlier, after in zip(before, ticks(), strict=True)]
    idle = spent[3] + spent[4]
    return 1 - idle / max(1, sum(spent))


def median_seconds(call: Callable[[], Any], clock: Callable[[], float], repeats: int = 7) -> float:
    """The median time of a call, after one that does not count."""
    call()
    times = []
    for _ in range(repeats):
        began = clock()
        call()
        times.append(clock() - began)
    return statistics.median(times)


def write_result(name: str, measured: Any, folder: Path = RESULTS) -> Path:
    """Write `<name>.json` with the machine and the day."""
    path = folder / f"{name}.json"
    content = {"machine": machine(), "date": date.today().isoformat(), "measured": measured}
    write_whole(path, json.dumps(content, indent=2) + "\n")
    return path
