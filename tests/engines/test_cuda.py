"""Kernels of the GPU engine, executed thread by thread on the CPU, against the reference."""

from __future__ import annotations

import numpy as np
import pytest
from comparing import REFERENCE, Rounding, assert_agree, fill, forward, step
from test_onednn import EXAMPLES, MORE, behind_layers, chain

from cnndsl.backends import get_backend
from cnndsl.backends.cuda import simulated, simulator
from cnndsl.backends.cuda.apart import follows
from cnndsl.backends.cuda.cudnn import Description
from cnndsl.backends.cuda.engine import CudaKernel
from cnndsl.backends.cuda.launch import Launch, LibraryCall, Source
from cnndsl.backends.cuda.planned import Engine as Planned
from cnndsl.compile import Objective, compile_inference, compile_training, planned_kernels
from cnndsl.graph.types import Batch, Size, Type
from cnndsl.ops.optimizer import SGD, Adam, AdamW
from cnndsl.ops.pool import MaxPool

pytestmark = [
    pytest.mark.gate,
    pytest.mark.skipif(simulator.unavailable() is not None, reason=str(simulator.unavailable())),
]

BF16 = Objective(optimizer=SGD(momentum=0.9), precision="bfloat16")


@pytest.fixture(scope="module")
def engine() -> simulated.Engine:
    return simulated.Engine()


@pytest.mark.parametrize("text", [*EXAMPLES, *MORE])
def test_every_layer_computes_what_the_reference_does(text: str, engine) -> None:
    graph = chain(text)
    assert_agree(forward(graph, engine, 3)[0], forward(graph, REFERENCE, 3)[0], 1e-5)


@pytest.mark.parametrize("text", [*EXAMPLES, *MORE])
def test_every_gradient_is_that_of_the_reference(text: str, engine) -> None:
    graph = behind_layers(text)
    if graph is None:
        pytest.skip("the example does not take what a layer before it leaves")
    assert_agree(step(graph, engine)[0], step(graph, REFERENCE)[0], 2e-5)


@pytest.mark.parametrize("text", [*EXAMPLES, *MORE])
def test_every_gradient_in_bf16_is_that_of_the_reference_in_bf16(text: str, engine) -> None:
    graph = behind_layers(text)
    if graph is None:
        pytest.skip("the example does not take what a layer before it leaves")
    found, expected = (_stepped(graph, each) for each in (engine, Rounding()))
    assert_agree(found, expected, 2e-2)


def _stepped(graph, engine) -> dict:
    """The loss, and what the optimizer was given, after one step in bfloat16."""
    program = compile_training(graph, BF16, engine, 4)
    fill(program)
    program.run()
    names = ["loss", *(name for name in program.states if name.endswith("velocity"))]
    return {name: program.read(name) for name in names}


@pytest.mark.parametrize("optimizer", [SGD(), SGD(momentum=0.9, nesterov=True), Adam(), AdamW()])
def test_optimizers_are_those_of_the_reference(optimizer, engine) -> None:
    graph = chain("input 6x6x3 -> conv 5, 3x3 -> relu -> avgpool global -> fc 4")
    objective = Objective(optimizer=optimizer)
    found, expected = (step(graph, each, objective=objective)[0] for each in (engine, REFERENCE))
    assert_agree(found, expected, 2e-5)


def test_a_step_is_the_same_whatever_the_order_of_threads() -> None:
    """The second engine launches with other seeds than the first."""
    graph = chain("input 8x8x16 -> conv 16, 3x3 -> bn -> relu -> maxpool 3x3, /2 -> fc 4")
    once, again = simulated.Engine(), simulated.Engine()
    forward(graph, again)
    first, second = (step(graph, each)[0] for each in (once, again))
    for name, value in first.items():
        np.testing.assert_array_equal(value, second[name])


def test_what_a_kernel_forgets_to_write_is_not_a_number(engine, monkeypatch) -> None:
    text = "if (y0 && blockIdx.x == 0) store<PACK>(y0 + first, q0);"
    graph = chain("input 32x32x3 -> relu")
    whole = forward(graph, engine, 3)[0]["logits"]
    original = Source.text.fget
    monkeypatch.setattr(
        Source,
        "text",
        property(lambda s: original(s).replace("if (y0) store<PACK>(y0 + first, q0);", text)),
    )
    part = forward(graph, simulated.Engine(), 3)[0]["logits"]
    assert np.isfinite(whole).all()
    assert np.isnan(part).any()


def test_a_wrong_index_is_found(monkeypatch) -> None:
    graph = chain("input 32x32x3 -> relu")
    original = Source.text.fget
    monkeypatch.setattr(
        Source,
        "text",
        property(
            lambda s: original(s).replace("load<PACK>(x0 + first)", "load<PACK>(x0 + first + PACK)")
        ),
    )
    with pytest.raises(simulator.Fault, match="behind its end"):
        forward(graph, simulated.Engine(), 3)


def test_a_missing_barrier_is_found(monkeypatch) -> None:
    graph = chain("input 8x8x16 -> conv 16, 3x3 -> bn -> fc 4")
    right = step(graph, simulated.Engine())[0]
    original = Source.text.fget
    monkeypatch.setattr(
        Source, "text", property(lambda s: original(s).replace("__syncthreads();", ""))
    )
    found = step(graph, simulated.Engine())[0]
    with pytest.raises(AssertionError):
        assert_agree(found, right, 1e-3)


def test_in_tf32_products_are_rounded_and_values_are_float32() -> None:
    graph = chain("input 8x8x16 -> conv 16, 3x3 -> bn -> relu -> avgpool global -> fc 4")
    exact, _ = step(graph, get_backend("cuda-sim"))
    found, program = step(graph, get_backend("cuda-sim", precision="tf32"))
    assert {slot.type.dtype for slot in program.states.values()} == {"float32"}
    assert_agree(found, exact, 1e-2)
    with pytest.raises(AssertionError):
        assert_agree(found, exact, 1e-4)


DENSE = (
    "input 6x6x16 -> conv 16, 3x3 -> dense 3 { bn -> relu -> conv 8, 3x3 } -> bn -> relu",
    "input 6x6x3 -> conv 9, 3x3 -> dense 3 { bn -> tanh -> conv 6, 1x1 -> silu } -> bn",
    "input 6x6x4 -> conv 8, 3x3 -> concat { | bn -> relu | bn } -> gelu -> slice 2..11 -> bn",
)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("text", DENSE)
def test_parts_of_rows_are_read_and_written_where_they_are(
    text: str, precision: str, engine
) -> None:
    graph = chain(text + " -> avgpool global -> fc 4")
    objective = Objective(optimizer=SGD(momentum=0.9), precision=precision)
    found, expected = (step(graph, e, objective=objective)[0] for e in (engine, REFERENCE))
    assert_agree(found, expected, {"float32": 5e-5, "bfloat16": 4e-2}[precision])


def test_a_dense_block_copies_what_each_layer_adds_and_no_more() -> None:
    graph = chain(DENSE[0])
    sources = [
        task.source.text
        for _, kernel in planned_kernels(graph, "inference", BF16, Planned(), 4)
        if isinstance(kernel, CudaKernel)
        for task in kernel.recipe.tasks
        if isinstance(task, Launch)
    ]
    assert not [text for text in sources if "void slab(" in text]
    copies = [text for text in sources if "rounded<bfloat16>(v0);" in text and "pitch_y0" in text]
    assert len(copies) == 1 + 3


def test_graphs_are_planned_without_memory() -> None:
    graph = chain("input 8x8x16 -> conv 16, 3x3 -> bn -> relu -> fc 4")
    kernels = planned_kernels(graph, "training", BF16, Planned(), 2**20)
    launches = [
        task
        for _, kernel in kernels
        if isinstance(kernel, CudaKernel)
        for task in kernel.recipe.tasks
        if isinstance(task, Launch)
    ]
    assert len(launches) > 10
    with pytest.raises(RuntimeError, match="executes nothing"):
        compile_inference(graph, Planned(), 1)


def test_the_simulator_is_no_engine_that_is_chosen_by_itself() -> None:
    assert get_backend().name != "cuda-sim"
    assert get_backend("cuda-sim").name == "cuda-sim"


def test_a_pool_whose_winners_nobody_reads_writes_none(engine) -> None:
    pool, x = MaxPool(Size(2, 2), stride=2), Type((Batch(1), 2, 4, 1))
    kernel = engine.kernel(pool, (x,), pool.infer(x))
    values = np.array([1, 5, 2, -1, 3, -4, 0, 7], np.float32).reshape(x.concrete())
    y = np.empty((1, 1, 2, 1), np.float32)
    kernel.bind(values, y, None)()
    assert y.ravel().tolist() == [5, 7]


DEPTHWISE = (
    "input 7x9x3 -> dwconv 3x3, bias=true -> relu",
    "input 9x7x12 -> conv 12, 1x1 -> dwconv 5x5, /2 -> bn -> relu6",
    "input 11x13x20 -> conv 20, 1x1 -> residual { dwconv 3x3, dilation=2, bias=true } -> relu",
    "input 8x8x16 -> conv 48, 1x1 -> residual { dwconv 3x3 -> bn -> relu6 -> conv 48, 1x1 }",
    "input 10x9x8 -> relu as a -> dwconv 3x3, /2, pad=0 -> dwconv 3x3, bias=true -> relu6",
)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("text", DEPTHWISE)
def test_depthwise_convolutions_are_done_by_kernels_of_our_own(
    text: str, precision: str, engine
) -> None:
    exact = precision == "float32"
    graph = chain(text + " -> avgpool global -> fc 4")
    results = []
    for each in (engine, REFERENCE if exact else Rounding()):
        program = compile_inference(graph, each, 3, precision=precision)
        fill(program)
        program.run()
        results.append({"logits": program.read("logits")})
    assert_agree(*results, 1e-5 if exact else 2e-2)
    objective = Objective(optimizer=SGD(momentum=0.9), precision=precision)
    (found, program), (expected, _) = (
        step(graph, each, objective=objective)
        for each in (engine, REFERENCE if exact else Rounding())
    )
    done = " ".join(each.implementation for each in program.steps)
    assert "depthwise" in done.split()
    assert "depthwise_weights" in done.split()
    assert_agree(found, expected, 2e-5 if exact else 2e-2)


class Apart(simulated.Engine):
    """An engine whose library does nothing but convolutions and products."""

    def is_in_library(self, description: Description) -> bool:
        return not (description.bias or description.relu or any(follows(description)))


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    "text",
    [
        "input 6x6x8 -> conv 8, 3x3, bias=true -> relu -> fc 5 -> relu -> fc 4",
        "input 6x6x3 -> add { | conv 5, 3x3, bias=true | conv 5, 1x1 -> tanh } -> relu -> fc 4",
        "input 6x6x8 -> relu as a -> conv 8, 3x3 -> bn -> add { | identity | from a } -> fc 4",
    ],
)
def test_what_the_library_cannot_add_is_added_behind_it(text: str, precision: str) -> None:
    graph, engine = chain(text), Apart()
    objective = Objective(optimizer=SGD(momentum=0.9), precision=precision)
    kernels = planned_kernels(graph, "training", objective, engine, 4)
    calls = [
        task.description
        for _, kernel in kernels
        if isinstance(kernel, CudaKernel)
        for task in kernel.recipe.tasks
        if isinstance(task, LibraryCall)
    ]
    assert len(calls) > 4
    assert all(map(engine.is_in_library, calls))
    tolerance = 2e-5 if precision == "float32" else 2e-2
    reference = REFERENCE if precision == "float32" else Rounding()
    assert_agree(*(step(graph, each, 4, objective)[0] for each in (engine, reference)), tolerance)


@pytest.mark.parametrize(
    ("text", "widened"),
    [
        ("input 9x8x3 -> conv 8, 3x3, /2, bias=true -> relu -> fc 4", True),
        ("input 9x8x1 -> conv 8, 5x5 -> bn -> relu -> conv 8, 1x1 -> fc 4", True),
        ("input 9x8x12 -> conv 8, 3x3 -> fc 4", True),
        ("input 9x8x3 as a -> concat { | conv 8, 3x3 | from a -> conv 8, 1x1 } -> fc 4", True),
        ("input 9x8x16 -> conv 8, 3x3 -> fc 4", False),
        ("input 9x8x4 -> conv 8, 3x3, groups=2 -> fc 4", False),
    ],
)
def test_images_get_the_channels_that_tensor_cores_want(text, widened, engine) -> None:
    graph = chain(text)
    kernels = planned_kernels(graph, "training", BF16, Planned(), 4)
    assert any(kernel.implementation == "wide_images" for _, kernel in kernels) == widened
    found, expected = (_stepped(graph, each) for each in (engine, Rounding()))
    assert_agree(found, expected, 2e-2)
    programs = [
        compile_inference(graph, each, 3, precision="bfloat16") for each in (engine, Rounding())
    ]
    for program in programs:
        fill(program)
        program.run()
    assert_agree(*({"logits": program.read("logits")} for program in programs), 2e-2)
