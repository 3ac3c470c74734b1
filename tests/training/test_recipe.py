"""Recipes say what they mean: settings, schedules and initial values."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import pytest

from cnndsl.diagnostics import CnndslError, Source
from cnndsl.frontend.elaborate import elaborate
from cnndsl.frontend.library import load_text
from cnndsl.graph.op import Initial
from cnndsl.ops.loss import CrossEntropy, MeanSquaredError
from cnndsl.ops.optimizer import SGD, Adam, AdamW
from cnndsl.resources import resource
from cnndsl.training.initialise import Initialisation, initial_states
from cnndsl.training.recipe import Recipe, recipe_of
from cnndsl.training.schedules import Constant, Cosine, Plateau, Schedule, Step

MODEL = "model m(classes = 3) { input 8x8x3 -> conv 4, 3x3 -> relu -> fc classes }\n"


def recipe(settings: str) -> Recipe:
    return recipe_of(elaborate(load_text(Source("m.cnn", f"{MODEL}train m {{\n{settings}\n}}"))))


@pytest.mark.parametrize(
    ("setting", "field", "expected"),
    [
        ("data digits", "data", "digits"),
        ('data "npz:my images.npz"', "data", "npz:my images.npz"),
        ("batch 7", "batch", 7),
        ("epochs 0", "epochs", 0),
        ("seed 5", "seed", 5),
        ("validation 0.25", "validation", 0.25),
        (
            "augment crop 8, flip, shift 2",
            "augmentations",
            (("crop", 8), ("flip", 0), ("shift", 2)),
        ),
        ("augment pad 4, cutout 3", "augmentations", (("pad", 4), ("cutout", 3))),
        ("optimizer sgd, lr=0.5", "learning_rate", 0.5),
        (
            "optimizer sgd, momentum=0.9, nesterov=true",
            "optimizer",
            SGD(momentum=0.9, nesterov=True),
        ),
        (
            "optimizer adam, beta1=0.8, weight_decay=0.1",
            "optimizer",
            Adam(beta1=0.8, weight_decay=0.1),
        ),
        ("optimizer adamw, epsilon=1e-6", "optimizer", AdamW(epsilon=1e-6)),
        ("optimizer sgd, decay=all", "decay_all", True),
        ("optimizer sgd, lr=0.1, clip=5", "clip", 5.0),
        ("optimizer sgd, decay=weights", "decay_all", False),
        ("schedule constant, warmup=2", "schedule", Constant(warmup=2.0)),
        ("schedule step, every=30, factor=0.2", "schedule", Step(every=30, by=0.2)),
        ("schedule step, at=[8, 12]", "schedule", Step(at=(8.0, 12.0))),
        ("schedule plateau, patience=3", "schedule", Plateau(patience=3)),
        ("schedule cosine, minimum=0.1", "schedule", Cosine(minimum=0.1)),
        ("loss cross_entropy, label_smoothing=0.1", "loss", CrossEntropy(label_smoothing=0.1)),
        ("loss mse", "loss", MeanSquaredError()),
        ("init xavier, uniform=true", "initialisation", Initialisation("xavier", uniform=True)),
        ("init he, fan=output", "initialisation", Initialisation("he", fan="out")),
        ('freeze conv1, "f*"', "frozen", ("conv1", "f*")),
    ],
)
def test_a_setting_means_what_it_says(setting: str, field: str, expected: object) -> None:
    changed = recipe(setting)
    assert getattr(changed, field) == expected
    assert field in vars(Recipe())


def test_the_example_of_the_docs_is_a_recipe() -> None:
    page = Path(__file__).resolve().parents[2] / "docs" / "training.md"
    block = re.search(r"```\ntrain resnet20 \{(.*?)\n\}", page.read_text(), re.S)
    assert block is not None
    zoo = (resource("zoo") / "resnet.cnn").read_text(encoding="utf-8")
    text = re.sub(r"^train .*?^}\n", "", zoo, flags=re.M | re.S)
    module = load_text(Source("resnet.cnn", f"{text}\ntrain resnet20 {{{block[1]}\n}}\n"))
    found = recipe_of(elaborate(module, "resnet20"))
    assert (found.data, found.epochs, found.schedule) == ("cifar10", 164, Step(at=(82.0, 123.0)))
    assert found.frozen == ("stage0*",)


def test_the_nearest_train_section_is_a_models_recipe() -> None:
    text = (
        "model base(n) { input 4x4x1 -> fc n }\nmodel a = base(2)\nmodel b = base(3)\n"
        "train { batch 1 }\ntrain base { batch 2 }\ntrain b { batch 3 }\n"
        "model other { input 4x4x1 -> fc 2 }\n"
    )
    module = load_text(Source("net.cnn", text))
    batches = {name: recipe_of(elaborate(module, name)).batch for name in ("a", "b", "other")}
    assert batches == {"a": 2, "b": 3, "other": 1}


def test_all_mistakes_of_a_recipe_are_told() -> None:
    with pytest.raises(CnndslError) as caught:
        recipe("bach 3\noptimizer sdg\nbatch 0\nepochs 1\nepochs 2")
    codes = [d.code for d in caught.value.diagnostics]
    assert codes == ["E0701", "E0702", "E0704", "E0703"]


def rates(schedule: Schedule, epochs: int, losses: tuple[float, ...] = ()) -> list[float]:
    return [schedule.rate(1.0, epoch, epochs, losses[:epoch]) for epoch in range(epochs)]


def test_a_step_multiplies_at_its_epochs() -> None:
    assert rates(Step(every=2, by=0.5), 6) == [1, 1, 0.5, 0.5, 0.25, 0.25]
    assert rates(Step(at=(1.0, 4.0), by=0.1), 5) == pytest.approx([1, 0.1, 0.1, 0.1, 0.01])


def test_a_plateau_waits_for_its_patience() -> None:
    losses = (1.0, 0.9, 0.95, 0.95, 0.8, 0.8, 0.8)
    assert rates(Plateau(by=0.1, patience=1), 7, losses) == pytest.approx(
        [1, 1, 1, 1, 0.1, 0.1, 0.1]
    )


def test_a_cosine_falls_from_the_rate_to_its_minimum() -> None:
    schedule = Cosine(minimum=0.1)
    assert schedule.rate(2.0, 0, 10, ()) == 2.0
    assert schedule.rate(2.0, 5, 10, ()) == pytest.approx(1.1)
    assert schedule.rate(2.0, 10, 10, ()) == pytest.approx(0.2)


def test_warmup_rises_linearly() -> None:
    schedule = Constant(warmup=4.0)
    assert [schedule.rate(1.0, e, 9, ()) for e in (1, 2, 3, 4, 5)] == [0.25, 0.5, 0.75, 1, 1]


@pytest.mark.parametrize(
    ("initialisation", "deviation"),
    [
        (Initialisation("he"), math.sqrt(2 / 50)),
        (Initialisation("he", fan="out"), math.sqrt(2 / 200)),
        (Initialisation("xavier"), math.sqrt(2 / 250)),
        (Initialisation("lecun"), math.sqrt(1 / 50)),
    ],
)
def test_weights_have_the_variance_of_their_distribution(
    initialisation: Initialisation, deviation: float
) -> None:
    assert initialisation.deviation(Initial("weights", fan_in=50, fan_out=200)) == deviation


def test_initial_weights_depend_on_seed_and_path_alone() -> None:
    small = "model m { input 8x8x64 -> conv 64, 3x3 as a -> conv 64, 3x3 as b }"
    large = small.replace("as a", "as a -> conv 64, 1x1 as new -> relu")
    drawn = []
    for text in (small, large):
        graph = elaborate(load_text(Source("m", text))).graph
        drawn.append(initial_states(graph, Initialisation(uniform=True), 3))
    np.testing.assert_array_equal(drawn[0]["a.weight"], drawn[1]["a.weight"])
    np.testing.assert_array_equal(drawn[0]["b.weight"], drawn[1]["b.weight"])
    assert not np.array_equal(drawn[0]["a.weight"], drawn[0]["b.weight"])
    deviation = math.sqrt(2 / (64 * 9))
    assert drawn[0]["a.weight"].std() == pytest.approx(deviation, rel=0.02)
    assert np.abs(drawn[0]["a.weight"]).max() <= math.sqrt(3) * deviation
    assert not drawn[0]["a.bias"].any()
