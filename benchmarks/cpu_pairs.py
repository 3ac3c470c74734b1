"""Workers seen from outside: two take turns, and what a ratio of their times is worth."""

from __future__ import annotations

import json
import math
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
from cpu_worker import Job as OnCpu
from gpu_worker import Job as OnGpu

Job = OnCpu | OnGpu

#: The modes of each peer by what they do.
MODES = {
    "train": (
        "torch:eager",
        "torch:channels_last",
        "torch:compile",
        "torch:compile_channels_last",
        "torch:bf16",
    ),
    "infer": (
        "torch:eager",
        "torch:channels_last",
        "torch:frozen",
        "torch:inductor",
        "torch:inductor_channels_last",
        "torch:bf16",
        "onnxruntime",
    ),
}
#: A mode in bf16: it races with ours in bf16.
BF16 = "torch:bf16"


@dataclass(frozen=True)
class Plan:
    """How turns are taken.

    Attributes:
        rounds: turns of each side.
        turn: seconds that a turn takes at least, of as many steps as that needs.
        pause: seconds between turns, in which the threads of the last one stop spinning.
        hopeless: a peer whose step takes so many times ours gets one round.
    """

    rounds: int = 7
    turn: float = 0.5
    pause: float = 0.3
    hopeless: float = 5.0


class Worker:
    """A process that is built and warm, and waits.

    Attributes:
        told: what it said when it was ready, or `impossible` with the reason.
        seconds_to_ready: from the start of the process on.
    """

    def __init__(self, job: Job) -> None:
        self.job = job
        began = time.perf_counter()
        self.errors = tempfile.TemporaryFile()  # noqa: SIM115, closed by __exit__
        self.process = subprocess.Popen(
            [sys.executable, str(job.script), *job.arguments()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
        )
        try:
            self.told = self._hear()
        except BaseException:
            self.process.kill()
            raise
        self.seconds_to_ready = time.perf_counter() - began
        self.steps = self.settle = 1

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, failure: object, *_: object) -> None:
        """Let the process end; one that is in the middle of something that failed is killed."""
        if failure is not None:
            self.process.kill()
        with suppress(BrokenPipeError):
            self.process.communicate()
        self.errors.close()

    @property
    def impossible(self) -> str | None:
        reason: str | None = self.told.get("impossible")
        return reason

    def ask(self, **command: Any) -> dict[str, Any]:
        """The answer to a command.

        Raises:
            RuntimeError: the process has ended.
        """
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):
            print(json.dumps(command), file=self.process.stdin, flush=True)
        answer = self._hear()
        if "impossible" in answer:
            raise RuntimeError(answer["impossible"])
        return answer

    def _hear(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if line:
            answer: dict[str, Any] = json.loads(line)
            return answer
        status = self.process.wait()
        self.errors.seek(0)
        lines = self.errors.read().decode(errors="replace").strip().splitlines()
        return {"impossible": f"ended with status {status}: {lines[-1] if lines else ''}"}

    @property
    def step(self) -> float:
        """The seconds of a step when warm, about."""
        return float(min(self.told["warmup_seconds"]))

    def plan_turn(self, plan: Plan) -> None:
        """Choose how many steps a turn has; short ones get steps that do not count before them."""
        self.steps = max(1, math.ceil(plan.turn / self.step))
        self.settle = 0 if self.steps == 1 else math.ceil(0.2 * self.steps)

    def turn(self) -> float:
        """The median seconds of a step in a turn."""
        return statistics.median(self.ask(steps=self.steps, settle=self.settle)["seconds"])

    def facts(self) -> dict[str, Any]:
        """What it said, and what it held at most."""
        return {**self.told, **self.ask(memory=True), "seconds_to_ready": self.seconds_to_ready}


def pair(ours: Job, peer: Job, plan: Plan) -> dict[str, Any]:
    """Two workers that take turns: seconds a step of each, turn by turn, and facts of both.

    Where one cannot run, `skipped` says why.
    """
    with Worker(ours) as first, Worker(peer) as second:
        reason = first.impossible or second.impossible
        if reason is not None:
            return {"skipped": reason}
        try:
            return _alternate(first, second, plan)
        except RuntimeError as failure:
            return {"skipped": str(failure)}


def _alternate(first: Worker, second: Worker, plan: Plan) -> dict[str, Any]:
    for worker in (first, second):
        worker.plan_turn(plan)
    rounds = plan.rounds if second.step < plan.hopeless * first.step else 1
    times: dict[Worker, list[float]] = {first: [], second: []}
    for number in range(rounds):
        for worker in (first, second) if number % 2 else (second, first):
            time.sleep(plan.pause)
            times[worker].append(worker.turn())
    expected, found = first.told["first_result"], second.told["first_result"]
    return {
        "ours": {"seconds": times[first], **first.facts()},
        "peer": {"seconds": times[second], **second.facts()},
        "results_differ_by": abs(found - expected) / max(abs(expected), 1e-30),
    }


def alone(job: Job) -> dict[str, Any]:
    """One worker that does three more steps: what it holds, and when it was ready."""
    with Worker(job) as worker:
        if worker.impossible is not None:
            return {"skipped": worker.impossible}
        try:
            worker.ask(steps=3, settle=0)
            return worker.facts()
        except RuntimeError as failure:
            return {"skipped": str(failure)}


def ratio(result: dict[str, Any]) -> float:
    """The peer's median ÷ ours: above 1 where we are faster."""
    peer, ours = (statistics.median(result[side]["seconds"]) for side in ("peer", "ours"))
    return peer / ours


def interval(result: dict[str, Any], draws: int = 10_000) -> tuple[float, float]:
    """The 95 % interval of the ratio: rounds are drawn anew, both turns of a round together.

    Source: Efron & Tibshirani, An introduction to the bootstrap, 1993 (percentiles).
    """
    ours, peer = np.array(result["ours"]["seconds"]), np.array(result["peer"]["seconds"])
    drawn = np.random.default_rng(0).integers(0, len(ours), (draws, len(ours)))
    ratios = np.median(peer[drawn], axis=1) / np.median(ours[drawn], axis=1)
    low, high = np.percentile(ratios, [2.5, 97.5])
    return float(low), float(high)
