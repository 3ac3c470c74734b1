"""Winograd's convolutions: any geometry against the reference, and where they are used."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from comparing import ENGINE, REFERENCE, assert_agree, forward, step
from hypothesis import given, settings
from hypothesis import strategies as st
from test_onednn import chain, network

from cnndsl.backends.onednn import preferred, winograd
from cnndsl.backends.onednn.tiles import (
    transform_gradients,
    transform_inputs,
    transform_results,
)
from cnndsl.compile import Objective, compile_inference, compile_training, elaborate_text
from cnndsl.graph.graph import Graph
from cnndsl.ops.conv import Conv
from cnndsl.ops.optimizer import SGD

pytestmark = pytest.mark.skipif(
    ENGINE.unavailable() is not None or not preferred.has_short_registers(),
    reason="with AVX-512 the library's own convolutions are as fast",
)


@pytest.fixture
def everywhere(monkeypatch) -> Iterator[None]:
    """Let every convolution of 3x3 be done so, however small."""

    def fits(op: Conv, x, y, then=None, rate=1.0) -> bool:
        plain = op.kernel == (3, 3) and (op.stride, op.groups, op.dilation) == (1, 1, 1)
        relu = then is None or (then.algorithm == winograd.Algorithm.RELU and not then.alpha)
        return plain and relu and winograd._allowed.get()

    monkeypatch.setattr(winograd, "pays", fits)
    ENGINE.use_threads(ENGINE.threads())
    yield
    monkeypatch.undo()
    ENGINE.use_threads(1)


def used(program) -> list[str]:
    return [step.text for step in program.steps if step.implementation == "winograd"]


def along(function, count: int) -> np.ndarray:
    """A transform along an axis as a matrix."""
    columns = []
    for unit in np.eye(count):
        made = [np.zeros(1) for _ in range(6 if function is not transform_results else 4)]
        function([np.array([v]) for v in unit], made, [np.zeros(1), np.zeros(1)])
        columns.append(np.concatenate(made))
    return np.array(columns).T


def test_transforms_are_minimal_filtering() -> None:
    """`Aᵀ (G g ⊙ Bᵀ d)` is the correlation of 6 inputs with 3 taps; and so are its gradients."""
    inputs, results = along(transform_inputs, 6), along(transform_results, 6)
    np.testing.assert_array_equal(along(transform_gradients, 4), results.T)
    random = np.random.default_rng(0)
    for _ in range(10):
        d, g = random.normal(size=6), random.normal(size=3)
        found = results @ ((winograd.FILTERS @ g) * (inputs @ d))
        np.testing.assert_allclose(found, np.correlate(d, g, "valid"), atol=1e-12)


@pytest.mark.usefixtures("everywhere")
@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("batch", [1, 2, 5])
@pytest.mark.parametrize(
    "text",
    [
        "input 8x8x5 -> conv 7, 3x3",
        "input 9x6x3 -> conv 4, 3x3 -> relu",
        "input 4x5x8 -> conv 8, 3x3, pad=0 -> relu",
        "input 5x10x4 -> conv 6, 3x3, pad=2, bias=false",
        "input 70x66x2 -> conv 3, 3x3 -> relu",
        "input 1x1x4 -> conv 5, 3x3",
        "input 13x13x8 -> relu as a -> conv 8, 3x3 -> add { | identity | from a } -> relu",
        "input 7x7x8 -> conv 16, 3x3 -> bn -> relu -> conv 8, 3x3 -> maxpool 2x2, /2",
    ],
)
def test_results_are_those_of_the_reference(text: str, batch: int, threads: int) -> None:
    ENGINE.use_threads(threads)
    graph = chain(text)
    found, program = forward(graph, ENGINE, batch)
    assert used(program)
    assert_agree(found, forward(graph, REFERENCE, batch)[0], 1e-5)


@pytest.mark.usefixtures("everywhere")
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize(
    "text",
    [
        "input 8x8x5 -> conv 7, 3x3 -> tanh -> conv 6, 3x3 -> fc 4",
        "input 9x7x4 -> conv 6, 3x3, pad=0 -> tanh -> conv 5, 3x3, pad=2, bias=false -> fc 4",
        "input 66x70x2 -> conv 3, 3x3 -> sigmoid -> conv 2, 3x3 -> avgpool global -> fc 4",
        "input 8x8x8 -> conv 8, 3x3 -> bn -> silu -> residual { conv 8, 3x3 } -> fc 4",
    ],
)
def test_gradients_are_those_of_the_reference(text: str, batch: int, threads: int) -> None:
    ENGINE.use_threads(threads)
    graph = chain(text)
    objective = Objective(optimizer=SGD(momentum=0.9))
    found, program = step(graph, ENGINE, batch, objective)
    kinds = {text.split()[0] for text in used(program)}
    assert {"conv", "conv_input_gradient", "conv_weight_gradient", "reorder"} <= kinds
    assert_agree(found, step(graph, REFERENCE, batch, objective)[0], 3e-5)


@pytest.mark.usefixtures("everywhere")
@settings(max_examples=30, deadline=None, derandomize=True)
@given(
    extent=st.tuples(st.integers(1, 23), st.integers(1, 23)),
    channels=st.integers(1, 9),
    filters=st.integers(1, 9),
    pad=st.integers(0, 2),
    batch=st.integers(1, 6),
)
def test_any_geometry(extent, channels, filters, pad, batch) -> None:
    if min(extent) + 2 * pad < 3:
        return
    size = "x".join(map(str, (*extent, channels)))
    layers = f"input {size} -> conv {channels}, 1x1 -> conv {filters}, 3x3, pad={pad} -> fc 4"
    graph = elaborate_text(f"model m {{ {layers} }}")
    assert_agree(step(graph, ENGINE, batch)[0], step(graph, REFERENCE, batch)[0], 3e-5)


def scaled(graph: Graph, batch: int, training: bool) -> list[str]:
    if training:
        return used(compile_training(graph, Objective(), ENGINE, batch))
    return used(compile_inference(graph, ENGINE, batch))


@pytest.mark.parametrize("training", [False, True])
def test_vgg_is_computed_so(training: bool) -> None:
    found = scaled(network("vgg:vgg16", "224x224x3"), 2, training)
    convs = [text for text in found if text.startswith("conv ")]
    assert len(convs) >= 5
    assert any("weight_gradient" in text for text in found) == training


def test_small_maps_and_few_channels_are_not() -> None:
    assert scaled(network("resnet:resnet20", "32x32x3"), 8, True) == []
    assert scaled(network("vgg:vgg16", "32x32x3"), 1, False) == []


def test_nothing_rounded_to_bfloat16_is() -> None:
    graph = network("vgg:vgg16", "224x224x3")
    program = compile_inference(graph, ENGINE, 2, precision="bfloat16")
    assert not [step.text for step in program.steps if "winograd" in step.implementation]


def test_weights_are_kept_as_they_are() -> None:
    graph = chain("input 56x56x256 -> conv 256, 3x3 -> relu -> avgpool global -> fc 4")
    program = compile_training(graph, Objective(), ENGINE, 4)
    assert used(program)
    name = next(name for name in program.states if name.endswith("conv1.weight"))
    values = np.random.default_rng(0).normal(size=(256, 256, 3, 3)).astype(np.float32)
    program.write(name, values)
    np.testing.assert_array_equal(program.read(name), values)
