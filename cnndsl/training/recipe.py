"""Recipes: what a `train` section says, checked word by word."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import Field, dataclass, field, fields
from typing import Any

from cnndsl.compile import Objective
from cnndsl.diagnostics import CnndslError, Diagnostic, Span, did_you_mean, register
from cnndsl.frontend import syntax
from cnndsl.frontend.elaborate import Network
from cnndsl.frontend.expressions import Evaluator
from cnndsl.frontend.problems import Problem
from cnndsl.frontend.scope import Scope
from cnndsl.frontend.values import Unfit, Word, boolean, describe, is_number, real, whole
from cnndsl.graph.op import LOSSES, OPTIMIZERS, Op
from cnndsl.ops.loss import CrossEntropy
from cnndsl.ops.optimizer import SGD
from cnndsl.training.initialise import KINDS, Initialisation
from cnndsl.training.schedules import SCHEDULES, Constant, Schedule, arguments_of

register(
    {
        "E0701": "a setting of a recipe that does not exist",
        "E0702": "a word that a setting does not know",
        "E0703": "a setting that is given twice",
        "E0704": "a value that a setting cannot have",
    }
)


@dataclass(frozen=True)
class Recipe:
    """How a network is trained.

    `learning_rate` is the base that the schedule multiplies; `validation` the part of the training
    data held out to watch; `augmentations` are words of `AUGMENTATIONS` with their pixels.
    """

    data: str | None = None
    batch: int = 32
    epochs: int = 30
    learning_rate: float = 0.01
    optimizer: Op = field(default_factory=lambda: SGD(momentum=0.9))
    decay_all: bool = False
    schedule: Schedule = field(default_factory=Constant)
    loss: Op = field(default_factory=CrossEntropy)
    initialisation: Initialisation = field(default_factory=Initialisation)
    augmentations: tuple[tuple[str, int], ...] = ()
    seed: int = 0
    validation: float = 0.1
    frozen: tuple[str, ...] = ()

    @property
    def objective(self) -> Objective:
        return Objective(self.loss, self.optimizer, self.decay_all, self.frozen)


@dataclass(frozen=True, slots=True)
class _Part:
    """One evaluated part of a setting: `0.5`, `momentum=0.9`, `crop 227`, `flip`."""

    value: Any
    span: Span
    name: str | None = None
    word: str | None = None


def recipe_of(network: Network) -> Recipe:
    """The recipe that the network's file gives it, or the default one.

    Raises:
        CnndslError: every mistake of the section.
    """
    found = network.module.train_section(network.name)
    if found is None:
        return Recipe()
    section, _ = found
    evaluator = Evaluator(lambda name: Word(name), set, 100_000)
    scope = Scope(None, dict(network.parameters))
    values: dict[str, Any] = {}
    mistakes: list[Diagnostic] = []
    seen: set[str] = set()
    for setting in section.settings:
        try:
            name = setting.name.id
            if name in seen:
                raise Problem("E0703", f"`{name}` is given twice", setting.name.span)
            seen.add(name)
            if name not in _SETTINGS:
                raise Problem(
                    "E0701",
                    f"a recipe has no setting `{name}`",
                    setting.name.span,
                    help=did_you_mean(name, _SETTINGS) or f"there is {', '.join(_SETTINGS)}",
                )
            parts = [_part(value, evaluator, scope) for value in setting.values]
            values |= _SETTINGS[name](setting, parts)
        except Problem as problem:
            mistakes.append(problem.diagnostic())
    if mistakes:
        raise CnndslError(*mistakes)
    return Recipe(**values)


def _part(part: syntax.SettingValue, evaluator: Evaluator, scope: Scope) -> _Part:
    name = part.name.id if part.name else None
    word = part.word.id if part.word else None
    if name is None and word is None and isinstance(part.value, syntax.Name):
        return _Part(None, part.span, word=part.value.id)
    return _Part(evaluator.evaluate(part.value, scope), part.span, name, word)


# Settings ----------------------------------------------------------------------------------------


def _checked(part: _Part, convert: Callable[[object], Any], low: float, high: float) -> Any:
    """A value within bounds."""
    try:
        value = convert(part.value)
    except Unfit as unfit:
        raise Problem("E0704", unfit.message, part.span) from None
    if not low <= value <= high:
        raise Problem("E0704", f"{float(value):g} is not between {low:g} and {high:g}", part.span)
    return value


def _single(setting: syntax.Setting, parts: Sequence[_Part]) -> _Part:
    if len(parts) != 1 or parts[0].name is not None:
        raise Problem("E0704", f"`{setting.name.id}` takes one value", setting.span)
    return parts[0]


def _number(
    field_name: str, convert: Callable[[object], Any], low: float, high: float
) -> Callable[[syntax.Setting, Sequence[_Part]], dict[str, Any]]:
    def read(setting: syntax.Setting, parts: Sequence[_Part]) -> dict[str, Any]:
        return {field_name: _checked(_single(setting, parts), convert, low, high)}

    return read


def _data(setting: syntax.Setting, parts: Sequence[_Part]) -> dict[str, Any]:
    part = _single(setting, parts)
    return {"data": part.word if part.word is not None else str(part.value)}


def _kind(setting: syntax.Setting, parts: Sequence[_Part], known: Sequence[str]) -> str:
    """The first word of a setting: `sgd`, `cosine`, `he`."""
    first = parts[0]
    if first.word is None or first.value is not None:
        raise Problem(
            "E0702", f"`{setting.name.id}` begins with one of {', '.join(known)}", first.span
        )
    if first.word not in known:
        raise Problem(
            "E0702",
            f"`{setting.name.id}` does not know `{first.word}`",
            first.span,
            help=did_you_mean(first.word, known) or f"there is {', '.join(known)}",
        )
    return first.word


def _named(parts: Sequence[_Part], known: Sequence[str], what: str) -> dict[str, _Part]:
    """The named arguments after the first word."""
    result: dict[str, _Part] = {}
    for part in parts:
        if part.name is None or part.name not in known:
            said = part.name or part.word or part.span.text
            raise Problem(
                "E0702",
                f"`{what}` has no argument `{said}`",
                part.span,
                help=did_you_mean(said, known) or f"it has {', '.join(known)}",
            )
        if part.name in result:
            raise Problem("E0703", f"`{part.name}` is given twice", part.span)
        result[part.name] = part
    return result


def _field_value(part: _Part, annotation: str) -> Any:
    if annotation == "bool":
        try:
            return boolean(part.value)
        except Unfit as unfit:
            raise Problem("E0704", unfit.message, part.span) from None
    if annotation == "int":
        return _checked(part, whole, 0, 1e9)
    if annotation == "tuple[float, ...]":
        items = part.value if isinstance(part.value, list) else [part.value]
        if not all(is_number(item) and item >= 0 for item in items):
            raise Problem("E0704", "a list of epochs is wanted here", part.span)
        return tuple(float(item) for item in items)
    return float(_checked(part, real, 0, 1e9))


def _fields(kind: type[Any]) -> dict[str, Field[Any]]:
    return {f.name: f for f in fields(kind)}


def _optimizer(setting: syntax.Setting, parts: Sequence[_Part]) -> dict[str, Any]:
    kind = OPTIMIZERS[_kind(setting, parts, list(OPTIMIZERS))]
    own = _fields(kind)
    given = _named(parts[1:], ["lr", *own, "decay"], kind.name)
    result: dict[str, Any] = {}
    rate = given.pop("lr", None)
    if rate is not None:
        result["learning_rate"] = float(_checked(rate, real, 0, 1e6))
    decay = given.pop("decay", None)
    if decay is not None:
        if not (isinstance(decay.value, Word) and decay.value.text in ("all", "weights")):
            raise Problem("E0704", "`decay` is `all` or `weights`", decay.span)
        result["decay_all"] = decay.value.text == "all"
    values = {name: _field_value(part, str(own[name].type)) for name, part in given.items()}
    result["optimizer"] = kind(**values)
    return result


def _schedule(setting: syntax.Setting, parts: Sequence[_Part]) -> dict[str, Any]:
    kind = SCHEDULES[_kind(setting, parts, list(SCHEDULES))]
    own = _fields(kind)
    given = _named(parts[1:], arguments_of(kind), kind.name)
    values = {}
    for name, part in given.items():
        field_name = "by" if name == "factor" else name
        values[field_name] = _field_value(part, str(own[field_name].type))
    if kind.name == "step" and not (values.get("every") or values.get("at")):
        raise Problem(
            "E0704",
            "`schedule step` does not say when",
            setting.span,
            help="write `every=30`, or `at=[81, 122]`",
        )
    return {"schedule": kind(**values)}


def _loss(setting: syntax.Setting, parts: Sequence[_Part]) -> dict[str, Any]:
    kind = LOSSES[_kind(setting, parts, list(LOSSES))]
    own = _fields(kind)
    given = _named(parts[1:], list(own), kind.name)
    values = {n: float(_checked(p, real, 0, 1)) for n, p in given.items()}
    return {"loss": kind(**values)}


def _initialisation(setting: syntax.Setting, parts: Sequence[_Part]) -> dict[str, Any]:
    kind = _kind(setting, parts, KINDS)
    given = _named(parts[1:], ["fan", "uniform"], kind)
    values: dict[str, Any] = {}
    if "fan" in given:
        fan = given["fan"]
        word = fan.value.text if isinstance(fan.value, Word) else None
        if word not in ("input", "output"):
            raise Problem("E0704", "`fan` is `input` or `output`", fan.span)
        values["fan"] = "in" if word == "input" else "out"
    if "uniform" in given:
        values["uniform"] = _field_value(given["uniform"], "bool")
    return {"initialisation": Initialisation(kind, **values)}


AUGMENTATIONS = ("crop", "pad", "flip", "shift", "cutout")


def _augment(setting: syntax.Setting, parts: Sequence[_Part]) -> dict[str, Any]:
    """`crop n` crops from an image resized to 8/7 of it; `pad n` pads and crops back."""
    found: list[tuple[str, int]] = []
    for part in parts:
        word = part.word
        if word is None or word not in AUGMENTATIONS:
            raise Problem(
                "E0702",
                f"`augment` does not know `{part.span.text}`",
                part.span,
                help=did_you_mean(str(word), AUGMENTATIONS)
                or f"there is {', '.join(AUGMENTATIONS)}",
            )
        if word == "flip" and part.value is not None:
            raise Problem("E0704", "`flip` takes no number", part.span)
        if word != "flip" and part.value is None:
            raise Problem("E0704", f"`{word}` wants a number of pixels", part.span)
        pixels = 0 if word == "flip" else _checked(part, whole, 1, 4096)
        found.append((word, pixels))
    return {"augmentations": tuple(found)}


def _freeze(setting: syntax.Setting, parts: Sequence[_Part]) -> dict[str, Any]:
    patterns = []
    for part in parts:
        pattern = part.value if isinstance(part.value, str) else part.word
        if not isinstance(pattern, str):
            raise Problem(
                "E0704", f"a path is wanted here, this is {describe(part.value)}", part.span
            )
        patterns.append(pattern)
    return {"frozen": tuple(patterns)}


_SETTINGS: dict[str, Callable[[syntax.Setting, Sequence[_Part]], dict[str, Any]]] = {
    "data": _data,
    "augment": _augment,
    "batch": _number("batch", whole, 1, 1_000_000),
    "epochs": _number("epochs", whole, 0, 1_000_000),
    "optimizer": _optimizer,
    "schedule": _schedule,
    "loss": _loss,
    "init": _initialisation,
    "seed": _number("seed", whole, 0, 2**63 - 1),
    "validation": _number("validation", lambda v: float(real(v)), 0, 0.9),
    "freeze": _freeze,
}
