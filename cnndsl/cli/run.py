"""`cnndsl run`: trains, evaluates, predicts; without a mode one forward pass and its time."""

from __future__ import annotations

import itertools
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cnndsl.cli.forward import forward, print_profile
from cnndsl.cli.model import (
    AUTO,
    BatchSize,
    Bytes,
    elaborator,
    model_options,
    parse_settings,
    precision_option,
    with_saved_parameters,
)
from cnndsl.diagnostics import CnndslError

if TYPE_CHECKING:
    from cnndsl.runtime.kernel import Backend
    from cnndsl.training.session import Elaborate, Fitted


@click.command(
    epilog="""\b
Examples:
  cnndsl run zoo/lenet.cnn --train digits
  cnndsl run zoo/resnet.cnn:resnet20 --train cifar10 --out runs/resnet20
  cnndsl run zoo/resnet.cnn:resnet20 --train cifar10 --out runs/resnet20 --resume
  cnndsl run zoo/densenet.cnn:densenet121 --train synthetic --batch 32 --memory 1GB
  cnndsl run zoo/lenet.cnn --eval digits --weights runs/lenet-digits
  cnndsl run zoo/lenet.cnn --predict seven.png --weights runs/lenet-digits
  cnndsl run zoo/googlenet.cnn --batch 16
  cnndsl run zoo/googlenet.cnn --batch 16 --profile
  cnndsl run zoo/resnet.cnn:resnet50 --train synthetic --batch 16 --profile
  cnndsl run zoo/resnet.cnn:resnet50 --train synthetic --batch 16 --precision bf16
\b
Data sets: digits, synthetic, cifar10, cifar100, npz:PATH.
"""
)
@click.argument("model")
@click.option("--train", "train_data", metavar="DATA", help="Train on a data set.")
@click.option("--eval", "eval_data", metavar="DATA", help="Evaluate on its test split.")
@click.option("--predict", "images", multiple=True, metavar="IMAGE", help="Name what is on it.")
@click.argument("more_images", nargs=-1, metavar="[IMAGE]...")
@click.option("--epochs", type=click.IntRange(0), help="Instead of the recipe's.")
@click.option("--batch", type=BatchSize(), metavar="N", help="Images a step; auto: what fits.")
@click.option("--memory", type=Bytes(), metavar="SIZE", help="Of a step, 2GB: recompute the rest.")
@click.option("--lr", type=click.FloatRange(0), help="Base learning rate.")
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), help="Of weights, order and masks.")
@click.option("--backend", metavar="NAME", help="The engine; the best one by default.")
@click.option("--threads", type=click.IntRange(1, 1024), help="The engine's; all cores by default.")
@precision_option
@click.option("--profile", is_flag=True, help="Time every step of the program instead.")
@click.option("--out", type=click.Path(path_type=Path), metavar="DIR", help="The run's folder.")
@click.option("--resume", is_flag=True, help="Go on with the run in --out.")
@click.option(
    "--weights", type=click.Path(path_type=Path), metavar="PATH", help="A checkpoint or run folder."
)
@click.option(
    "--data-dir", type=click.Path(path_type=Path), metavar="DIR", help="A copy of the data on disk."
)
@click.option("--workers", type=click.IntRange(0, 64), default=1, help="Threads that load data.")
@click.option(
    "--checkpoint-seconds",
    type=click.FloatRange(0),
    default=20.0,
    show_default=True,
    help="Between two checkpoints within an epoch.",
)
@model_options
def command(model: str, more_images: tuple[str, ...], **options: Any) -> int:
    """Train a network, evaluate it, or name what is on images.

    With --profile, a table of the program's steps by time, of a training step with --train, and
    nothing is trained.
    A run's folder holds metrics.jsonl, result.json and checkpoints/.
    """
    predicted = options.pop("images")
    if more_images and not predicted:
        raise click.UsageError(f"what is '{more_images[0]}' for? images follow --predict")
    images = (*predicted, *more_images)
    modes = [m for m in (options["train_data"], options["eval_data"], images or None) if m]
    if len(modes) > 1:
        raise click.UsageError("--train, --eval and --predict exclude each other")
    mode = "train_data" if options["train_data"] else "eval_data" if options["eval_data"] else None
    _refuse_idle("images" if images else mode)
    if options["profile"] and mode:
        _refuse_with_profile()
    if options["batch"] == AUTO and not options["train_data"]:
        raise click.UsageError("--batch auto goes with --train")
    if options["resume"] and not (options["train_data"] and options["out"]):
        raise click.UsageError("--resume goes with --train and --out")
    backend = _backend(options["backend"], options["threads"], options["precision"])
    elaborate = elaborator(model, options["input_size"], options["max_nodes"], options["max_steps"])
    given = parse_settings(options["settings"])
    if options["train_data"]:
        return _train(elaborate, given, backend, options)
    if options["eval_data"]:
        return _evaluate(elaborate, given, backend, options)
    if images:
        return _predict(elaborate, given, backend, images, options)
    saved = _saved(options) if options["weights"] is not None else ()
    return forward(elaborate, given, backend, options, *saved)


#: The options that mean something in one mode alone, or in two, by what chooses the mode.
_MODES = {"train_data": "--train", "eval_data": "--eval", "images": "--predict", None: "no mode"}
_BELONG = {
    "epochs": ("train_data",),
    "lr": ("train_data",),
    "memory": ("train_data",),
    "out": ("train_data",),
    "checkpoint_seconds": ("train_data",),
    "data_dir": ("train_data", "eval_data"),
    "workers": ("train_data", "eval_data"),
    "profile": ("train_data", None),
    "batch": ("train_data", "eval_data", None),
    "seed": ("train_data", "eval_data", None),
}


def _refuse_with_profile() -> None:
    """Refuse what a training step that is only timed would not heed."""
    context = click.get_current_context()
    for option in ("epochs", "out", "resume", "weights", "checkpoint_seconds"):
        if context.get_parameter_source(option) is click.core.ParameterSource.COMMANDLINE:
            name = option.replace("_", "-")
            raise click.UsageError(f"--profile trains nothing: --{name} would do nothing")


def _refuse_idle(mode: str | None) -> None:
    """Refuse an option that would do nothing in this mode."""
    context = click.get_current_context()
    for option, modes in _BELONG.items():
        source = context.get_parameter_source(option)
        if source is click.core.ParameterSource.COMMANDLINE and mode not in modes:
            name = option.replace("_", "-")
            where = " and ".join(_MODES[each] for each in modes)
            raise click.UsageError(f"--{name} goes with {where}")


def _backend(name: str | None, threads: int | None, precision: str) -> Backend:
    from cnndsl.backends import get_backend

    backend = get_backend(name, threads, precision)
    if (note := backend.note()) is not None:
        _note(note)
    return backend


def _overrides(options: dict[str, Any]) -> Any:
    from cnndsl.training.session import Overrides

    return Overrides(
        epochs=options["epochs"],
        batch=options["batch"],
        learning_rate=options["lr"],
        seed=options["seed"],
        memory=options["memory"],
        precision=_element_type(options),
    )


def _element_type(options: dict[str, Any]) -> str:
    from cnndsl.passes.precision import element_type

    return element_type(options["precision"])


def _note(text: str) -> None:
    click.echo(text, err=True)


def _download_progress(done: int, total: int | None, mirror: str) -> None:
    if sys.stderr.isatty():
        part = f" of {total / 1e6:,.1f}" if total else ""
        click.echo(f"\r{mirror}: {done / 1e6:,.1f}{part} MB ", err=True, nl=False)
        if total and done >= total:
            click.echo(err=True)


def _fitted(
    elaborate: Elaborate, given: dict[str, str | int], name: str, options: dict[str, Any]
) -> Any:
    from cnndsl.training.session import fit

    return fit(
        elaborate,
        given,
        name,
        overrides=_overrides(options),
        data_dir=options["data_dir"],
        progress=_download_progress,
        note=_note,
    )


@contextmanager
def _stoppable() -> Iterator[Any]:
    """The first Ctrl-C asks training to stop after the step; the second stops at once."""
    asked = False

    def ask(number: int, frame: Any) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True
        click.echo("\nstopping after this step (Ctrl-C again: at once)", err=True)

    previous = signal.signal(signal.SIGINT, ask)
    try:
        yield lambda: asked
    finally:
        signal.signal(signal.SIGINT, previous)


def _of_largest_batch(fitted: Fitted, backend: Backend) -> Fitted:
    """The same with as many images a step as the engine has memory for."""
    from dataclasses import replace

    from cnndsl.compile import largest_batch

    recipe = fitted.recipe
    most = len(fitted.dataset.train)
    batch = largest_batch(fitted.network.graph, recipe.objective, backend, most)
    click.echo(f"batch = {batch}, the largest that fits on {backend.name}", err=True)
    return replace(fitted, recipe=replace(recipe, batch=batch))


def _train(
    elaborate: Elaborate,
    given: dict[str, str | int],
    backend: Backend,
    options: dict[str, Any],
) -> int:
    from cnndsl.training.display import for_terminal
    from cnndsl.training.loop import Interrupted
    from cnndsl.training.session import train

    automatic = options["batch"] == AUTO
    options = options | {"batch": None} if automatic else options
    fitted = _fitted(elaborate, given, options["train_data"], options)
    if automatic:
        fitted = _of_largest_batch(fitted, backend)
    if options["profile"]:
        from cnndsl.training.session import step_of

        return print_profile(step_of(fitted, backend, options["workers"]))
    label = f"{fitted.network.name}-{fitted.dataset.name}"
    out = options["out"] or _fresh_folder(label)
    with _stoppable() as stop:
        display = for_terminal()
        try:
            result, _ = train(
                fitted,
                backend,
                out,
                resume=options["resume"],
                weights=options["weights"],
                display=display,
                stop=stop,
                workers=options["workers"],
                checkpoint_seconds=options["checkpoint_seconds"],
            )
        except Interrupted:
            click.echo(f"stopped; `--out {out} --resume` goes on", err=True)
            return 130
        except CnndslError as failure:
            if options["out"] is None:
                _remove_empty(out)
            raise _resumable(failure, out) from None
        finally:
            display.close()
    if result.test_accuracy is not None:
        click.echo(f"test accuracy {result.test_accuracy:.2%} on {len(fitted.dataset.test)} images")
    click.echo(f"{result.seconds:.1f} s, {result.images_per_second:,.0f} images/s, run in {out}")
    return 0


def _resumable(failure: CnndslError, out: Path) -> CnndslError:
    """The failure, with how to go on where it is a GPU's and a checkpoint was kept."""
    from dataclasses import replace

    (first, *_) = failure.diagnostics
    kept = (out / "checkpoints" / "last.safetensors").exists()
    if first.code not in {"C0206", "C0207"} or not kept:
        return failure
    how = f"`--out {out} --resume` goes on from the last checkpoint"
    return CnndslError(replace(first, help=f"{how}; {first.help}"), status=failure.status)


def _remove_empty(folder: Path) -> None:
    """Remove a run's folder, and the one of all runs, if nothing is in them."""
    with suppress(OSError):
        folder.rmdir()
        folder.parent.rmdir()


def _fresh_folder(label: str) -> Path:
    """`runs/lenet-digits`, or the first of `…-2`, `…-3` that is not there."""
    label = "".join(c if c.isalnum() or c in "-_." else "-" for c in label)
    names = itertools.chain([label], (f"{label}-{number}" for number in itertools.count(2)))
    return next(folder for name in names if not (folder := Path("runs") / name).exists())


def _saved(options: dict[str, Any]) -> tuple[Any, str]:
    from cnndsl.training import checkpoint
    from cnndsl.training.session import find_weights

    if options["weights"] is None:
        raise click.UsageError("--eval and --predict want --weights, a checkpoint or a run folder")
    path = find_weights(options["weights"])
    return checkpoint.load(path), str(path)


def _evaluate(
    elaborate: Elaborate,
    given: dict[str, str | int],
    backend: Backend,
    options: dict[str, Any],
) -> int:
    from cnndsl.training.session import evaluate_on

    saved, origin = _saved(options)
    given = with_saved_parameters(given, saved, elaborate)
    if options["seed"] is None:
        # The seed draws the split of some data sets: what was trained on must stay out of the test.
        options = {**options, "seed": saved.metadata.get("run", {}).get("seed")}
    fitted = _fitted(elaborate, given, options["eval_data"], options)
    score = evaluate_on(fitted, backend, saved, origin, options["workers"])
    click.echo(
        f"accuracy {score.accuracy:.2%}  top-5 {score.top5:.2%}  loss {score.loss:.4f}  "
        f"on {score.images} images"
    )
    return 0


def _predict(
    elaborate: Elaborate,
    given: dict[str, str | int],
    backend: Backend,
    images: tuple[str, ...],
    options: dict[str, Any],
) -> int:
    from cnndsl.training.session import predict

    saved, origin = _saved(options)
    network = elaborate(with_saved_parameters(given, saved, elaborate))
    paths = [Path(image) for image in images]
    precision = _element_type(options)
    for prediction in predict(network, backend, saved, origin, paths, precision=precision):
        click.echo(f"{prediction.path}")
        for name, probability in prediction.classes:
            click.echo(f"    {probability:7.2%}  {name}")
    return 0
