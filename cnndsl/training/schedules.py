"""Learning-rate schedules: pure functions of the epoch, the place in it, and the losses so far."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import ClassVar


@dataclass(frozen=True)
class Schedule(ABC):
    """What the base rate is multiplied by.

    `warmup` epochs raise the rate linearly from a step's share to the full rate; the schedule
    counts its epochs from the start of training all the same.

    Source of warm-up: Goyal et al., Accurate, large minibatch SGD, 2017.
    """

    name: ClassVar[str] = ""
    warmup: float = 0.0

    @abstractmethod
    def factor(self, epoch: float, epochs: int, losses: Sequence[float]) -> float:
        """The factor at a place in training: `epoch` counts from 0, with its fraction.

        `losses` are the validation losses of the epochs that are done.
        """

    def rate(self, base: float, epoch: float, epochs: int, losses: Sequence[float]) -> float:
        """The learning rate at a place in training."""
        rate = base * self.factor(epoch, epochs, losses)
        if epoch < self.warmup:
            rate *= epoch / self.warmup
        return rate


@dataclass(frozen=True)
class Constant(Schedule):
    """The base rate throughout."""

    name = "constant"

    def factor(self, epoch: float, epochs: int, losses: Sequence[float]) -> float:
        return 1.0


@dataclass(frozen=True)
class Step(Schedule):
    """Multiplies by `factor` every so many epochs, or at the given ones."""

    name = "step"
    every: int = 0
    at: tuple[float, ...] = ()
    by: float = 0.1

    def factor(self, epoch: float, epochs: int, losses: Sequence[float]) -> float:
        drops = sum(epoch >= place for place in self.at)
        if self.every:
            drops += int(epoch // self.every)
        return float(self.by**drops)


@dataclass(frozen=True)
class Plateau(Schedule):
    """Multiplies by `by` whenever the validation loss has not improved for `patience` epochs."""

    name = "plateau"
    by: float = 0.1
    patience: int = 5
    tolerance: float = 1e-4

    def factor(self, epoch: float, epochs: int, losses: Sequence[float]) -> float:
        best, waited, drops = math.inf, 0, 0
        for loss in losses:
            if loss < best * (1 - self.tolerance):
                best, waited = loss, 0
                continue
            waited += 1
            if waited > self.patience:
                drops, waited = drops + 1, 0
        return float(self.by**drops)


@dataclass(frozen=True)
class Cosine(Schedule):
    """Half a cosine from the base rate to `minimum` times it.

    Source: Loshchilov & Hutter, SGDR, 2017, without restarts.
    """

    name = "cosine"
    minimum: float = 0.0

    def factor(self, epoch: float, epochs: int, losses: Sequence[float]) -> float:
        span = max(1e-9, epochs - self.warmup)
        progress = min(1.0, max(0.0, (epoch - self.warmup) / span))
        return self.minimum + (1 - self.minimum) * (1 + math.cos(math.pi * progress)) / 2


SCHEDULES: dict[str, type[Schedule]] = {
    kind.name: kind for kind in (Constant, Step, Plateau, Cosine)
}


def arguments_of(kind: type[Schedule]) -> list[str]:
    """The words that a schedule may be given; `by` is written `factor`."""
    return ["factor" if f.name == "by" else f.name for f in fields(kind)]
