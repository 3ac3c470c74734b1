"""`cnndsl kernels`: the kernels that a GPU would execute, and their text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click

from cnndsl.cli.model import load_network, model_options, precision_option
from cnndsl.diagnostics import did_you_mean

if TYPE_CHECKING:
    from cnndsl.backends.cuda.launch import Launch, Task
    from cnndsl.frontend.elaborate import Network


@click.command(
    epilog="""\b
Examples:
  cnndsl kernels zoo/resnet.cnn:resnet50 --batch 256 --precision bf16
  cnndsl kernels zoo/resnet.cnn:resnet50 --for training --batch 256 --precision bf16
  cnndsl kernels zoo/googlenet.cnn --for training --source maxpool1
"""
)
@click.argument("model")
@click.option("--for", "use", type=click.Choice(["inference", "training"]), default="inference")
@click.option("--batch", type=click.IntRange(1), default=1, show_default=True, help="Images.")
@precision_option
@click.option(
    "--architecture",
    type=click.Choice(["sm_80", "sm_86", "sm_89", "sm_90", "sm_100", "sm_120"]),
    default="sm_90",
    show_default=True,
    help="Of the GPU.",
)
@click.option("--source", metavar="LAYER", help="Print the text of a layer's kernels instead.")
@model_options
def command(
    model: str,
    use: str,
    batch: int,
    precision: str,
    architecture: str,
    source: str | None,
    **options: Any,
) -> None:
    """List the kernels of a program, which are written for its shapes; no GPU is needed.

    Of each the layer that it is of, its grid and the threads of a block and, where NVRTC is
    installed, a thread's registers, the bytes that did not fit into them, and the share of a
    multiprocessor's warps that can be at work at once. What the library cuDNN does is said in
    words.
    """
    tasks = list(_tasks(load_network(model, **options), use, batch, precision))
    if source is not None:
        _print_source(tasks, source)
        return
    for line in _table(tasks, architecture):
        click.echo(line)


def _tasks(network: Network, use: str, batch: int, precision: str) -> Iterator[tuple[str, Task]]:
    """The layers and the tasks of a program in order."""
    from dataclasses import replace

    from cnndsl.backends.cuda.engine import CudaKernel
    from cnndsl.backends.cuda.planned import Engine
    from cnndsl.compile import planned_kernels
    from cnndsl.passes.precision import TF32, element_type
    from cnndsl.training.recipe import recipe_of

    engine = Engine()
    if precision == TF32:
        engine.use_tf32()
    recipe = replace(recipe_of(network), precision=element_type(precision))
    for name, kernel in planned_kernels(network.graph, use, recipe.objective, engine, batch):
        if isinstance(kernel, CudaKernel):
            for task in kernel.recipe.tasks:
                yield name, task


def _print_source(tasks: Sequence[tuple[str, Task]], layer: str) -> None:
    from cnndsl.backends.cuda.launch import Launch

    texts = {t.source.text: None for name, t in tasks if name == layer and isinstance(t, Launch)}
    if not texts:
        names = sorted({name for name, task in tasks if isinstance(task, Launch)})
        hint = did_you_mean(layer, names) or "`cnndsl kernels` lists them"
        raise click.UsageError(f"no kernel is of a layer '{layer}'; {hint}")
    for text in texts:
        click.echo(text)


def _table(tasks: Sequence[tuple[str, Task]], architecture: str) -> Iterator[str]:
    from cnndsl.backends.cuda.launch import Launch

    taken = _taken([task for _, task in tasks if isinstance(task, Launch)], architecture)
    head = ("layer", "kernel", "grid", "block", "registers", "spilled", "occupancy")
    rows: list[tuple[str, ...]] = [head if taken else head[:4]]
    for name, task in tasks:
        if isinstance(task, Launch):
            sizes = ("x".join(map(str, each)) for each in (task.grid, task.block))
            rows.append((name, task.source.entry, *sizes, *taken.get(task, ())))
        else:
            rows.append((name, f"cuDNN: {task.description}"))
    widths = [max(len(row[i]) for row in rows if len(row) > max(i, 2)) for i in range(len(rows[0]))]
    for row in rows:
        yield "  ".join(c.ljust(width) for c, width in zip(row, widths, strict=False)).rstrip()
    launches = [task for _, task in tasks if isinstance(task, Launch)]
    texts = {task.source for task in launches}
    yield f"{len(launches)} launches of {len(texts)} kernels, {len(tasks) - len(launches)} of cuDNN"


def _taken(launches: Sequence[Launch], architecture: str) -> dict[Launch, tuple[str, str, str]]:
    """What each kernel takes of a GPU, where that can be told."""
    from cnndsl.backends.cuda import nvrtc
    from cnndsl.backends.cuda.occupancy import occupancy

    if nvrtc.unavailable() is not None:
        return {}
    sources = dict.fromkeys(launch.source for launch in launches)
    found = {source: nvrtc.compiled(source, architecture) for source in sources}
    taken = {}
    for launch in launches:
        kernel = found[launch.source]
        share = occupancy(kernel, launch.threads, architecture)
        taken[launch] = str(kernel.registers), str(kernel.spilled), f"{share:.0%}"
    return taken
