"""What `cnndsl run` does without data: a forward pass and its time, and profiles."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import click

from cnndsl.cli.model import with_saved_parameters

if TYPE_CHECKING:
    from cnndsl.runtime.kernel import Backend
    from cnndsl.runtime.program import Program
    from cnndsl.training.session import Elaborate


def forward(
    elaborate: Elaborate,
    given: dict[str, str | int],
    backend: Backend,
    options: dict[str, Any],
    saved: Any = None,
    origin: str = "",
) -> int:
    """One forward pass on random data, and what it took; `saved` is a checkpoint, from `origin`."""
    import numpy as np

    from cnndsl.compile import compile_inference
    from cnndsl.graph import analysis
    from cnndsl.passes.precision import element_type
    from cnndsl.training.checkpoint import restore
    from cnndsl.training.initialise import Initialisation, initial_states

    batch = options["batch"] or 1
    if saved is not None:
        given = with_saved_parameters(given, saved, elaborate)
    network = elaborate(given)
    began = time.perf_counter()
    precision = element_type(options["precision"])
    program = compile_inference(network.graph, backend, batch, precision=precision)
    states = initial_states(network.graph, Initialisation(), options["seed"] or 0)
    restore(program, saved.arrays if saved else states, origin)
    image = network.graph.inputs["image"].type
    random = np.random.default_rng(0).standard_normal((batch, *image.features))
    program.write("image", random.astype(image.dtype))
    if options["profile"]:
        return print_profile(program)
    compiled = time.perf_counter()
    program.run()
    first = time.perf_counter()
    times: list[float] = []
    while len(times) < 3 or (sum(times) < 1 and len(times) < 100):
        times.append(backend.seconds(program.run))
    best = sorted(times)[len(times) // 2]
    logits = program.read("logits")
    work = 2 * sum(
        analysis.multiply_adds(network.graph, n) for n in analysis.main_path(network.graph)
    )
    click.echo(f"{network.name} on {backend.name}, batch {batch}: output {logits.shape}")
    click.echo(f"compiled in  {compiled - began:8.3f} s")
    click.echo(f"first pass   {1e3 * (first - compiled):8.1f} ms")
    click.echo(
        f"median pass  {1e3 * best:8.1f} ms of {len(times)}  "
        f"({batch / best:,.1f} images/s, {work * batch / best / 1e9:,.1f} GFLOP/s)"
    )
    click.echo(f"memory       {(program.arena_bytes + program.state_bytes) / 1e6:8.1f} MB planned")
    return 0


def print_profile(program: Program) -> int:
    from cnndsl.runtime.profile import profile, table

    for line in table(profile(program), program.backend.peaks()):
        click.echo(line)
    return 0
