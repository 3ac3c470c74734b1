"""What commands share: how a model is named on the command line, and the options that change it."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar

import click

from cnndsl.diagnostics import did_you_mean, error
from cnndsl.resources import resource

if TYPE_CHECKING:
    from cnndsl.frontend.elaborate import Limits, Network
    from cnndsl.frontend.library import Module
    from cnndsl.graph.types import Size
    from cnndsl.training.checkpoint import Checkpoint

Command = TypeVar("Command", bound=Callable[..., Any])


@dataclass(frozen=True)
class Reference:
    """A model as it is named: `resnet.cnn:resnet50`, `resnet:resnet50`, `zoo/lenet.cnn`."""

    path: Path
    name: str | None
    spelled: str

    def module(self) -> Module:
        from cnndsl.frontend.library import load_file

        in_zoo = self.path.parent == resource("zoo")
        return load_file(self.path, search_path(), f"zoo/{self.path.name}" if in_zoo else None)


def search_path() -> list[Path]:
    """The folders that `use` may read besides a file's own: those of `CNNDSL_PATH`, and the zoo."""
    named = os.environ.get("CNNDSL_PATH", "").split(os.pathsep)
    return [*(Path(folder) for folder in named if folder), resource("zoo")]


def find_model(text: str) -> Reference:
    """The file and the model that a reference means; files come first, then the zoo.

    Raises:
        CnndslError: there is no such file.
    """
    place, name = text, None
    if not Path(text).is_file() and ":" in text:
        place, _, name = text.rpartition(":")
    candidates = [Path(place), Path(place + ".cnn")]
    zoo = resource("zoo")
    bare = place.removeprefix("zoo/").removeprefix("./zoo/")
    if "/" not in bare:
        candidates += [zoo / bare, zoo / (bare + ".cnn")]
    for candidate in candidates:
        if candidate.is_file():
            return Reference(candidate, name, text)
    known = [path.stem for path in zoo.glob("*.cnn")]
    raise error(
        "C0101",
        f"there is no file {place}" + ("" if place.endswith(".cnn") else f" or {place}.cnn"),
        help=did_you_mean(Path(place).stem, known) or f"the zoo has {', '.join(sorted(known))}",
        status=2 if not place.endswith(".cnn") else 1,
    )


def model_options(command: Command) -> Command:
    """The options that change a model: `--set`, `--input` and the limits."""
    for option in (
        click.option("--max-steps", type=click.IntRange(1), help="Limit on evaluation steps."),
        click.option("--max-nodes", type=click.IntRange(1), help="Limit on layers and weights."),
        click.option("--input", "input_size", metavar="HxWxC", help="Another input size."),
        click.option(
            "--set", "settings", multiple=True, metavar="NAME=VALUE", help="Set a parameter."
        ),
    ):
        command = option(command)
    return command


def precision_option(command: Command) -> Command:
    """The option `--precision`: in what values between layers and their products are computed, as a
    user's word."""
    option = click.option(
        "--precision",
        type=click.Choice(["f32", "tf32", "bf16", "fp16"]),
        default="f32",
        show_default=True,
        help="Of values between layers; weights are f32, and tf32 is f32 with rounded products.",
    )
    return option(command)


def parse_settings(settings: tuple[str, ...]) -> dict[str, str | int]:
    """`--set classes=10` as a name and a text of the language."""
    result: dict[str, str | int] = {}
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not equals or not name.strip() or not value.strip():
            raise click.UsageError(f"--set wants NAME=VALUE, this is '{setting}'")
        if name.strip() in result:
            raise click.UsageError(f"--set gives '{name.strip()}' twice")
        result[name.strip()] = value.strip()
    return result


class Bytes(click.ParamType):  # type: ignore[type-arg]
    """A number of bytes: `500MB`, `1.5GB`; a unit is a power of a thousand."""

    name = "bytes"
    units = MappingProxyType({"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9})

    def convert(
        self, value: Any, param: click.Parameter | None, context: click.Context | None
    ) -> int:
        found = re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?) ?([KMG]?B?)", str(value), re.I | re.A)
        unit = found[2].upper() if found else ""
        if found is None or unit not in self.units:
            self.fail(f"a size such as 500MB or 2GB is wanted, this is '{value}'", param, context)
        return int(float(found[1]) * self.units[unit])


#: The word for as many images a step as there is memory for.
AUTO = "auto"


class BatchSize(click.ParamType):  # type: ignore[type-arg]
    """A number of images, at least 1, or `auto`."""

    name = "batch"

    def convert(
        self, value: Any, param: click.Parameter | None, context: click.Context | None
    ) -> int | str:
        if value == AUTO:
            return AUTO
        return click.IntRange(1).convert(value, param, context)


def parse_input(text: str | None) -> Size | None:
    """`--input 160x160x3`."""
    from cnndsl.graph.types import Size

    if text is None:
        return None
    parts = text.split("x")
    if not all(part.isdigit() and 0 < int(part) <= 1 << 20 for part in parts) or len(parts) != 3:
        raise click.UsageError(f"--input wants HxWxC such as 224x224x3, this is '{text}'")
    return Size(*map(int, parts))


def parse_limits(max_nodes: int | None, max_steps: int | None) -> Limits:
    from cnndsl.frontend.elaborate import Limits

    default = Limits()
    return Limits(max_nodes or default.nodes, max_steps or default.steps)


def elaborator(
    text: str, input_size: str | None, max_nodes: int | None, max_steps: int | None
) -> Callable[[Mapping[str, str | int]], Network]:
    """How to elaborate the model that a command line names, given its parameters.

    Raises:
        CnndslError: the file is not there or is wrong.
    """
    from cnndsl.frontend.elaborate import elaborate

    reference = find_model(text)
    module = reference.module()
    size, limits = parse_input(input_size), parse_limits(max_nodes, max_steps)

    def build(parameters: Mapping[str, str | int]) -> Network:
        return elaborate(
            module, reference.name, parameters=parameters, input_size=size, limits=limits
        )

    return build


def load_network(
    text: str,
    settings: tuple[str, ...] = (),
    input_size: str | None = None,
    max_nodes: int | None = None,
    max_steps: int | None = None,
) -> Network:
    """The network that a command line names.

    Raises:
        CnndslError: the file is wrong.
    """
    return elaborator(text, input_size, max_nodes, max_steps)(parse_settings(settings))


def with_saved_parameters(
    given: dict[str, str | int],
    saved: Checkpoint,
    elaborate: Callable[[Mapping[str, str | int]], Network],
) -> dict[str, str | int]:
    """The parameters that the weights were trained with, where the command line gives none."""
    own = elaborate(given).parameters
    stored = saved.metadata.get("parameters", {})
    return {
        **{name: value for name, value in stored.items() if name in own and own[name] != value},
        **given,
    }
