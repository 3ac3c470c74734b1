"""The whole pipeline, a call a stage: read this first."""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import wraps
from pathlib import Path
from typing import ParamSpec, TypeVar

from cnndsl.diagnostics import CnndslError, Diagnostic, Source, error, register
from cnndsl.frontend.elaborate import Limits, Network, elaborate
from cnndsl.frontend.expect import check_expectations
from cnndsl.frontend.library import Module, load_file, load_text
from cnndsl.frontend.lint import lint
from cnndsl.graph.autodiff import add_gradients
from cnndsl.graph.graph import Graph
from cnndsl.graph.op import Mismatch, Op
from cnndsl.graph.rewrite import Event, Rewrite, optimise
from cnndsl.graph.types import Size
from cnndsl.ops.loss import CrossEntropy
from cnndsl.ops.optimizer import SGD
from cnndsl.ops.scaling import AllFinite
from cnndsl.passes import FOR_INFERENCE, FOR_TRAINING, IN_SLICES
from cnndsl.passes.inference import for_inference
from cnndsl.passes.join import join_states
from cnndsl.passes.pixels import PixelSource, prepare_images
from cnndsl.passes.precision import set_precision
from cnndsl.passes.training import add_loss, for_training, freeze
from cnndsl.passes.updates import add_updates, clipped, loss_scale, next_scale, watch
from cnndsl.runtime.kernel import Backend, Kernel
from cnndsl.runtime.layouts import assign_layouts
from cnndsl.runtime.lower import TooLarge, kernels_of, lower, planned_bytes
from cnndsl.runtime.program import Program, Slot
from cnndsl.runtime.recompute import recompute, recompute_cheaply

_P = ParamSpec("_P")
_R = TypeVar("_R")

register(
    {
        "C0203": "a memory budget that training cannot keep",
        "C0204": "a program for which there is not enough memory",
    }
)


@dataclass(frozen=True)
class Objective:
    """What training does to a graph: the loss, the optimiser, and what it leaves alone.

    `memory` is how many bytes a step's values may take: what would take more is recomputed.
    `precision` is the element type of values between layers, `clip` the largest norm that all
    gradients together may have.
    """

    loss: Op = field(default_factory=CrossEntropy)
    optimizer: Op = field(default_factory=lambda: SGD(momentum=0.9))
    decay_all: bool = False
    frozen: tuple[str, ...] = ()
    memory: int | None = None
    precision: str = "float32"
    clip: float | None = None


def _uncollected(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """A function that runs without the collector of cycles: it makes many objects, which stay."""

    @wraps(function)
    def call(*arguments: _P.args, **named: _P.kwargs) -> _R:
        was = gc.isenabled()
        gc.disable()
        try:
            return function(*arguments, **named)
        finally:
            if was:
                gc.enable()

    return call


@_uncollected
def compile_inference(
    graph: Graph,
    backend: Backend,
    batch: int,
    shared: Mapping[str, Slot] | None = None,
    precision: str = "float32",
    source: PixelSource | None = None,
) -> Program:
    """The program that computes "logits" from "image", both float32.

    `shared` are states of another program, `precision` the element type between layers; with a
    `source` the program prepares images itself.
    """
    rewrites = rewrites_for(backend, FOR_INFERENCE)
    graph = inference_graph(graph, rewrites, backend.fusions, precision=precision, source=source)
    return program_of(graph, backend, batch, shared=shared)


def rewrites_for(backend: Backend, rewrites: Sequence[Rewrite]) -> Sequence[Rewrite]:
    """Those that pay on an engine: one that copies slices is not given more of them."""
    return [r for r in rewrites if backend.strides or r not in IN_SLICES]


def program_of(
    graph: Graph,
    backend: Backend,
    batch: int,
    memory: int | None = None,
    shared: Mapping[str, Slot] | None = None,
) -> Program:
    """The program of an optimised graph, which gets its layouts; its values take `memory` at most.

    Raises:
        CnndslError: not even by recomputation do they take so little.
    """
    states = {name: slot.type.layout for name, slot in (shared or {}).items()}
    assign_layouts(graph, backend, batch, states)
    _make_smaller(graph, backend, batch, memory)
    try:
        return lower(graph, backend, batch, shared)
    except TooLarge as needed:
        raise error(
            "C0204",
            f"a program of {batch} images takes {needed.planned / 1e6:,.0f} MB, "
            "which is more than is free",
            help="a smaller `--batch`; in training `--batch auto` finds the largest that fits",
        ) from None


def inference_graph(
    graph: Graph,
    rewrites: Sequence[Rewrite] = FOR_INFERENCE,
    fusions: Sequence[Rewrite] = (),
    events: list[Event] | None = None,
    precision: str = "float32",
    source: PixelSource | None = None,
) -> Graph:
    """The graph of a forward pass, optimised; `events` gets what rewrites did."""
    graph = graph.copy()
    for_inference(graph)
    happened = optimise(graph, rewrites)
    set_precision(graph, precision)
    if source is not None:
        prepare_images(graph, source)
    happened += optimise(graph, fusions)
    if events is not None:
        events += happened
    return graph


@_uncollected
def compile_training(
    graph: Graph,
    objective: Objective,
    backend: Backend,
    batch: int,
    source: PixelSource | None = None,
) -> Program:
    """The program of one step: "image" and "labels" give "loss", "correct" and new states.

    With a `source` the program prepares images itself.

    Raises:
        CnndslError: not even by recomputation does a step keep to the objective's memory.
    """
    rewrites = rewrites_for(backend, FOR_TRAINING)
    graph = training_graph(graph, objective, rewrites, backend.fusions, source=source)
    return program_of(graph, backend, batch, objective.memory)


def planned_memory(
    graph: Graph, objective: Objective, backend: Backend, batch: int
) -> dict[str, int]:
    """The bytes that an inference program and one of training will take, before either is made.

    Values, scratch, weights, and in training gradients and moments.

    Raises:
        CnndslError: the objective does not fit.
    """
    planned = {}
    for use in ("inference", "training"):
        lowered = _planned(graph, use, objective, backend, batch)
        planned[use] = sum(planned_bytes(lowered, backend, batch))
    return planned


def planned_kernels(
    graph: Graph, use: str, objective: Objective, backend: Backend, batch: int
) -> list[tuple[str, Kernel]]:
    """The kernels of a program of "inference" or "training" in order, each with its layer's name.

    None is bound to memory.
    """
    planned = _planned(graph, use, objective, backend, batch)
    kernels = kernels_of(planned, backend, batch)
    return [(planned.name(node), kernel) for node, kernel in kernels]


def largest_batch(graph: Graph, objective: Objective, backend: Backend, most: int) -> int:
    """As many images as a training step can have in the memory that is free, at most so many.

    It is a power of two or one and a half times one, and keeps to the objective's memory if there
    is such a bound. A tenth of what is free is left to others.

    Raises:
        CnndslError: a step of one image does not fit.
    """
    sizes = sorted({n for k in range(31) for n in (2**k, 3 * 2**k) if n < most} | {most})
    free = backend.free_bytes()

    def is_small_enough(batch: int) -> bool:
        try:
            planned = _planned(graph, "training", objective, backend, batch)
        except CnndslError as failure:
            if failure.diagnostics[0].code != "C0203":
                raise
            return False
        return free is None or sum(planned_bytes(planned, backend, batch)) <= 0.9 * free

    fits, too_large = -1, len(sizes)
    while too_large - fits > 1:
        tried = (fits + too_large) // 2
        if is_small_enough(sizes[tried]):
            fits = tried
        else:
            too_large = tried
    if fits < 0:
        raise error("C0204", "a training step of a single image takes more memory than is free")
    return sizes[fits]


def _planned(graph: Graph, use: str, objective: Objective, backend: Backend, batch: int) -> Graph:
    """The graph that is lowered for "inference" or "training"."""
    if use == "training":
        rewrites = rewrites_for(backend, FOR_TRAINING)
        planned = training_graph(graph, objective, rewrites, backend.fusions)
    else:
        rewrites = rewrites_for(backend, FOR_INFERENCE)
        precision = objective.precision
        planned = inference_graph(graph, rewrites, backend.fusions, precision=precision)
    assign_layouts(planned, backend, batch)
    _make_smaller(planned, backend, batch, objective.memory if use == "training" else None)
    return planned


def _make_smaller(graph: Graph, backend: Backend, batch: int, memory: int | None) -> None:
    """Recompute as far as the budget needs; without one, what the engine holds cheap."""
    if memory is not None:
        keep_to(graph, backend, batch, memory)
    elif graph.updates:
        recompute_cheaply(graph, backend, batch, backend.spared)


def keep_to(graph: Graph, backend: Backend, batch: int, memory: int) -> None:
    """Recompute in a training step what makes it take more than so many bytes.

    Raises:
        CnndslError: it takes more even so.
    """
    needed = recompute(graph, backend, batch, memory)
    if needed > memory:
        raise error(
            "C0203",
            f"a training step of {batch} images takes {needed / 1e6:,.3f} MB at least, "
            f"and may take {memory / 1e6:,.3f} MB",
            help="a smaller `--batch`, or more `--memory`",
        )


def training_graph(
    graph: Graph,
    objective: Objective,
    rewrites: Sequence[Rewrite] = FOR_TRAINING,
    fusions: Sequence[Rewrite] = (),
    events: list[Event] | None = None,
    source: PixelSource | None = None,
) -> Graph:
    """The graph of one training step, optimised: loss, gradients, updates.

    `events` gets what rewrites did.

    Raises:
        CnndslError: the loss does not fit, or there is nothing to train.
    """
    graph = graph.copy()
    unused = freeze(graph, objective.frozen)
    if unused:
        raise error("E0704", f"`freeze`: no parameter is called {unused[0]}")
    for_training(graph)
    happened = optimise(graph, rewrites)
    join_states(graph)
    set_precision(graph, objective.precision)
    if source is not None:
        prepare_images(graph, source)
    try:
        loss = add_loss(graph, objective.loss)
    except Mismatch as mismatch:
        message = f"there is no step of training: {mismatch.message}"
        raise error("E0201", message, help=mismatch.help) from None
    tally = watch(graph)
    scale = loss_scale(graph) if objective.precision == "float16" else None
    # Before the backward pass where it can be: then a gradient is used as soon as it is there.
    finite = graph.add(AllFinite(), tally, name="finite")[0]
    gradients = add_gradients(graph, loss, scale)
    if not gradients:
        raise error("E0704", "there is no step of training: nothing is left that could learn")
    if scale is not None:
        finite = graph.add(AllFinite(), tally, *gradients.values(), name="finite")[0]
        next_scale(graph, scale, finite)
    if objective.clip is not None:
        scale = clipped(graph, list(gradients.values()), objective.clip, scale)
    add_updates(graph, gradients, objective.optimizer, finite, objective.decay_all, scale)
    graph.prune()
    happened += [e for e in optimise(graph, rewrites) if e.declined is None]
    happened += optimise(graph, fusions)
    if events is not None:
        events += happened
    return graph


def elaborate_file(
    path: Path,
    name: str | None = None,
    *,
    parameters: Mapping[str, str | int] | None = None,
    input_size: Size | None = None,
    limits: Limits | None = None,
    search: Sequence[Path] = (),
) -> Network:
    """The network of a model in a file.

    Raises:
        CnndslError: the file is wrong.
    """
    return elaborate(
        load_file(path, search), name, parameters=parameters, input_size=input_size, limits=limits
    )


def elaborate_text(text: str, name: str | None = None, dtype: str = "float32") -> Graph:
    """The graph of a model given as text."""
    return elaborate(load_text(Source("text", text)), name, dtype=dtype).graph


def check(
    module: Module,
    name: str | None = None,
    *,
    parameters: Mapping[str, str | int] | None = None,
    input_size: Size | None = None,
    limits: Limits | None = None,
    lints: bool = False,
) -> tuple[list[Diagnostic], list[Network]]:
    """Every mistake of a model, or of all models of a file that need no argument.

    A model's parameters and input are meant for it alone, so they go with a name. Returns the
    diagnostics, each once, and the networks that elaborated.
    """
    names = [module.choose(name)] if name else module.complete()
    if not names:
        names = [module.choose(None)]
    found: dict[tuple[object, ...], Diagnostic] = {}
    networks = []
    for each in names:
        try:
            network = elaborate(
                module, each, parameters=parameters, input_size=input_size, limits=limits
            )
        except CnndslError as failure:
            if failure.status != 1:
                raise
            diagnostics: Sequence[Diagnostic] = failure.diagnostics
        else:
            networks.append(network)
            diagnostics = check_expectations(network)
            if lints:
                diagnostics = [*diagnostics, *lint(network)]
        for diagnostic in diagnostics:
            span = diagnostic.span
            place = (id(span.source), span.start) if span else (each, diagnostic.message)
            found.setdefault((diagnostic.code, *place), diagnostic)
    return list(found.values()), networks
