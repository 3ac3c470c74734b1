"""The settings of a recipe, one function each: what it may say, and what it means."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import Field, dataclass, fields
from typing import Any

from cnndsl.diagnostics import Label, Span, did_you_mean, register
from cnndsl.frontend import syntax
from cnndsl.frontend.expressions import Evaluator
from cnndsl.frontend.problems import Problem
from cnndsl.frontend.scope import Scope
from cnndsl.frontend.values import Unfit, Word, boolean, describe, is_number, real, show, whole
from cnndsl.graph.op import LOSSES, OPTIMIZERS, Mismatch, Op
from cnndsl.graph.types import BATCH, Type, vector_type
from cnndsl.ops.loss import CrossEntropy, MeanSquaredError
from cnndsl.ops.optimizer import SGD, Optimizer
from cnndsl.training.initialise import KINDS, Initialisation
from cnndsl.training.schedules import SCHEDULES, arguments_of

register(
    {
        "E0701": "a setting of a recipe that does not exist",
        "E0702": "a word that a setting does not know",
        "E0703": "a setting that is given twice",
        "E0704": "a value that a setting cannot have",
    }
)


@dataclass(frozen=True, slots=True)
class Part:
    """One evaluated part of a setting: `0.5`, `momentum=0.9`, `crop 227`, `flip`."""

    value: Any
    span: Span
    name: str | None = None
    word: str | None = None

    @property
    def meant(self) -> Any:
        """The value, or the bare word."""
        return Word(self.word) if self.word and self.value is None else self.value


def part_of(value: syntax.SettingValue, evaluator: Evaluator, scope: Scope) -> Part:
    """The evaluated part."""
    name = value.name.id if value.name else None
    word = value.word.id if value.word else None
    if name is None and word is None and isinstance(value.value, syntax.Name):
        return Part(None, value.span, word=value.value.id)
    return Part(evaluator.evaluate(value.value, scope), value.span, name, word)


def given_twice(name: str, span: Span, first: Span) -> Problem:
    seen = Label(first, "the first is here")
    return Problem("E0703", f"`{name}` is given twice", span, secondary=(seen,))


def help_with_setting(name: str) -> str:
    """What was perhaps meant by a setting that does not exist."""
    for setting, (kind, arguments) in _ARGUMENTS.items():
        known = ["lr", *arguments] if setting == "optimizer" else arguments
        word = "lr" if name == "learning_rate" else name
        if word in known:
            return f"it is an argument: `{setting} {kind}, {word}=…`"
    return did_you_mean(name, SETTINGS) or f"there is {', '.join(SETTINGS)}"


#: Where arguments belong that are taken for settings: a setting, one of its words, what that has.
_ARGUMENTS = {
    "optimizer": ("sgd", [f.name for f in fields(SGD)]),
    "schedule": ("cosine", arguments_of(SCHEDULES["cosine"])),
    "loss": ("cross_entropy", [f.name for f in fields(CrossEntropy)]),
}


def _checked(part: Part, convert: Callable[[object], Any], low: float, high: float) -> Any:
    """A value within bounds."""
    try:
        value = convert(part.meant)
    except Unfit as unfit:
        raise Problem("E0704", unfit.message, part.span) from None
    if not low <= value <= high:
        bound = f"at least {low:,}" if value < low else f"at most {high:,}"
        raise Problem("E0704", f"{bound} is wanted here, this is {show(part.value)}", part.span)
    return value


def _single(setting: syntax.Setting, parts: Sequence[Part]) -> Part:
    if len(parts) != 1 or parts[0].name is not None:
        raise Problem("E0704", f"`{setting.name.id}` takes one value", setting.span)
    return parts[0]


def _number(
    field_name: str, convert: Callable[[object], Any], low: float, high: float
) -> Callable[[syntax.Setting, Sequence[Part]], dict[str, Any]]:
    def read(setting: syntax.Setting, parts: Sequence[Part]) -> dict[str, Any]:
        return {field_name: _checked(_single(setting, parts), convert, low, high)}

    return read


def _data(setting: syntax.Setting, parts: Sequence[Part]) -> dict[str, Any]:
    part = _single(setting, parts)
    return {"data": part.word if part.word is not None else str(part.value)}


def _kind(setting: syntax.Setting, parts: Sequence[Part], known: Sequence[str]) -> str:
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


def _named(parts: Sequence[Part], known: Sequence[str], what: str) -> dict[str, Part]:
    """The named arguments after the first word."""
    result: dict[str, Part] = {}
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
            raise given_twice(part.name, part.span, result[part.name].span)
        result[part.name] = part
    return result


def _field_value(part: Part, annotation: str) -> Any:
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
            raise Problem(
                "E0704",
                f"a list of epochs is wanted here, this is {describe(part.value)}",
                part.span,
                help="write `at=[81, 122]`",
            )
        return tuple(float(item) for item in items)
    return float(_checked(part, real, 0, 1e9))


def _fields(kind: type[Any]) -> dict[str, Field[Any]]:
    return {f.name: f for f in fields(kind)}


def _optimizer(setting: syntax.Setting, parts: Sequence[Part]) -> dict[str, Any]:
    kind = OPTIMIZERS[_kind(setting, parts, list(OPTIMIZERS))]
    own = _fields(kind)
    given = _named(parts[1:], ["lr", *own, "decay", "clip"], kind.name)
    result: dict[str, Any] = {}
    rate = given.pop("lr", None)
    if rate is not None:
        result["learning_rate"] = float(_checked(rate, real, 0, 1e6))
    clip = given.pop("clip", None)
    if clip is not None:
        result["clip"] = float(_checked(clip, real, 1e-9, 1e9))
    decay = given.pop("decay", None)
    if decay is not None:
        if not (isinstance(decay.value, Word) and decay.value.text in ("all", "weights")):
            raise Problem(
                "E0704", f"`decay` is `all` or `weights`, not {describe(decay.value)}", decay.span
            )
        result["decay_all"] = decay.value.text == "all"
    values = {name: _field_value(part, str(own[name].type)) for name, part in given.items()}
    made = kind(**values)
    assert isinstance(made, Optimizer)
    _sensible(made.check, setting)
    result["optimizer"] = made
    return result


def _sensible(check: Callable[[], object], setting: syntax.Setting) -> None:
    """Report what an operation says of its own settings."""
    try:
        check()
    except Mismatch as mismatch:
        raise Problem("E0704", mismatch.message, setting.span, help=mismatch.help) from None


def _schedule(setting: syntax.Setting, parts: Sequence[Part]) -> dict[str, Any]:
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


def _loss(setting: syntax.Setting, parts: Sequence[Part]) -> dict[str, Any]:
    kind = LOSSES[_kind(setting, parts, list(LOSSES))]
    own = _fields(kind)
    given = _named(parts[1:], list(own), kind.name)
    made = kind(**{name: float(_checked(part, real, 0, 1)) for name, part in given.items()})
    _sensible(lambda: loss_of(made, vector_type(2)), setting)
    return {"loss": made}


def _initialisation(setting: syntax.Setting, parts: Sequence[Part]) -> dict[str, Any]:
    kind = _kind(setting, parts, KINDS)
    given = _named(parts[1:], ["fan", "uniform"], kind)
    values: dict[str, Any] = {}
    if "fan" in given:
        fan = given["fan"]
        word = fan.value.text if isinstance(fan.value, Word) else None
        if word not in ("input", "output"):
            raise Problem(
                "E0704", f"`fan` is `input` or `output`, not {describe(fan.value)}", fan.span
            )
        values["fan"] = "in" if word == "input" else "out"
    if "uniform" in given:
        values["uniform"] = _field_value(given["uniform"], "bool")
    return {"initialisation": Initialisation(kind, **values)}


AUGMENTATIONS = ("crop", "pad", "flip", "shift", "cutout")


def _augment(setting: syntax.Setting, parts: Sequence[Part]) -> dict[str, Any]:
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


def _freeze(setting: syntax.Setting, parts: Sequence[Part]) -> dict[str, Any]:
    patterns = []
    for part in parts:
        pattern = part.value if isinstance(part.value, str) else part.word
        if not isinstance(pattern, str):
            raise Problem(
                "E0704", f"a path is wanted here, this is {describe(part.value)}", part.span
            )
        patterns.append(pattern)
    return {"frozen": tuple(patterns)}


SETTINGS: dict[str, Callable[[syntax.Setting, Sequence[Part]], dict[str, Any]]] = {
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


def loss_of(loss: Op, logits: Type) -> None:
    """Whether a loss takes logits.

    Raises:
        Mismatch: it does not.
    """
    loss.infer(logits, logits if isinstance(loss, MeanSquaredError) else LABELS)


#: One whole number an image.
LABELS = Type((BATCH,), "int64")
