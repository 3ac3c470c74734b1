"""Recipes: what a `train` section says, checked word by word."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from cnndsl.compile import Objective
from cnndsl.diagnostics import CnndslError, Diagnostic, Span, did_you_mean
from cnndsl.frontend import syntax
from cnndsl.frontend.claims import Claims, trace_of
from cnndsl.frontend.elaborate import Network
from cnndsl.frontend.expressions import Evaluator
from cnndsl.frontend.problems import Problem
from cnndsl.frontend.scope import Scope
from cnndsl.frontend.values import Word
from cnndsl.graph.leaves import Parameter
from cnndsl.graph.op import Mismatch, Op
from cnndsl.ops.loss import CrossEntropy
from cnndsl.ops.optimizer import SGD
from cnndsl.passes.training import freeze
from cnndsl.training.initialise import Initialisation
from cnndsl.training.schedules import Constant, Schedule
from cnndsl.training.settings import SETTINGS, given_twice, help_with_setting, loss_of, part_of


@dataclass(frozen=True)
class Recipe:
    """How a network is trained.

    `learning_rate` is the base that the schedule multiplies; `validation` the part of the training
    data held out to watch; `augmentations` are words of `AUGMENTATIONS` with their pixels; `memory`
    is how many bytes a step may take and `precision` the element type of values between layers,
    which belong to the machine and not to the network; `clip` the largest norm of all gradients.
    """

    data: str | None = None
    batch: int = 32
    epochs: int = 30
    learning_rate: float = 0.01
    optimizer: Op = field(default_factory=lambda: SGD(momentum=0.9))
    decay_all: bool = False
    clip: float | None = None
    schedule: Schedule = field(default_factory=Constant)
    loss: Op = field(default_factory=CrossEntropy)
    initialisation: Initialisation = field(default_factory=Initialisation)
    augmentations: tuple[tuple[str, int], ...] = ()
    seed: int = 0
    validation: float = 0.1
    frozen: tuple[str, ...] = ()
    memory: int | None = None
    precision: str = "float32"

    @property
    def objective(self) -> Objective:
        return Objective(
            loss=self.loss,
            optimizer=self.optimizer,
            decay_all=self.decay_all,
            frozen=self.frozen,
            memory=self.memory,
            precision=self.precision,
            clip=self.clip,
        )


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
    seen: dict[str, Span] = {}
    for setting in section.settings:
        try:
            name = setting.name.id
            if name in seen:
                raise given_twice(name, setting.name.span, seen[name])
            seen[name] = setting.name.span
            if name not in SETTINGS:
                raise Problem(
                    "E0701",
                    f"a recipe has no setting `{name}`",
                    setting.name.span,
                    help=help_with_setting(name),
                )
            parts = [part_of(value, evaluator, scope) for value in setting.values]
            values |= SETTINGS[name](setting, parts)
        except Problem as problem:
            mistakes.append(problem.diagnostic())
    recipe = Recipe(**values)
    misfits = (*_unfrozen(network, section, recipe), *_unfit_loss(network, section, recipe))
    mistakes += [problem.diagnostic() for problem in misfits]
    if mistakes:
        raise CnndslError(*mistakes)
    return recipe


# Whether a recipe fits its network --------------------------------------------------------------


def _unfrozen(network: Network, section: syntax.Train, recipe: Recipe) -> Iterator[Problem]:
    """Each pattern of `freeze` that names no parameter."""
    unused = freeze(network.graph.copy(), recipe.frozen)
    for setting in section.settings:
        for value in setting.values:
            word = getattr(value.value, "id", getattr(value.value, "value", None))
            if setting.name.id == "freeze" and word in unused:
                names = {network.graph.name(n) for n in network.graph.of(Parameter)}
                names |= {name.rpartition(".")[0] for name in names}
                yield Problem(
                    "E0704",
                    f"no parameter is called `{word}`",
                    value.span,
                    help=did_you_mean(str(word), names) or "`cnndsl summary` lists the names",
                )


def _unfit_loss(network: Network, section: syntax.Train, recipe: Recipe) -> Iterator[Problem]:
    """The network and the side heads that end in something that the loss cannot take."""
    for value in (network.graph.outputs["logits"], *(h.value for h in network.graph.heads)):
        try:
            loss_of(recipe.loss, value.type)
        except Mismatch as mismatch:
            span = network.graph.span(value.node) or section.span
            yield Problem(
                "E0201",
                mismatch.message,
                span,
                f"this leaves {value.type}",
                trace=trace_of(value, Claims()),
                help=mismatch.help,
            )
