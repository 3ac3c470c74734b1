"""Convolutions and products by a kernel of our own, thread by thread, against the reference."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cnndsl.backends import get_backend
from cnndsl.backends.cuda import gemm, nvrtc, simulated, simulator
from cnndsl.backends.cuda.cudnn import Convolution, Description, Geometry, Product, operands
from cnndsl.compile import Objective, compile_training, elaborate_text
from cnndsl.ops.optimizer import SGD

pytestmark = [
    pytest.mark.gate,
    pytest.mark.skipif(simulator.unavailable() is not None, reason=str(simulator.unavailable())),
]

GEOMETRIES = {
    "3x3": Geometry(2, 7, 6, 8, 16, (3, 3), pad=(1, 1, 1, 1)),
    "stride, groups, padded unevenly": Geometry(
        2, 9, 8, 6, 10, (3, 3), (2, 2), groups=2, pad=(0, 1, 0, 1)
    ),
    "depthwise": Geometry(1, 5, 5, 4, 4, (3, 3), groups=4, pad=(1, 1, 1, 1)),
    "dilated, of more filters than a tile": Geometry(
        1, 9, 9, 3, 70, (3, 3), dilation=(2, 2), pad=(2, 2, 2, 2)
    ),
    "1x1, stride": Geometry(3, 6, 5, 5, 7, (1, 1), (2, 2)),
    "7x7, stride": Geometry(1, 19, 17, 3, 8, (7, 7), (2, 2), pad=(3, 3, 3, 3)),
}
TOLERANCES = {"float32": 1e-5, "bfloat16": 1e-2, "float16": 2e-3}
KINDS = ("forward", "input_gradient", "weight_gradient")


def assert_right(description: Description, seed: int = 1) -> None:
    random = np.random.default_rng(0)
    arrays = [
        random.normal(size=int(np.prod(each.shape))).astype(each.dtype)
        for each in operands(description)
    ]
    expected = [array.copy() for array in arrays]
    simulated.compute(description, expected)
    arrays[-1][:] = np.nan
    launch = gemm.launch(description, tuple(range(len(arrays))))
    kernel = simulator.compiled(launch.source.text, launch.source.entry)
    simulator.run(kernel, launch.grid, launch.block, 0, arrays, seed)
    found, wanted = (a[-1].astype(np.float64) for a in (arrays, expected))
    assert np.linalg.norm(found - wanted) <= TOLERANCES[description.dtype] * np.linalg.norm(wanted)


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_every_convolution_is_that_of_the_reference(geometry: str, kind, dtype: str) -> None:
    assert_right(Convolution(kind, GEOMETRIES[geometry], dtype, dtype))


@pytest.mark.parametrize(
    "more",
    [
        {"bias": True},
        {"add": True},
        {"relu": True},
        {"bias": True, "add": True, "relu": True},
    ],
)
def test_every_epilogue_is_that_of_the_reference(more: dict) -> None:
    plain = Convolution("forward", GEOMETRIES["3x3"], "bfloat16", "bfloat16")
    assert_right(replace(plain, **more))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("transposed", [(False, False), (True, False), (False, True)])
def test_every_product_is_that_of_the_reference(transposed, dtype: str) -> None:
    product = Product(70, 33, 20, dtype, "float32", *transposed, bias=True, relu=True)
    for seed in (0, 1):
        assert_right(product, seed)


@pytest.mark.skipif(nvrtc.unavailable() is not None, reason=str(nvrtc.unavailable()))
@pytest.mark.parametrize("architecture", ["sm_80", "sm_90", "sm_100"])
@pytest.mark.parametrize("dtype", TOLERANCES)
def test_it_compiles_for_tensor_cores_and_spills_nothing(dtype: str, architecture: str) -> None:
    for kind in KINDS:
        large = Geometry(64, 56, 56, 64, 64, (3, 3), pad=(1, 1, 1, 1))
        launch = gemm.launch(Convolution(kind, large, dtype, dtype), (0, 1, 2))
        found = nvrtc.compiled(launch.source, architecture)
        assert found.spilled == 0
        assert found.registers <= 168


class Alone(simulated.Engine):
    """The simulated engine without a library."""

    def is_in_library(self, description: Description) -> bool:
        return False


def test_a_whole_step_needs_no_library() -> None:
    text = """model small {
        input 12x12x3
        conv 8, 3x3 -> bn -> relu
        conv 8, 3x3, /2, groups=2, bias=true -> relu
        residual { conv 8, 3x3 -> bn }
        avgpool 2x2, /2
        fc 6 -> relu -> fc 4
    }"""
    graph = elaborate_text(text)
    results = []
    for engine in (Alone(), get_backend("numpy")):
        program = compile_training(graph, Objective(optimizer=SGD(momentum=0.9)), engine, 4)
        for number, (name, slot) in enumerate(sorted((program.states | program.inputs).items())):
            random = np.random.default_rng(number)
            shape, dtype = slot.type.concrete(), slot.type.dtype
            values = random.uniform(-1, 1, shape) if dtype == "float32" else np.ones(shape)
            program.write(name, values.astype(dtype))
        program.run()
        results.append({name: program.read(name) for name in ("loss", *program.states)})
        if isinstance(engine, Alone):
            assert not any("cudnn" in step.implementation for step in program.steps)
    for name, value in results[1].items():
        np.testing.assert_allclose(results[0][name], value, rtol=2e-4, atol=2e-5, err_msg=name)
