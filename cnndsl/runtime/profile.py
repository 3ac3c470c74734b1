"""Where a program spends its time: every step timed by itself."""

from __future__ import annotations

import statistics
from dataclasses import dataclass

from cnndsl.runtime.kernel import Peaks
from cnndsl.runtime.program import Program, Step


@dataclass(frozen=True, slots=True)
class Timing:
    """A step, and the median of its times in seconds."""

    step: Step
    seconds: float

    @property
    def operations_per_second(self) -> float:
        return self.step.operations / self.seconds

    @property
    def bytes_per_second(self) -> float:
        return self.step.moved / self.seconds


def profile(program: Program, repeats: int = 5) -> list[Timing]:
    """The median time of every step, longest first; states are as they were afterwards.

    The first run does not count. Steps that write state are executed too, on what they read.
    """
    saved = {name: program.read(name) for name in program.states}
    times: list[list[float]] = [[] for _ in program.steps]
    program.run()
    with program.backend.running():
        for _ in range(repeats):
            for step, taken in zip(program.steps, times, strict=True):
                taken.append(program.backend.seconds(step.run))
    for name, array in saved.items():
        program.write(name, array)
    timings = [
        Timing(step, max(statistics.median(taken), 1e-9))
        for step, taken in zip(program.steps, times, strict=True)
    ]
    return sorted(timings, key=lambda timing: -timing.seconds)


def table(timings: list[Timing], peaks: Peaks, most: int = 40) -> list[str]:
    """The longest steps, and the sum of all: milliseconds, share, what is done and how.

    The shares of the peaks are those of a large matrix product and of a large copy.
    """
    total = sum(timing.seconds for timing in timings)
    peak = peaks.operations
    numbers = ("ms", "%", "GFLOP/s", "% peak", "GB/s", "% copy")
    head = (*numbers, "layer", "step", "layout", "implementation")
    rows = [
        (
            f"{1e3 * each.seconds:.3f}",
            f"{100 * each.seconds / total:.1f}",
            f"{each.operations_per_second / 1e9:.1f}",
            f"{100 * each.operations_per_second / peak:.0f}",
            f"{each.bytes_per_second / 1e9:.1f}",
            f"{100 * each.bytes_per_second / peaks.bytes:.0f}",
            each.step.name,
            _short(each.step.text),
            str(each.step.layout or "nhwc"),
            each.step.implementation or "numpy",
        )
        for each in timings[:most]
    ]
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    lines = [
        "  ".join(
            cell.rjust(width) if column < len(numbers) else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in (head, *rows)
    ]
    work = sum(timing.step.operations for timing in timings)
    rest = len(timings) - len(rows)
    lines += [f"and {rest} shorter steps"] * (rest > 0)
    lines.append(
        f"{1e3 * total:,.1f} ms in {len(timings)} steps, {work / total / 1e9:,.1f} GFLOP/s, "
        f"{100 * work / total / peak:.0f} % of the {peak / 1e9:,.0f} of a matrix product"
    )
    return lines


def _short(text: str, longest: int = 48) -> str:
    return text if len(text) <= longest else text[: longest - 1] + "…"
