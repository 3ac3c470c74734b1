"""`cnndsl check`: reports every mistake of a file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from cnndsl.cli.model import find_model, model_options, parse_input, parse_limits, parse_settings
from cnndsl.diagnostics import CnndslError, Diagnostic, render_all, to_json

if TYPE_CHECKING:
    from cnndsl.frontend.elaborate import Network
    from cnndsl.frontend.library import Module


@click.command(
    epilog="""\b
Examples:
  cnndsl check model.cnn
  cnndsl check zoo/resnet.cnn:resnet50 --input 160x160x3
  cnndsl check model.cnn --lint
  cnndsl check model.cnn --format json
"""
)
@click.argument("models", nargs=-1, required=True, metavar="MODEL...")
@click.option("--lint", is_flag=True, help="Also what is allowed and probably not meant.")
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text")
@model_options
def command(
    models: tuple[str, ...],
    lint: bool,
    form: str,
    settings: tuple[str, ...],
    input_size: str | None,
    max_nodes: int | None,
    max_steps: int | None,
) -> int:
    """Parse, elaborate and check files: shapes, claims and `expect` sections.

    Without a name every model of the file that needs no argument is checked.
    """
    found: list[Diagnostic] = []
    lines: list[str] = []
    status = 0
    for model in models:
        try:
            diagnostics, summary = _check(model, lint, settings, input_size, max_nodes, max_steps)
        except CnndslError as failure:
            diagnostics, summary = list(failure.diagnostics), []
            status = max(status, failure.status)
        found += diagnostics
        lines += summary
    if any(d.severity == "error" for d in found):
        status = max(status, 1)
    if form == "json":
        click.echo(to_json(found))
        return status
    if found:
        click.echo(render_all(found), err=True)
        mistakes = sum(d.severity == "error" for d in found)
        warnings = len(found) - mistakes
        counts = [f"{mistakes} mistake{'s' * (mistakes != 1)}"] if mistakes else []
        counts += [f"{warnings} warning{'s' * (warnings != 1)}"] if warnings else []
        click.echo("\n" + ", ".join(counts), err=True)
    for line in lines:
        click.echo(line)
    return status


def diagnose(
    module: Module, name: str | None = None, **options: Any
) -> tuple[list[Diagnostic], list[Network]]:
    """All that is wrong with a model, or with a file's models, in the order of the file.

    `options` are those of `cnndsl.compile.check`. Returns the networks that elaborated, too.
    """
    from cnndsl.compile import check

    found, networks = check(module, name, **options)
    found += _recipe_mistakes(networks)
    return sorted(found, key=lambda d: _place(module, d)), networks


def _place(module: Module, diagnostic: Diagnostic) -> tuple[bool, str, int]:
    """What orders diagnostics: those of other files come last."""
    span = diagnostic.span
    if span is None:
        return (False, "", -1)
    return (span.source is not module.source, span.source.name, span.start)


def _recipe_mistakes(networks: list[Network]) -> list[Diagnostic]:
    """The mistakes of the networks' `train` sections, each section's once."""
    from cnndsl.training.recipe import recipe_of

    found: dict[object, Diagnostic] = {}
    for network in networks:
        if network.module.train_section(network.name) is None:
            continue
        try:
            recipe_of(network)
        except CnndslError as failure:
            for diagnostic in failure.diagnostics:
                found.setdefault((diagnostic.code, str(diagnostic.span)), diagnostic)
    return list(found.values())


def _check(
    model: str,
    lint: bool,
    settings: tuple[str, ...],
    input_size: str | None,
    max_nodes: int | None,
    max_steps: int | None,
) -> tuple[list[Diagnostic], list[str]]:
    from cnndsl.graph import analysis

    reference = find_model(model)
    module = reference.module()
    diagnostics, networks = diagnose(
        module,
        reference.name,
        parameters=parse_settings(settings),
        input_size=parse_input(input_size),
        limits=parse_limits(max_nodes, max_steps),
        lints=lint,
    )
    if any(d.severity == "error" for d in diagnostics):
        return diagnostics, []
    lines = []
    for network in networks:
        proofs = sum(len(s.proofs) for s in module.expectations(network.name))
        proved = f", {proofs} expectation{'s' * (proofs != 1)} proved" if proofs else ""
        if network.changed:
            proved = ", claims and expectations not checked: a parameter or the input was changed"
        lines.append(
            f"{module.source.name}:{network.name} is right: "
            f"{analysis.parameters(network.graph):,} parameters{proved}"
        )
    return diagnostics, lines
