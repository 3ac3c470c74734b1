"""From a model and the name of a data set to a trained network, an evaluation, or predictions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from cnndsl import data
from cnndsl.compile import compile_inference
from cnndsl.data.dataset import Dataset, Progress
from cnndsl.data.feeds import evaluation_feed
from cnndsl.data.loader import Loader
from cnndsl.data.picture import load_image
from cnndsl.data.preprocess import Preprocessing, preprocessing_for
from cnndsl.diagnostics import error
from cnndsl.frontend.elaborate import Network
from cnndsl.graph.op import Mismatch
from cnndsl.runtime.kernel import Backend
from cnndsl.runtime.program import Program
from cnndsl.training import checkpoint
from cnndsl.training.checkpoint import Checkpoint
from cnndsl.training.display import Display, Silent
from cnndsl.training.evaluate import Score, evaluate, log_softmax
from cnndsl.training.loop import CHECKPOINT_SECONDS, Trainer
from cnndsl.training.progress import Result
from cnndsl.training.recipe import Recipe, recipe_of
from cnndsl.training.settings import loss_of

#: Elaborates the model with further parameters, given by name.
Elaborate = Callable[[Mapping[str, str | int]], Network]


@dataclass(frozen=True)
class Overrides:
    """What the command line says over the recipe."""

    epochs: int | None = None
    batch: int | None = None
    learning_rate: float | None = None
    seed: int | None = None
    memory: int | None = None
    precision: str | None = None

    def applied(self, recipe: Recipe) -> Recipe:
        """The recipe with what is given here."""
        given = {name: value for name, value in vars(self).items() if value is not None}
        return replace(recipe, **given)


@dataclass(frozen=True)
class Fitted:
    """A network, the data that it is for, and how images become its input."""

    network: Network
    dataset: Dataset
    preprocessing: Preprocessing
    recipe: Recipe


def fit(
    elaborate: Elaborate,
    given: Mapping[str, str | int],
    data_name: str | None,
    *,
    overrides: Overrides | None = None,
    data_dir: Path | None = None,
    progress: Progress | None = None,
    note: Callable[[str], None] = lambda text: None,
) -> Fitted:
    """Bring a model and a data set together.

    The recipe names the data set where the caller does not. A parameter `classes` that is not
    given is set from the data, and `note` is told.

    Raises:
        CnndslError: the model, its recipe or the data is wrong.
    """
    network = elaborate(given)
    recipe = (overrides or Overrides()).applied(recipe_of(network))
    name = data_name or recipe.data
    if name is None:
        raise error("T0102", "the recipe names no data set", help="name one: `--train digits`")
    image = network.graph.inputs["image"].type
    if not image.is_map:
        raise error("T0102", f"`{network.name}` takes a vector of {image}, and images are maps")
    extent = (image.extent[0], image.extent[1])
    dataset = data.load(
        name,
        data_dir=data_dir,
        classes=network.graph.outputs["logits"].type.elements,
        extent=extent,
        channels=image.channels,
        seed=recipe.seed,
        progress=progress,
    )
    unset = "classes" in network.parameters and "classes" not in given
    if unset and network.parameters["classes"] != dataset.classes:
        note(f"classes = {dataset.classes}, from {dataset.name}")
        network = elaborate({**given, "classes": dataset.classes})
        recipe = (overrides or Overrides()).applied(recipe_of(network))
    _check_heads(network, recipe)
    resize = None
    for word, pixels in recipe.augmentations:
        if word == "crop":
            resize = _enlarged(pixels, extent)
    preprocessing = preprocessing_for(dataset, extent, image.channels, resize)
    return Fitted(network, dataset, preprocessing, recipe)


def _check_heads(network: Network, recipe: Recipe) -> None:
    """Refuse a network or a side head that ends in what the loss cannot take."""
    for value in (network.graph.outputs["logits"], *(h.value for h in network.graph.heads)):
        try:
            loss_of(recipe.loss, value.type)
        except Mismatch as mismatch:
            place = network.graph.span(value.node)
            raise error(
                "T0102",
                f"`{network.name}` cannot be trained or evaluated: {mismatch.message}"
                + (f" ({place})" if place else ""),
                help=mismatch.help,
            ) from None


def _enlarged(crop: int, extent: tuple[int, int]) -> tuple[int, int]:
    """The extent of which a random part is cut: 8/7 of it, 256 for 224."""
    if extent != (crop, crop):
        raise error(
            "T0102", f"the recipe crops to {crop}, and the input is {extent[0]}x{extent[1]}"
        )
    enlarged = round(crop * 8 / 7)
    return enlarged, enlarged


def train(
    fitted: Fitted,
    backend: Backend,
    out: Path,
    *,
    resume: bool = False,
    weights: Path | None = None,
    display: Display | None = None,
    stop: Callable[[], bool] = lambda: False,
    workers: int = 1,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
) -> tuple[Result, Trainer]:
    """Train to the end; the run folder holds metrics, checkpoints and the result.

    Raises:
        CnndslError: see `Trainer.run`.
    """
    trainer = Trainer(
        fitted.network,
        fitted.recipe,
        fitted.dataset,
        fitted.preprocessing,
        backend,
        out,
        display or Silent(),
        stop,
        workers,
        checkpoint_seconds,
        weights=checkpoint.load(find_weights(weights)).arrays if weights else None,
        origin=str(weights),
    )
    return trainer.run(resume), trainer


def step_of(fitted: Fitted, backend: Backend, workers: int = 1) -> Program:
    """The program of a training step, ready to run on fresh weights and the first batch."""
    out, display = Path(), Silent()
    trainer = Trainer(
        *(fitted.network, fitted.recipe, fitted.dataset, fitted.preprocessing),
        *(backend, out, display),
        workers=workers,
    )
    return trainer.first_step()


def find_weights(path: Path) -> Path:
    """A checkpoint, or the last one of a run folder."""
    if path.is_dir():
        for candidate in (path / "checkpoints" / "last.safetensors", path / "last.safetensors"):
            if candidate.is_file():
                return candidate
    return path


def evaluate_on(
    fitted: Fitted, backend: Backend, saved: Checkpoint, origin: str, workers: int = 1
) -> Score:
    """The score of a checkpoint's weights on a data set's test split.

    Raises:
        CnndslError: the weights do not fit the model.
    """
    split = fitted.dataset.test
    batch = max(1, min(fitted.recipe.batch, len(split)))
    precision = fitted.recipe.precision
    preprocessing = fitted.preprocessing
    if "preprocessing" in saved.metadata:
        preprocessing = Preprocessing.from_json(saved.metadata["preprocessing"])
    feed = evaluation_feed(backend)
    loader = Loader(split, preprocessing, batch=batch, workers=workers, feed=feed)
    source = loader.feed.evaluation
    program = compile_inference(
        fitted.network.graph, backend, batch, precision=precision, source=source
    )
    checkpoint.restore(program, saved.arrays, origin)
    return evaluate(program, loader)


@dataclass(frozen=True)
class Prediction:
    """What is on an image: classes with probabilities, the likeliest first."""

    path: Path
    classes: tuple[tuple[str, float], ...]


def predict(
    network: Network,
    backend: Backend,
    saved: Checkpoint,
    origin: str,
    paths: Sequence[Path],
    top: int = 5,
    precision: str = "float32",
) -> list[Prediction]:
    """The likeliest classes of each image; names and preprocessing are the checkpoint's.

    Raises:
        CnndslError: an image cannot be read, or the weights do not fit the model.
    """
    images = [load_image(path) for path in paths]
    preprocessing = Preprocessing.from_json(saved.metadata.get("preprocessing"))
    names = list(saved.metadata.get("class_names", []))
    program = compile_inference(network.graph, backend, 1, precision=precision)
    checkpoint.restore(program, saved.arrays, origin)
    found = []
    for path, image in zip(paths, images, strict=True):
        program.write("image", preprocessing.prepare(image[None]))
        program.run()
        probabilities = np.exp(log_softmax(program.read("logits").reshape(1, -1)))[0]
        order = np.argsort(-probabilities, kind="stable")[:top]
        classes = tuple((_name(names, int(i)), float(probabilities[i])) for i in order)
        found.append(Prediction(path, classes))
    return found


def _name(names: list[Any], index: int) -> str:
    return str(names[index]) if index < len(names) else f"class {index}"
