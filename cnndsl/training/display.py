"""What a person sees while a network trains: a live bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from typing import Any, Protocol, TextIO


@dataclass(frozen=True, slots=True)
class Reading:
    """Where training stands: within an epoch, and overall."""

    epoch: int
    epochs: int
    batch: int
    batches: int
    loss: float
    accuracy: float
    images_per_second: float
    seconds_left: float


class Display(Protocol):
    """Shows readings; `epoch` shows what one came to."""

    def step(self, reading: Reading) -> None: ...

    def epoch(self, metrics: dict[str, Any], seconds_left: float) -> None: ...

    def note(self, text: str) -> None: ...

    def close(self) -> None: ...


class Silent:
    """Shows nothing."""

    def step(self, reading: Reading) -> None: ...

    def epoch(self, metrics: dict[str, Any], seconds_left: float) -> None: ...

    def note(self, text: str) -> None: ...

    def close(self) -> None: ...


def clock(seconds: float) -> str:
    """Seconds as `1:02:03` or `2:03`."""
    whole = round(seconds)
    hours, minutes = whole // 3600, whole // 60 % 60
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"


def epoch_line(metrics: dict[str, Any], seconds_left: float) -> str:
    """An epoch in one line."""
    parts = [
        f"epoch {metrics['epoch']:>3}/{metrics['epochs']}",
        f"loss {metrics['loss']:.4f}",
        f"accuracy {metrics['accuracy']:6.2%}",
    ]
    if metrics.get("validation_loss") is not None:
        parts.append(f"validation {metrics['validation_accuracy']:6.2%}")
    parts.append(f"{metrics['images_per_second']:,.0f} images/s")
    parts.append(f"{clock(seconds_left)} left")
    return "  ".join(parts)


class Plain:
    """A line an epoch, and one every half minute within long ones."""

    def __init__(self, stream: TextIO | None = None, every: float = 30.0) -> None:
        self.stream = stream or sys.stdout
        self.every = every
        self.last = time.monotonic()

    def step(self, reading: Reading) -> None:
        if time.monotonic() - self.last < self.every:
            return
        self.last = time.monotonic()
        self.note(
            f"epoch {reading.epoch:>3}/{reading.epochs}  step {reading.batch}/{reading.batches}  "
            f"loss {reading.loss:.4f}  accuracy {reading.accuracy:6.2%}  "
            f"{reading.images_per_second:,.0f} images/s  {clock(reading.seconds_left)} left"
        )

    def epoch(self, metrics: dict[str, Any], seconds_left: float) -> None:
        self.last = time.monotonic()
        self.note(epoch_line(metrics, seconds_left))

    def note(self, text: str) -> None:
        print(text, file=self.stream, flush=True)

    def close(self) -> None: ...


class Live:
    """A bar that moves with every step, and the epochs above it."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

        self.console = Console()
        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TaskProgressColumn(),
            TextColumn("{task.fields[reading]}"),
            console=self.console,
            transient=True,
            refresh_per_second=8,
        )
        self.task = self.progress.add_task("starting", total=None, reading="")
        self.progress.start()

    def step(self, reading: Reading) -> None:
        done = (reading.epoch - 1) * reading.batches + reading.batch
        self.progress.update(
            self.task,
            description=f"epoch {reading.epoch}/{reading.epochs}",
            completed=done,
            total=reading.epochs * reading.batches,
            reading=(
                f"loss {reading.loss:.4f}  accuracy {reading.accuracy:.2%}  "
                f"{reading.images_per_second:,.0f} images/s  {clock(reading.seconds_left)} left"
            ),
        )

    def epoch(self, metrics: dict[str, Any], seconds_left: float) -> None:
        self.note(epoch_line(metrics, seconds_left))

    def note(self, text: str) -> None:
        self.console.print(text, highlight=False, markup=False)

    def close(self) -> None:
        self.progress.stop()


def for_terminal() -> Display:
    """A live display where standard output is a terminal, plain lines elsewhere."""
    return Live() if sys.stdout.isatty() else Plain()
