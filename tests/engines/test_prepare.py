"""Images that a program prepares are, to the bit, those that the host prepares."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from comparing import REFERENCE
from test_onednn import chain

from cnndsl.backends.cuda import simulated, simulator
from cnndsl.compile import Objective, compile_inference, compile_training
from cnndsl.data.augment import Augmentation, Crop, Cutout, Flip, Shift
from cnndsl.data.dataset import Split
from cnndsl.data.feeds import Feed, Pixels, Resident
from cnndsl.data.loader import Loader
from cnndsl.data.preprocess import Preprocessing

COUNT = 23
RANDOM = np.random.default_rng(7)
GREY, COLOUR = (
    Split(
        RANDOM.integers(0, 256, (COUNT, 7, 9, channels), dtype=np.uint8),
        np.arange(COUNT, dtype=np.int64) % 4,
    )
    for channels in (1, 3)
)
AUGMENTATIONS: dict[str, tuple[Augmentation, ...]] = {
    "none": (),
    "crop": (Crop(pad=2),),
    "flip": (Flip(),),
    "edge": (Shift(3),),
    "zero": (Shift(4, fill="zero"),),
    "reflect": (Crop(pad=3, fill="reflect"),),
    "hole": (Cutout(4),),
    "all": (Crop(pad=2), Flip(), Shift(1), Cutout(3), Flip(), Crop(pad=1, fill="reflect")),
}
NORMAL = Preprocessing((7, 9), 3, (0.4, 0.5, 0.6), (0.3, 0.2, 0.1))
SIMULATED = pytest.param(
    simulated.Engine(),
    marks=[
        pytest.mark.gate,
        pytest.mark.skipif(bool(simulator.unavailable()), reason=simulator.unavailable() or ""),
    ],
)
NAMED = pytest.mark.parametrize("engine", [REFERENCE, SIMULATED], ids=lambda engine: engine.name)
FED = pytest.mark.parametrize("feed", [Pixels, Resident])


def loaders(
    split: Split, settings: Preprocessing, augmentations: tuple[Augmentation, ...], feed: type[Feed]
) -> tuple[Loader, Loader]:
    """One that prepares images on the host, and one whose program does."""
    options = {"batch": 5, "augmentations": augmentations, "seed": 2, "workers": 0}
    return Loader(split, settings, **options), Loader(split, settings, **options, feed=feed)


def prepared(engine, loader: Loader, source, batches) -> Iterator[np.ndarray]:
    """Images as a program sees them: the network's only layer multiplies them by 1."""
    channels = len(source.prepare.scale)
    graph = chain(f"input 7x9x{channels} -> conv {channels}, 1x1, bias=false")
    program = compile_inference(graph, engine, loader.batch, source=source)
    program.write("conv1.weight", np.eye(channels).reshape(channels, channels, 1, 1))
    if isinstance(loader.feed, Resident):
        program.write("pixels", loader.feed.all_pixels())
    for batch in batches:
        for name, array in zip(loader.feed.names, batch, strict=False):
            program.write(name, array)
        program.run()
        yield program.read("logits")


@NAMED
@FED
@pytest.mark.parametrize("name", AUGMENTATIONS)
@pytest.mark.parametrize("split", [GREY, COLOUR], ids=["grey", "colour"])
def test_augmented_images(split: Split, name: str, feed, engine) -> None:
    host, other = loaders(split, NORMAL, AUGMENTATIONS[name], feed)
    found = prepared(engine, other, other.feed.training, list(other.epoch(3)))
    for (images, labels), own, batch in zip(host.epoch(3), found, other.epoch(3), strict=True):
        np.testing.assert_array_equal(own, images)
        np.testing.assert_array_equal(batch[-1], labels)


@NAMED
@FED
@pytest.mark.parametrize("size", [(9, 12), (5, 5)])
def test_a_part_of_larger_images(size, feed, engine) -> None:
    """With and without a crop at a random place: then it is the middle."""
    settings = replace(NORMAL, resize=(9, 12))
    split = Split(RANDOM.integers(0, 256, (COUNT, *size, 3), dtype=np.uint8), COLOUR.labels)
    for augmentations in ((Crop(size=(7, 9)), Flip()), ()):
        host, other = loaders(split, settings, augmentations, feed)
        assert other.feed.training.dtype == ("uint8" if size == (9, 12) else "float32")
        found = prepared(engine, other, other.feed.training, list(other.epoch(1)))
        for (images, _), own in zip(host.epoch(1), found, strict=True):
            np.testing.assert_array_equal(own, images)
        found = prepared(engine, other, other.feed.evaluation, list(other.evaluate()))
        for (images, _, _), own in zip(host.evaluate(), found, strict=True):
            np.testing.assert_array_equal(own, images)


@NAMED
def test_colour_becomes_grey_on_the_host(engine) -> None:
    settings = Preprocessing((7, 9), 1, (0.4,), (0.3,))
    host, other = loaders(COLOUR, settings, (Flip(),), Pixels)
    found = prepared(engine, other, other.feed.training, list(other.epoch(0)))
    for (images, _), own in zip(host.epoch(0), found, strict=True):
        np.testing.assert_array_equal(own, images)


@NAMED
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_training_step_on_pixels_is_that_on_images(precision: str, engine) -> None:
    """In bfloat16 images are rounded where they are prepared, not behind that."""
    host, other = loaders(COLOUR, NORMAL, AUGMENTATIONS["all"], Resident)
    graph = chain("input 7x9x3 -> conv 8, 3x3 -> bn -> relu -> fc 4")
    objective = Objective(precision=precision)
    programs = [
        compile_training(graph, objective, engine, 5, source)
        for source in (None, other.feed.training)
    ]
    for program in programs:
        for name in ("conv1.weight", "fc1.weight"):
            type = program.states[name].type
            program.write(name, np.random.default_rng(1).normal(size=type.concrete()))
        program.write("bn1.gamma", np.ones(8))
        program.write("learning_rate", 0.1)
    programs[1].write("pixels", other.feed.all_pixels())
    for images, pixels in zip(host.epoch(0), other.epoch(0), strict=True):
        for program, loader, batch in zip(programs, (host, other), (images, pixels), strict=True):
            for name, array in zip(loader.names, batch, strict=True):
                program.write(name, array)
            program.run()
        for name in programs[0].states:
            np.testing.assert_array_equal(programs[0].read(name), programs[1].read(name))
