"""Depthwise convolutions by kernels of our own, thread by thread, against the reference; and when
they take cuDNN's place."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import fake_cupy
import numpy as np
import pytest
from gpu_checks import distance, fill

from cnndsl.backends.cuda import cudnn_library, depthwise, gemm, gpu, nvrtc, simulated, simulator
from cnndsl.backends.cuda.cudnn import Convolution, Geometry, Unsupported, operands
from cnndsl.backends.cuda.launch import Recipe
from cnndsl.backends.cuda.occupancy import occupancy
from cnndsl.compile import Objective, compile_training, elaborate_text
from cnndsl.ops.optimizer import SGD

pytestmark = [
    pytest.mark.gate,
    pytest.mark.skipif(simulator.unavailable() is not None, reason=str(simulator.unavailable())),
]


def geometry(
    channels: int,
    extent: tuple[int, int],
    kernel: tuple[int, int] = (3, 3),
    stride: tuple[int, int] = (1, 1),
    pad: tuple[int, int, int, int] = (1, 1, 1, 1),
    dilation: tuple[int, int] = (1, 1),
    images: int = 2,
) -> Geometry:
    return Geometry(
        images, *extent, channels, channels, kernel, stride, dilation, groups=channels, pad=pad
    )


GEOMETRIES = {
    "3x3": geometry(16, (7, 9)),
    "more channels than a warp has packs of, a few of them idle": geometry(132, (5, 4), images=1),
    "stride, padded unevenly": geometry(12, (9, 8), stride=(2, 2), pad=(0, 1, 0, 1)),
    "5x5, stride": geometry(20, (11, 13), (5, 5), (2, 2), (2, 2, 2, 2)),
    "dilated": geometry(3, (9, 7), dilation=(2, 2), pad=(2, 2, 2, 2)),
    "stride, dilated": geometry(6, (13, 15), (3, 2), (3, 3), (2, 3, 0, 1), (2, 2)),
    "stride longer than the kernel, nothing padded": geometry(
        4, (11, 12), (2, 2), (5, 5), (0, 0, 0, 0)
    ),
    "one position": geometry(8, (3, 3), pad=(0, 0, 0, 0)),
    "a column": geometry(1, (6, 2), (3, 1), pad=(1, 1, 0, 0)),
    "wider than a tile of taps": geometry(2, (3, 60), (1, 51), pad=(0, 0, 25, 25), images=1),
    "large": geometry(8, (12, 12), (11, 9), pad=(5, 5, 4, 4), images=1),
}
TOLERANCES = {"float32": 1e-5, "bfloat16": 1e-2, "float16": 2e-3}
KINDS = ("forward", "input_gradient", "weight_gradient")
NEEDS_A_COMPILER = pytest.mark.skipif(
    nvrtc.unavailable() is not None, reason=str(nvrtc.unavailable())
)


def computed(description: Convolution, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """What our kernels find and what the reference does; scratch begins behind something else."""
    random = np.random.default_rng(0)
    arrays = [
        random.normal(size=int(np.prod(each.shape))).astype(each.dtype)
        for each in operands(description)
    ]
    expected = [array.copy() for array in arrays]
    simulated.compute(description, expected)
    recipe = depthwise.recipe(description, tuple(range(len(arrays))), 64)
    scratch = np.full(max(recipe.workspace, 64), 0xFF, np.uint8)
    arrays[-1][:] = np.nan
    engine = simulated.Engine()
    engine._launches = seed
    engine.bound(recipe, len(arrays) - 1, [*arrays, scratch])()
    assert (scratch[:64] == 0xFF).all()
    return arrays[-1].astype(np.float64), expected[-1].astype(np.float64)


def assert_right(description: Convolution) -> None:
    assert depthwise.is_depthwise(description)
    found, wanted = computed(description)
    tolerance = TOLERANCES[description.dtype]
    assert np.linalg.norm(found - wanted) <= tolerance * np.linalg.norm(wanted)


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", GEOMETRIES)
def test_every_convolution_is_that_of_the_reference(name: str, kind, dtype: str) -> None:
    assert_right(Convolution(kind, GEOMETRIES[name], dtype, dtype))


@pytest.mark.parametrize("kind", KINDS)
def test_rows_and_columns_are_told_apart(kind) -> None:
    """By strides and dilations of their own, which no layer has; our matrix product is right."""
    unequal = geometry(6, (13, 15), (3, 2), (3, 2), (2, 3, 0, 1), (2, 3))
    description = Convolution(kind, unequal, "float32", "float32")
    random = np.random.default_rng(0)
    sizes = [int(np.prod(each.shape)) for each in operands(description)]
    arrays = [random.normal(size=size).astype(np.float32) for size in sizes]
    scratch = np.zeros(2**16, np.uint8)
    results = []
    for tasks in (
        depthwise.recipe(description, (0, 1, 2)).tasks,
        (gemm.launch(description, (0, 1, 2)),),
    ):
        arrays[-1][:] = np.nan
        simulated.Engine().bound(Recipe(tasks), 2, [*arrays, scratch])()
        results.append(arrays[-1].copy())
    np.testing.assert_allclose(*results, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "more",
    [
        {"bias": True, "bias_dtype": "bfloat16"},
        {"add": True},
        {"relu": True, "result": "float32"},
        {"bias": True, "add": True, "relu": True},
    ],
)
@pytest.mark.parametrize("name", ["3x3", "stride, padded unevenly", "dilated"])
def test_every_epilogue_is_that_of_the_reference(name: str, more: dict) -> None:
    plain = Convolution("forward", GEOMETRIES[name], "bfloat16", "bfloat16")
    assert_right(replace(plain, **more))


@pytest.mark.parametrize("more", [{"add": True}, {"slope": True}, {"add": True, "slope": True}])
@pytest.mark.parametrize("name", ["3x3", "5x5, stride"])
def test_an_input_gradient_is_added_to_and_goes_through_a_slope(name: str, more: dict) -> None:
    plain = Convolution("input_gradient", GEOMETRIES[name], "float32", "float32")
    assert_right(replace(plain, **more))


def test_a_weight_gradient_is_the_same_to_the_bit_whatever_the_order_of_threads() -> None:
    large = geometry(8, (40, 40), images=8)
    description = Convolution("weight_gradient", large, "bfloat16", "float32")
    partial, _ = depthwise.recipe(description, (0, 1, 2)).tasks
    assert partial.grid[1] > 1, "several blocks add up"
    (once, wanted), (again, _) = (computed(description, seed) for seed in (1, 5))
    np.testing.assert_array_equal(once, again)
    np.testing.assert_allclose(once, wanted, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_a_thread_does_several_places_where_there_are_many(kind, monkeypatch) -> None:
    monkeypatch.setattr(depthwise, "BLOCKS", 2)
    description = Convolution(kind, geometry(4, (60, 61), images=3), "float32", "float32")
    launch, *_ = depthwise.recipe(description, (0, 1, 2)).tasks
    line = "STRIP = " if kind == "weight_gradient" else "STEPS = "
    (found,) = [each.partition(line)[2] for each in launch.source.definitions if line in each]
    assert int(found.rstrip(";")) > (256 if kind == "weight_gradient" else 1)
    assert_right(description)


def test_only_one_filter_a_channel_that_fits_is_depthwise() -> None:
    def described(**more) -> Convolution:
        return Convolution("forward", replace(GEOMETRIES["3x3"], **more), "float32", "float32")

    assert depthwise.is_depthwise(described())
    assert not depthwise.is_depthwise(described(groups=8))
    assert not depthwise.is_depthwise(described(filters=32))
    vast = {"height": 100, "width": 100, "kernel": (91, 91)}
    assert not depthwise.is_depthwise(described(**vast))


@NEEDS_A_COMPILER
@pytest.mark.parametrize("architecture", ["sm_80", "sm_90", "sm_100"])
@pytest.mark.parametrize("kernel", [3, 5, 7])
def test_kernels_spill_nothing_and_fill_half_of_a_multiprocessor(
    kernel: int, architecture: str
) -> None:
    for stride in (1, 2):
        large = geometry(
            96, (56, 56), (kernel, kernel), (stride, stride), (kernel // 2,) * 4, images=128
        )
        for kind in KINDS:
            for dtype in ("bfloat16", "float32"):
                recipe = depthwise.recipe(Convolution(kind, large, dtype, dtype), (0, 1, 2))
                for launch in recipe.tasks:
                    found = nvrtc.compiled(launch.source, architecture)
                    assert found.spilled == 0, (kind, dtype, stride)
                    assert occupancy(found, launch.threads, architecture) >= 0.5


DEPTHWISE = Convolution("forward", GEOMETRIES["3x3"], "float32", "float32")


@pytest.mark.parametrize(
    ("more", "whole", "plain", "ours"),
    [
        ("add", 2e-3, 2e-3, True),
        ("add", 0.5e-3, 2e-3, False),
        ("add", 2e-3, 0.5e-3, False),
        ("add", None, None, True),
        ("add", None, 0.5e-3, False),
        ("relu", 2e-3, 0.5e-3, True),
        ("relu", None, 0.5e-3, False),
    ],
)
def test_the_faster_does_it(engine, more: str, whole, plain, ours: bool, monkeypatch) -> None:
    """A run of ours takes a millisecond here, and a copy next to nothing; cuDNN may be fastest
    with what follows, or without an addend and a kernel behind. None: it has no such plan."""
    description = replace(DEPTHWISE, **{more: True})
    taken = {description: whole, DEPTHWISE: plain}
    timed = []

    def plan(self, description):
        if taken[description] is None:
            raise Unsupported("none")
        return SimpleNamespace(seconds=taken[description], workspace=0)

    def seconds(self, run) -> float:
        run()
        timed.append(run)
        return 1e-3 * gpu.REPEATS

    monkeypatch.setattr(gpu.Engine, "_plan", plan)
    monkeypatch.setattr(gpu.Engine, "_copied_bytes_per_second", 1e15)
    with engine.running():
        monkeypatch.setattr(gpu.Engine, "seconds", seconds)
        assert engine.is_faster_by_hand(description) == ours
        measured = len(timed)
        assert engine.is_faster_by_hand(description) == ours
    assert len(timed) == measured == (6 if (whole or plain) else 0), "measured once"


@pytest.mark.parametrize("seconds", [1e-6, 1.0])
def test_a_network_computes_the_same_whoever_does_it(engine, seconds: float, monkeypatch) -> None:
    """Whole steps, before and after they are captured; a run of ours takes a tenth of 1 ms here."""
    monkeypatch.setattr(fake_cupy.Plan, "seconds_plain", seconds)
    monkeypatch.setattr(fake_cupy.Plan, "seconds_added", seconds)
    graph = elaborate_text(TEXT)
    objective = Objective(optimizer=SGD(momentum=0.9), precision="bfloat16")
    programs = [
        compile_training(graph, objective, each, 4) for each in (engine, simulated.Engine())
    ]
    done = " ".join(step.implementation for step in programs[0].steps)
    assert ("depthwise" in done, "depthwise_weights" in done) == (seconds == 1.0,) * 2
    for program in programs:
        fill(program)
    for _ in range(3):
        for program in programs:
            program.run()
        for name in ("loss", *programs[0].states):
            found, expected = (program.read(name) for program in programs)
            assert distance(found, expected) <= 2e-2, name


def test_without_cudnn_it_is_ours(engine, monkeypatch) -> None:
    monkeypatch.setattr(cudnn_library, "unavailable", lambda: "it is not installed")
    program = compile_training(elaborate_text(TEXT), Objective(), engine, 4)
    done = [step.implementation for step in program.steps]
    assert any("depthwise_weights" in each for each in done)
    assert any("gemm" in each for each in done)


def test_without_room_to_try_it_is_ours(engine, monkeypatch) -> None:
    assert engine.is_in_library(DEPTHWISE)
    fake_cupy.fail("allocate", fake_cupy.OutOfMemoryError())
    monkeypatch.setattr(gpu.Engine, "_copied_bytes_per_second", 1e15)
    assert engine.is_faster_by_hand(DEPTHWISE)


TEXT = """model small {
    input 8x8x3
    conv 8, 3x3 -> bn -> relu
    residual { dwconv 3x3 -> bn -> relu6 }
    dwconv 5x5, /2, bias=true -> relu
    avgpool global
    fc 4
}"""
