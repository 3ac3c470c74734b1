"""How far a run is, and what it came to."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """How far a run is; all of it is in every checkpoint.

    `loss_sum` and `correct` are over the steps of the running epoch; `losses` are the validation
    losses (or the training losses where nothing is held out) of the epochs that are done;
    `metrics_bytes` is the length of `metrics.jsonl` then.
    """

    epoch: int = 0
    batch: int = 0
    step: int = 0
    loss_sum: float = 0.0
    correct: float = 0.0
    losses: tuple[float, ...] = ()
    best: float = math.inf
    metrics_bytes: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class Result:
    """What a run came to."""

    test_accuracy: float | None
    test_loss: float | None
    seconds: float
    images_per_second: float
    parameters: int
    seed: int
    backend: str
    epochs: int
