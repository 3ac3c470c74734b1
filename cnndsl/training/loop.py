"""The training loop: epochs of steps, watched, kept in checkpoints, and resumed bit for bit."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from cnndsl.compile import compile_inference
from cnndsl.data.augment import WORDS
from cnndsl.data.dataset import Dataset, Split, stratified_split
from cnndsl.data.feeds import Resident, evaluation_feed, training_feed
from cnndsl.data.loader import Loader
from cnndsl.data.preprocess import Preprocessing
from cnndsl.diagnostics import error, register
from cnndsl.files import append_line, remove_remains, write_whole, written_to
from cnndsl.frontend.elaborate import Network
from cnndsl.graph import analysis
from cnndsl.graph.leaves import STATE
from cnndsl.passes.precision import TF32
from cnndsl.runtime.kernel import Backend
from cnndsl.runtime.program import Program
from cnndsl.training import checkpoint
from cnndsl.training.begin import fresh_step
from cnndsl.training.display import Display, Reading, Silent
from cnndsl.training.evaluate import Score, evaluate
from cnndsl.training.progress import Progress, Result
from cnndsl.training.recipe import Recipe

register(
    {
        "T0101": "a loss that is not a number",
        "T0102": "data that does not fit the network",
    }
)

#: Seconds between two checkpoints within an epoch.
CHECKPOINT_SECONDS = 20.0
#: Seconds between two looks at what came of steps: an engine may run behind for so long.
LOOK_SECONDS = 0.1
LAST, BEST = "last.safetensors", "best.safetensors"
#: The split of training and validation data does not depend on the run's seed.
SPLIT_SEED = 0


class Interrupted(Exception):
    """Training was asked to stop; the last checkpoint holds everything up to this step."""


@dataclass
class Trainer:
    """Trains one network on one data set into one run folder.

    `stop` is asked after every step; when it says true a checkpoint is written and training ends by
    `Interrupted`. `weights` are arrays to start from instead of random ones.
    """

    network: Network
    recipe: Recipe
    dataset: Dataset
    preprocessing: Preprocessing
    backend: Backend
    out: Path
    display: Display = field(default_factory=Silent)
    stop: Callable[[], bool] = lambda: False
    workers: int = 1
    checkpoint_seconds: float = CHECKPOINT_SECONDS
    weights: Mapping[str, np.ndarray[Any, Any]] | None = None
    origin: str = "the weights"

    def __post_init__(self) -> None:
        recipe, split = self.recipe, self.dataset.train
        kept, held = np.arange(len(split)), np.arange(0)
        if recipe.validation:
            kept, held = stratified_split(split.labels, recipe.validation, SPLIT_SEED)
        self.recipe = recipe = replace(recipe, batch=min(recipe.batch, len(kept)))
        self._check_classes()
        self.loader = Loader(
            split,
            self.preprocessing,
            batch=recipe.batch,
            indices=kept,
            augmentations=[WORDS[word](pixels) for word, pixels in recipe.augmentations],
            seed=recipe.seed,
            workers=self.workers,
            feed=training_feed(self.backend),
        )
        self.validation = self._watching(split, held) if len(held) else None
        self.batches = self.loader.batches
        graph = self.network.graph
        self._first_epoch: Iterator[Any] | None = self.loader.epoch(0)
        feed = self.loader.feed
        self.program = fresh_step(graph, recipe, self.backend, feed.training)
        if isinstance(feed, Resident):
            self.program.write("pixels", feed.all_pixels())
        self.progress = Progress()
        self._looked = 0.0

    @cached_property
    def evaluation(self) -> Program:
        """The program of a forward pass on the weights that are trained, made when it is needed."""
        graph, recipe, states = self.network.graph, self.recipe, self.program.states
        source = self._watching(self.dataset.test).feed.evaluation
        batch, precision = recipe.batch, recipe.precision
        return compile_inference(graph, self.backend, batch, states, precision, source)

    def _check_classes(self) -> None:
        outputs = self.network.graph.outputs["logits"].type.elements
        if outputs < self.dataset.classes:
            raise error(
                "T0102",
                f"{self.dataset.name} has {self.dataset.classes} classes, "
                f"and `{self.network.name}` ends in {outputs}",
                help=f"`--set classes={self.dataset.classes}`, if the model has that parameter",
            )

    def _watching(self, split: Split, indices: np.ndarray[Any, Any] | None = None) -> Loader:
        """Images as evaluation sees them: none is augmented."""
        return Loader(
            split,
            self.preprocessing,
            batch=self.recipe.batch,
            indices=indices,
            workers=self.workers,
            feed=evaluation_feed(self.backend),
        )

    # Running -------------------------------------------------------------------------------------

    def run(self, resume: bool = False) -> Result:
        """Train to the end and evaluate on the test split.

        Raises:
            CnndslError: the loss is not a number, or there is nothing fitting to resume.
            Interrupted: `stop` said so.
        """
        with written_to(self.out):
            self.out.mkdir(parents=True, exist_ok=True)
        self._start(resume)
        try:
            # What is not finite is looked for below, and reported once.
            with np.errstate(all="ignore"):
                for epoch in range(self.progress.epoch, self.recipe.epochs):
                    self._epoch(epoch)
        finally:
            self.display.close()
        return self._finish()

    def first_step(self) -> Program:
        """The program of a step, ready to run on fresh weights and the first batch."""
        self._write(next(self._batches(0, 0)))
        return self.program

    def _start(self, resume: bool) -> None:
        graph = self.network.graph
        last = self.out / "checkpoints" / LAST
        if last.exists() and not resume:
            raise error(
                "T0203",
                f"{self.out} holds a run already",
                help="`--resume` goes on with it; another `--out` begins a new one",
                status=2,
            )
        if last.exists():
            self._resume(last)
        elif self.weights is not None:
            names = {graph.name(node) for node in graph.of(*STATE)}
            checkpoint.restore(self.program, self.weights, self.origin, names)
        for name in (LAST, BEST):
            remove_remains(self.out / "checkpoints" / name)
        metrics = self.out / "metrics.jsonl"
        with written_to(metrics):
            metrics.touch()
            os.truncate(metrics, self.progress.metrics_bytes)

    def _resume(self, last: Path) -> None:
        saved = checkpoint.load(last)
        there = {"precision": "float32", **saved.metadata.get("run", {})}
        here = self._identity()
        if there != here:
            differing = [k for k in here if there.get(k) != here[k]]
            raise error(
                "T0203",
                f"the run in {self.out} was of another {', '.join(differing)}",
                help="resume with the arguments that it was started with",
            )
        checkpoint.restore(self.program, saved.arrays, str(last))
        values = saved.metadata["progress"]
        self.progress = Progress(**{**values, "losses": tuple(values["losses"])})

    def _batches(self, epoch: int, start: int) -> Iterator[Any]:
        """The batches of an epoch; the first one's were begun while the step was compiled."""
        begun, self._first_epoch = self._first_epoch, None
        return begun if begun and not (epoch or start) else self.loader.epoch(epoch, start)

    def _epoch(self, epoch: int) -> None:
        began = saved = self._looked = time.monotonic()
        elapsed_before = self.progress.seconds
        start = self.progress.batch
        if not start:
            self.program.write("tally", np.zeros(4, np.float32))
        for batch in self._batches(epoch, start):
            self._step(batch)
            now = time.monotonic()
            asked, overdue = self.stop(), now - saved >= self.checkpoint_seconds
            if not (asked or overdue or now - self._looked >= LOOK_SECONDS):
                continue
            self._look()
            self._looked = now = time.monotonic()
            self.progress = replace(self.progress, seconds=elapsed_before + now - began)
            rate = (self.progress.batch - start) * self.recipe.batch / max(1e-9, now - began)
            self.display.step(self._reading(rate))
            if asked or overdue:
                self._save()
                saved = now
            if asked:
                raise Interrupted
        self._look()
        trained = (self.progress.batch - start) * self.recipe.batch
        speed = trained / max(1e-9, time.monotonic() - began)
        self._end_epoch(speed, elapsed_before, began)

    def _write(self, batch: Sequence[np.ndarray[Any, Any]]) -> None:
        progress, program = self.progress, self.program
        for name, array in zip(self.loader.names, batch, strict=True):
            program.write(name, self._targets(array) if name == "labels" else array)
        program.write("learning_rate", self._rate(progress.batch + 1))
        if "step" in program.states:
            program.write("step", progress.step + 1)

    def _step(self, batch: Sequence[np.ndarray[Any, Any]]) -> None:
        """Begin a step; whoever wants to know what came of it has to look."""
        self._write(batch)
        self.program.run()
        progress = self.progress
        self.progress = replace(progress, batch=progress.batch + 1, step=progress.step + 1)

    def _look(self) -> None:
        """Wait for the steps that were begun, and see what came of them.

        Raises:
            CnndslError: the loss of one is not a number; no state has changed since.
        """
        tally = self.program.read("tally").astype(np.float64)
        if not math.isfinite(tally[0]):
            self._not_finite(int(tally[3]))
        self.progress = replace(self.progress, loss_sum=tally[0] - tally[1], correct=tally[2])

    def _rate(self, batch: int) -> float:
        """The learning rate of the running epoch's step with this number, counted from one."""
        recipe, progress = self.recipe, self.progress
        # The last step belongs to its own epoch, not to the next one.
        place = progress.epoch + min(batch / max(1, self.batches), 1 - 1e-9)
        return recipe.schedule.rate(recipe.learning_rate, place, recipe.epochs, progress.losses)

    def _targets(self, labels: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Labels as the loss wants them: indices, or one-hot vectors of floats."""
        slot = self.program.inputs["labels"]
        if slot.type.dtype == "int64":
            return labels
        shape = slot.type.concrete()
        hot = np.zeros((shape[0], math.prod(shape[1:])), slot.type.dtype)
        hot[np.arange(len(labels)), labels] = 1
        return hot.reshape(shape)

    def _not_finite(self, batch: int) -> None:
        """Say where the step of the epoch's batch with an index went wrong."""
        progress = self.progress
        step = progress.step - (progress.batch - batch)
        self.progress = replace(progress, batch=batch, step=step)
        self._write(next(self.loader.epoch(progress.epoch, batch)))
        found = self.program.first_not_finite()
        where = f"`{found.text}` ({found.name})" if found else "the update before it"
        raise error(
            "T0101",
            f"the loss is not a number at step {step + 1}; the first layer that is not is {where}",
            help="a smaller learning rate (`--lr`), warm-up (`schedule …, warmup=5`) "
            "or another initialisation",
        )

    def _end_epoch(self, speed: float, elapsed_before: float, began: float) -> None:
        progress = self.progress
        images = max(1, self.batches * self.recipe.batch)
        score = self._validate()
        loss = progress.loss_sum / max(1, self.batches)
        watched = score.loss if score else loss
        metrics = {
            "epoch": progress.epoch + 1,
            "epochs": self.recipe.epochs,
            "step": progress.step,
            "loss": loss,
            "accuracy": progress.correct / images,
            "validation_loss": score.loss if score else None,
            "validation_accuracy": score.accuracy if score else None,
            "learning_rate": self._rate(self.batches),
            "images_per_second": round(speed, 1),
        }
        length = append_line(self.out / "metrics.jsonl", json.dumps(metrics))
        self.progress = replace(
            progress,
            epoch=progress.epoch + 1,
            batch=0,
            loss_sum=0.0,
            correct=0.0,
            losses=(*progress.losses, watched),
            best=min(progress.best, watched),
            metrics_bytes=length,
            seconds=elapsed_before + time.monotonic() - began,
        )
        if watched <= self.progress.best:
            self._save(BEST)
        self._save()
        self.display.epoch(metrics, self._seconds_left())

    def _validate(self) -> Score | None:
        if self.validation is None:
            return None
        return evaluate(self.evaluation, self.validation)

    def _finish(self) -> Result:
        if not (self.out / "checkpoints" / LAST).exists():
            self._save()
        seconds = self.progress.seconds
        score = None
        if len(self.dataset.test):
            score = evaluate(self.evaluation, self._watching(self.dataset.test))
        images = self.progress.step * self.recipe.batch
        result = Result(
            test_accuracy=score.accuracy if score else None,
            test_loss=score.loss if score else None,
            seconds=round(seconds, 3),
            images_per_second=round(images / seconds, 1) if seconds else 0.0,
            parameters=analysis.parameters(self.network.graph),
            seed=self.recipe.seed,
            backend=self.backend.name,
            epochs=self.recipe.epochs,
        )
        write_whole(self.out / "result.json", json.dumps(asdict(result), indent=2) + "\n")
        return result

    # Reporting -----------------------------------------------------------------------------------

    def _seconds_left(self) -> float:
        done = self.progress.epoch * self.batches + self.progress.batch
        left = self.recipe.epochs * self.batches - done
        return self.progress.seconds / max(1, done) * left

    def _reading(self, speed: float) -> Reading:
        progress = self.progress
        return Reading(
            progress.epoch + 1,
            self.recipe.epochs,
            progress.batch,
            self.batches,
            progress.loss_sum / progress.batch,
            progress.correct / (progress.batch * self.recipe.batch),
            speed,
            self._seconds_left(),
        )

    # Checkpoints ---------------------------------------------------------------------------------

    def _identity(self) -> dict[str, Any]:
        """What a run must share with the one that it resumes."""
        return {
            "model": self.network.name,
            "data": self.dataset.name,
            "batch": self.recipe.batch,
            "seed": self.recipe.seed,
            "input": str(self.network.graph.inputs["image"].type),
            "precision": TF32 if self.backend.tf32 else self.recipe.precision,
        }

    def _save(self, name: str = LAST) -> None:
        metadata = {
            "run": self._identity(),
            "progress": asdict(self.progress),
            "preprocessing": self.preprocessing.to_json(),
            "class_names": list(self.dataset.class_names),
            "parameters": {
                key: value
                for key, value in self.network.parameters.items()
                if isinstance(value, int | str)
            },
        }
        checkpoint.save(self.out / "checkpoints" / name, self.program, metadata)
