"""The library's verbs: load a model, compile it, train it, export it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cnndsl.backends import get_backend
from cnndsl.compile import check, compile_inference
from cnndsl.diagnostics import CnndslError, Source
from cnndsl.frontend.elaborate import Network, elaborate
from cnndsl.frontend.library import Module, load_file, load_text
from cnndsl.graph.graph import Graph
from cnndsl.graph.types import Size
from cnndsl.passes.precision import element_type
from cnndsl.resources import resource
from cnndsl.runtime.kernel import Backend
from cnndsl.runtime.program import Program
from cnndsl.training import checkpoint
from cnndsl.training.initialise import initial_states
from cnndsl.training.progress import Result
from cnndsl.training.recipe import recipe_of
from cnndsl.training.session import Overrides, find_weights, fit
from cnndsl.training.session import train as train_fitted

Arrays = dict[str, np.ndarray[Any, Any]]


@dataclass(frozen=True)
class Model:
    """A checked model of a file, with its parameters.

    Attributes:
        network: the elaborated graph and where it came from.
    """

    network: Network
    settings: Mapping[str, str | int]
    input_size: Size | None

    @property
    def name(self) -> str:
        return self.network.name

    @property
    def graph(self) -> Graph:
        return self.network.graph

    def compile(
        self,
        *,
        batch: int = 1,
        backend: str | None = None,
        weights: str | Path | None = None,
        seed: int = 0,
        precision: str = "f32",
    ) -> Compiled:
        """Lower the model for inference; weights are random by `seed` unless a checkpoint is given.

        `precision` is that of values between layers: "f32", "bf16" or "fp16"; "tf32" is f32 whose
        products may be rounded, on engines that do that.

        Raises:
            CnndslError: the engine is not to be had, or the weights do not fit.
            ValueError: there is no such precision.
        """
        engine = get_backend(backend, precision=precision)
        compiled = Compiled(self.graph, engine, batch, element_type(precision))
        if weights is None:
            recipe = recipe_of(self.network)
            states = initial_states(self.graph, recipe.initialisation, seed)
            compiled.weights = {name: states[name] for name in compiled.program.states}
        else:
            path = find_weights(Path(weights))
            checkpoint.restore(compiled.program, checkpoint.load(path).arrays, str(path))
        return compiled

    def train(
        self,
        data: str | None = None,
        *,
        out: str | Path,
        epochs: int | None = None,
        batch: int | None = None,
        learning_rate: float | None = None,
        seed: int | None = None,
        memory: int | None = None,
        precision: str = "f32",
        backend: str | None = None,
        resume: bool = False,
        data_dir: Path | None = None,
    ) -> Result:
        """Train on a data set (the recipe's by default) into a run folder.

        A step's values take at most `memory` bytes; what would take more is recomputed.
        `precision` is that of values between layers, as in `compile`; weights are f32.

        Raises:
            CnndslError: the recipe or the data is wrong, or the loss is not a number.
            ValueError: there is no such precision.
        """
        module, name, size = self.network.module, self.name, self.input_size

        def build(parameters: Mapping[str, str | int]) -> Network:
            return elaborate(module, name, parameters=parameters, input_size=size)

        fitted = fit(
            build,
            self.settings,
            data,
            overrides=Overrides(
                epochs, batch, learning_rate, seed, memory, element_type(precision)
            ),
            data_dir=data_dir,
        )
        engine = get_backend(backend, precision=precision)
        return train_fitted(fitted, engine, Path(out), resume=resume)[0]

    def export(
        self,
        path: str | Path,
        *,
        weights: str | Path | None = None,
        batch: int | None = None,
        seed: int = 0,
    ) -> None:
        """Write the model for inference as an ONNX file: "image" (N, C, H, W) gives "logits".

        Weights are random by `seed` unless a checkpoint is given. With a run's checkpoint the
        image is pixels from 0 to 255, for its normalisation is in the file. `batch` None leaves N
        open.

        Raises:
            CnndslError: the package `onnx` is not installed, the weights do not fit or are more
                than 2 GB, or the file cannot be written.
        """
        from cnndsl.export.write import write_onnx

        found = find_weights(Path(weights)) if weights is not None else None
        saved = checkpoint.load(found) if found is not None else None
        write_onnx(self.network, Path(path), saved, str(found), batch=batch, seed=seed)


#: Programs of other batches that a compiled model keeps.
MOST_PROGRAMS = 8


class Compiled:
    """A program for inference: call it on images `(n, height, width, channels)`, any n.

    Attributes:
        program: the flat program of `batch` images.
    """

    def __init__(
        self, graph: Graph, backend: Backend, batch: int, precision: str = "float32"
    ) -> None:
        self.program = compile_inference(graph, backend, batch, precision=precision)
        self._graph, self._precision = graph, precision
        self._others: dict[int, Program] = {}

    def _program(self, images: int) -> Program:
        """The program of so many images, on the same weights; lowered once, the last few kept."""
        if images == self.program.batch:
            return self.program
        program = self._others.pop(images, None)
        if program is None:
            backend, states = self.program.backend, self.program.states
            program = compile_inference(self._graph, backend, images, states, self._precision)
        self._others[images] = program
        if len(self._others) > MOST_PROGRAMS:
            self._others.pop(next(iter(self._others)))
        return program

    @property
    def weights(self) -> Arrays:
        """A copy of every parameter and buffer, by path; convolutions are O, I, H, W."""
        return {name: self.program.read(name) for name in self.program.states}

    @weights.setter
    def weights(self, arrays: Mapping[str, np.ndarray[Any, Any]]) -> None:
        checkpoint.restore(self.program, arrays, "the given weights")
        for program in self._others.values():
            program.refresh()

    def __call__(self, images: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """The logits `(n, classes)` of images, a batch at a time; the last may be a smaller one.

        Raises:
            ValueError: the images have another shape than the model's input.
        """
        slot = self.program.inputs["image"]
        batch, *features = slot.type.concrete()
        if images.ndim != len(features) + 1 or list(images.shape[1:]) != features:
            wanted = ", ".join(map(str, features))
            raise ValueError(f"images of shape (n, {wanted}) are wanted, these are {images.shape}")
        parts = []
        for start in range(0, len(images), batch):
            part = images[start : start + batch]
            program = self._program(len(part))
            program.write("image", part)
            program.run()
            parts.append(program.read("logits"))
        shape = self.program.outputs["logits"].type.concrete()[1:]
        return np.concatenate(parts) if parts else np.zeros((0, *shape), slot.type.dtype)


def load(
    path: str | Path,
    name: str | None = None,
    *,
    input_size: tuple[int, int, int] | None = None,
    **parameters: str | int,
) -> Model:
    """Load and check a model of a `.cnn` file; keyword arguments set its parameters.

    Raises:
        CnndslError: the file is wrong; it holds every mistake.
    """
    return _model(load_file(Path(path), [resource("zoo")]), name, input_size, parameters)


def loads(text: str, name: str | None = None, **parameters: str | int) -> Model:
    """Load and check a model given as text.

    Raises:
        CnndslError: the text is wrong.
    """
    return _model(load_text(Source("<text>", text)), name, None, parameters)


def _model(
    module: Module,
    name: str | None,
    input_size: tuple[int, int, int] | None,
    parameters: Mapping[str, str | int],
) -> Model:
    size = Size(*input_size) if input_size is not None else None
    chosen = module.choose(name)
    diagnostics, networks = check(module, chosen, parameters=parameters, input_size=size)
    if diagnostics:
        raise CnndslError(*diagnostics)
    return Model(networks[0], dict(parameters), size)


def train(
    path: str | Path,
    data: str | None = None,
    *,
    out: str | Path,
    name: str | None = None,
    **options: Any,
) -> Result:
    """Load a model and train it: `Model.train` in one call."""
    return load(path, name).train(data, out=out, **options)
