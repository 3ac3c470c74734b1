"""cuDNN has a plan for every convolution and product that networks ask for, on devices that are
not there; what was fastest is found again."""

from __future__ import annotations

import ctypes
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import deviceless
import pytest
from deviceless import Planner

from cnndsl.backends.cuda import cudnn_library
from cnndsl.backends.cuda.cudnn import (
    Convolution,
    Description,
    Geometry,
    Product,
    Unsupported,
    graph,
    operands,
)
from cnndsl.backends.cuda.cudnn_plans import Plans
from cnndsl.files import cache_folder

pytestmark = pytest.mark.gate

KINDS = ("forward", "input_gradient", "weight_gradient")
DEVICES = tuple(deviceless.DEVICES)

SAME = (1, 1, 1, 1)

GEOMETRIES = {
    "1x1": Geometry(32, 56, 56, 64, 256, (1, 1)),
    "1x1 stride 2": Geometry(32, 56, 56, 256, 512, (1, 1), (2, 2)),
    "3x3": Geometry(32, 56, 56, 64, 64, (3, 3), pad=SAME),
    "3x3 of 3 channels": Geometry(128, 32, 32, 3, 16, (3, 3), pad=SAME),
    "7x7 of 3 channels": Geometry(32, 224, 224, 3, 64, (7, 7), (2, 2), pad=(3, 3, 3, 3)),
    "7x7 of 4 channels": Geometry(32, 224, 224, 4, 64, (7, 7), (2, 2), pad=(3, 3, 3, 3)),
    "7x7 of 8 channels": Geometry(32, 224, 224, 8, 64, (7, 7), (2, 2), pad=(3, 3, 3, 3)),
    "32 groups": Geometry(32, 56, 56, 128, 128, (3, 3), groups=32, pad=SAME),
    "depthwise 3x3": Geometry(32, 56, 56, 96, 96, (3, 3), groups=96, pad=SAME),
    "depthwise 5x5": Geometry(32, 28, 28, 96, 96, (5, 5), (2, 2), groups=96, pad=(2, 2, 2, 2)),
    "dilated": Geometry(32, 28, 28, 64, 64, (3, 3), dilation=(2, 2), pad=(2, 2, 2, 2)),
    "padded unevenly": Geometry(32, 56, 56, 64, 64, (3, 3), (2, 2), pad=(0, 1, 0, 1)),
    "of odd sizes": Geometry(3, 9, 7, 5, 7, (3, 3), pad=SAME),
}

#: Element type, and whether it may be rounded to tf32.
PRECISIONS = {
    "bfloat16": ("bfloat16", True),
    "float16": ("float16", True),
    "tf32": ("float32", True),
    "float32": ("float32", False),
}

EPILOGUES: dict[str, dict[str, bool]] = {
    "relu": {"relu": True},
    "bias": {"bias": True},
    "bias, relu": {"bias": True, "relu": True},
    "bias, add": {"bias": True, "add": True},
    "bias, add, relu": {"bias": True, "add": True, "relu": True},
    "add": {"add": True},
    "add, relu": {"add": True, "relu": True},
}

STORED = {"stored": (False, False), "b transposed": (False, True), "a transposed": (True, False)}


def convolution(kind: Any, geometry: str, precision: str, **more: Any) -> Convolution:
    dtype, tensor_cores = PRECISIONS[precision]
    described = Convolution(kind, GEOMETRIES[geometry], dtype, dtype, tensor_cores)
    return replace(described, **more)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_every_convolution_has_a_plan(
    planner: Planner, geometry: str, kind: str, precision: str
) -> None:
    planned = planner.plan("sm_90", convolution(kind, geometry, precision))
    assert planned.candidates > 1
    assert planned.name


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("epilogue", EPILOGUES)
def test_every_epilogue_has_a_plan(planner: Planner, epilogue: str, precision: str) -> None:
    planner.plan("sm_90", convolution("forward", "3x3", precision, **EPILOGUES[epilogue]))


@pytest.mark.parametrize("kind", KINDS)
def test_strict_float32_takes_no_candidate_with_tf32(
    planner: Planner, tmp_path: Path, kind: str
) -> None:
    names = {}
    for precision in ("tf32", "float32"):
        described = convolution(kind, "1x1", precision)
        said = planner.call(_tuned, tmp_path / precision, described, 1 << 40, -1, 100)
        names[precision] = {name for name, _ in said["timed"]}
    assert names["float32"] < names["tf32"]


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_a_bias_of_the_maps_own_type_needs_no_compiling(planner: Planner, dtype: str) -> None:
    with_relu = convolution("forward", "3x3", dtype, bias=True, relu=True)
    assert planner.plan("sm_90", with_relu)
    assert planner.plan("sm_90", replace(with_relu, bias_dtype=dtype)).candidates > 20


@pytest.mark.parametrize("device", ["sm_80", "sm_100"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("geometry", ["3x3", "32 groups", "depthwise 3x3", "7x7 of 3 channels"])
def test_other_devices_have_plans(planner: Planner, geometry: str, kind: str, device: str) -> None:
    for precision in ("bfloat16", "float32"):
        planner.plan(device, convolution(kind, geometry, precision))


@pytest.mark.parametrize("device", ["sm_80", "sm_100"])
def test_other_devices_add_and_rectify(planner: Planner, device: str) -> None:
    planner.plan(device, convolution("forward", "3x3", "bfloat16", bias=True, add=True, relu=True))


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("stored", STORED)
def test_every_product_has_a_plan(planner: Planner, stored: str, precision: str) -> None:
    dtype, tensor_cores = PRECISIONS[precision]
    shape = Product(256, 512, 1000, dtype, dtype, *STORED[stored], tensor_cores)
    planner.plan("sm_90", shape)
    if stored == "b transposed":
        planner.plan("sm_90", replace(shape, bias=True, relu=True))


@pytest.mark.parametrize("stored", STORED)
def test_products_of_odd_sizes_have_plans(planner: Planner, stored: str) -> None:
    planner.plan("sm_90", Product(33, 501, 10, "bfloat16", "bfloat16", *STORED[stored]))
    planner.plan("sm_90", Product(33, 501, 10, "bfloat16", "float32", *STORED[stored]))


@pytest.mark.slow
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_everything_has_a_plan(planner: Planner, geometry: str, device: str) -> None:
    for precision in PRECISIONS:
        for kind in KINDS:
            planner.plan(device, convolution(kind, geometry, precision))
        for epilogue in EPILOGUES.values():
            planner.plan(device, convolution("forward", geometry, precision, **epilogue))


def test_weight_gradients_come_in_float32_where_channels_are_whole_vectors(
    planner: Planner,
) -> None:
    planner.plan("sm_90", convolution("weight_gradient", "3x3", "bfloat16", result="float32"))


@pytest.mark.parametrize(
    "planted",
    [
        convolution("weight_gradient", "32 groups", "bfloat16", result="float32"),
        convolution("weight_gradient", "7x7 of 3 channels", "float16", result="float32"),
        Product(256, 512, 1000, "float32", "float32", True, False, False, bias=True),
    ],
    ids=str,
)
def test_what_has_no_plan_is_named(planner: Planner, planted: Description) -> None:
    with pytest.raises(Unsupported) as caught:
        planner.plan("sm_90", planted)
    assert f"no plan for the {planted} on sm_90" in str(caught.value)


def _tuned(
    folder: Path, description: Description, limit: int, failing: int, most: int = 16
) -> dict[str, Any]:
    """Tunes where every later candidate seems faster up to the fifth, and one does not run."""
    plans = Plans(deviceless.properties("sm_90"), folder=folder)
    first = plans.plan(description).name
    timed: list[tuple[str, int]] = []

    def measure(run: Callable[[int], None]) -> float:
        assert isinstance(run, partial)
        plan = getattr(run.func, "__self__")  # noqa: B009
        timed.append((plan.name, plan.workspace))
        if len(timed) - 1 == failing:
            raise RuntimeError("it does not run")
        return abs(5 - len(timed)) + 1.0

    pointers = [0] * len(operands(description))
    best = plans.tune(description, pointers, 0, limit, most=most, measure=measure)
    again = Plans(deviceless.properties("sm_90"), folder=folder).plan(description)
    return {"first": first, "timed": timed, "best": best.name, "again": again.name}


def _planned_with(folder: Path, description: Description) -> str:
    return Plans(deviceless.properties("sm_90"), folder=folder).plan(description).name


TUNED = convolution("forward", "3x3", "bfloat16")


def test_the_fastest_candidate_is_kept_and_made_again(planner: Planner, tmp_path: Path) -> None:
    said = planner.call(_tuned, tmp_path, TUNED, 1 << 30, -1)
    fifth = said["timed"][4][0]
    assert said["best"] == said["again"] == fifth != said["first"]
    (file,) = tmp_path.iterdir()
    kept = json.loads(file.read_text())
    assert kept["seconds"] == 1.0
    assert kept["for"]["device"] == "NVIDIA H200"
    assert kept["for"]["description"]["geometry"]["kernel"] == [3, 3]


def test_a_candidate_that_does_not_run_is_passed_over(planner: Planner, tmp_path: Path) -> None:
    said = planner.call(_tuned, tmp_path, TUNED, 1 << 30, 4)
    assert said["best"] in (said["timed"][3][0], said["timed"][5][0])


def test_a_candidate_needs_no_more_workspace_than_there_is(
    planner: Planner, tmp_path: Path
) -> None:
    stem = convolution("forward", "7x7 of 3 channels", "tf32")
    unlimited = planner.call(_tuned, tmp_path / "a", stem, 1 << 40, -1, 100)["timed"]
    assert max(workspace for _, workspace in unlimited) > 1 << 20
    limited = planner.call(_tuned, tmp_path / "b", stem, 1 << 20, -1, 100)["timed"]
    assert limited == [one for one in unlimited if one[1] <= 1 << 20]


def test_nothing_fits_no_workspace_at_all(planner: Planner, tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match="none runs in -1 bytes"):
        planner.call(_tuned, tmp_path, TUNED, -1, -1)


def _other_version(kept: dict[str, Any]) -> str:
    return json.dumps(kept | {"for": kept["for"] | {"cudnn": 90100}})


def _other_knobs(kept: dict[str, Any]) -> str:
    return json.dumps(kept | {"knobs": {"NO_SUCH_KNOB": 1}})


@pytest.mark.parametrize(
    "spoiled",
    [
        _other_version,
        _other_knobs,
        lambda kept: json.dumps(kept | {"knobs": {"TILE_SIZE": "large"}}),
        lambda kept: json.dumps(kept | {"engine": 100_000}),
        lambda kept: "{",
        lambda kept: "[]",
    ],
    ids=["version", "unknown knob", "knob's value", "unknown engine", "cut off", "other JSON"],
)
def test_a_winner_that_does_not_hold_is_not_used(
    planner: Planner, tmp_path: Path, spoiled: Callable[[dict[str, Any]], str]
) -> None:
    said = planner.call(_tuned, tmp_path, TUNED, 1 << 30, -1)
    (file,) = tmp_path.iterdir()
    file.write_text(spoiled(json.loads(file.read_text())))
    assert planner.call(_planned_with, tmp_path, TUNED) == said["first"]


def test_a_folder_that_cannot_be_written_is_no_error(planner: Planner, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    said = planner.call(_tuned, file, TUNED, 1 << 30, -1)
    assert said["best"] != said["again"] == said["first"]


def _run(description: Description, pointers: Sequence[int]) -> None:
    Plans(deviceless.properties("sm_90")).plan(description).run(pointers, 0, 0)


def test_without_a_device_nothing_runs(planner: Planner) -> None:
    with pytest.raises(RuntimeError, match="without a device"):
        planner.call(_run, TUNED, [0, 0, 0])


def _numbers(description: Description) -> dict[str, Any]:
    node = graph(description, Plans(deviceless.properties("sm_90")).target).nodes[0]
    return {name: list(value) for name, value in node.params.items() if isinstance(value, list)}


@pytest.mark.parametrize("kind", KINDS)
def test_a_convolutions_numbers_reach_cudnn(planner: Planner, kind: Any) -> None:
    uneven = Geometry(2, 30, 40, 8, 8, (3, 5), (1, 2), (3, 4), pad=(1, 2, 3, 4))
    numbers = planner.call(_numbers, Convolution(kind, uneven, "bfloat16", "bfloat16"))
    assert numbers == {
        "pre_padding": [1, 3],
        "post_padding": [2, 4],
        "stride": [1, 2],
        "dilation": [3, 4],
    }


def test_the_output_of_a_convolution() -> None:
    assert GEOMETRIES["7x7 of 3 channels"].output == (112, 112)
    assert GEOMETRIES["padded unevenly"].output == (28, 28)
    assert GEOMETRIES["dilated"].output == (28, 28)
    assert GEOMETRIES["1x1 stride 2"].output == (28, 28)


def test_arrays_are_nhwc_and_filters_ohwi() -> None:
    described = convolution("forward", "32 groups", "bfloat16", bias=True, add=True)
    image, kernel, bias, addend, result = operands(described)
    assert (image.shape, image.strides) == ((32, 128, 56, 56), (56 * 56 * 128, 1, 56 * 128, 128))
    assert (kernel.shape, kernel.strides) == ((128, 4, 3, 3), (36, 1, 12, 4))
    assert (bias.shape, bias.dtype) == ((1, 128, 1, 1), "float32")
    assert addend.shape == result.shape == (32, 128, 56, 56)
    wanted = {"input_gradient": ["loss", "filter"], "weight_gradient": ["image", "loss"]}
    for kind, names in wanted.items():
        found = operands(convolution(kind, "3x3", "bfloat16"))
        assert [operand.name for operand in found] == [*names, "result"]


def test_a_transposed_matrix_is_the_same_array_read_otherwise() -> None:
    for precision in PRECISIONS:
        dtype, tensor_cores = PRECISIONS[precision]
        product = Product(2, 3, 4, dtype, dtype, transpose_b=True, tensor_cores=tensor_cores)
        _, b, _ = operands(product)
        assert (b.shape, b.strides) == ((1, 3, 4), (12, 1, 3))


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Geometry(1, 8, 8, 6, 8, (3, 3), groups=4),
        lambda: Geometry(1, 2, 8, 6, 8, (3, 3)),
        lambda: convolution("input_gradient", "3x3", "bfloat16", relu=True),
        lambda: Product(2, 3, 4, "bfloat16", "bfloat16", True, True),
    ],
    ids=["groups", "kernel", "epilogue", "transposes"],
)
def test_what_makes_no_sense_is_refused(wrong: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match=r"\w+ \w+"):
        wrong()


def test_the_folder_for_caches(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("CNNDSL_CACHE", raising=False)
    assert cache_folder() == tmp_path / "cnndsl"
    monkeypatch.setenv("CNNDSL_CACHE", str(tmp_path / "own"))
    assert cache_folder() == tmp_path / "own"


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(failure: Exception) -> Callable[..., Any]:
        def fail(*_: Any) -> Any:
            raise failure

        return fail

    def words() -> str:
        return cudnn_library.unavailable.__wrapped__() or "nothing"

    monkeypatch.setattr(ctypes, "CDLL", failing(OSError("no such file")))
    assert "driver" in words()
    monkeypatch.setattr(ctypes, "CDLL", lambda *_: None)
    monkeypatch.setattr(cudnn_library, "frontend", failing(ImportError("no module")))
    assert "pip install" in words()
    monkeypatch.setattr(cudnn_library, "frontend", failing(OSError("libnvrtc is broken")))
    assert "libnvrtc is broken" in words()
    monkeypatch.setattr(cudnn_library, "frontend", failing(RuntimeError("no libcudnn")))
    assert "the library cuDNN is not here" in words()


def test_describing_needs_no_cudnn() -> None:
    code = (
        "import sys; sys.modules['cudnn'] = sys.modules['cupy'] = None;"
        "import cnndsl.backends.cuda.cudnn_plans"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
