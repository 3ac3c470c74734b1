"""bfloat16 between layers, on both engines: against float32, each other, and while training."""

from __future__ import annotations

import numpy as np
import pytest
from comparing import ENGINE, REFERENCE, assert_agree, fill
from test_onednn import EXAMPLES, MORE, behind_layers, chain, network

from cnndsl.backends.onednn import narrow
from cnndsl.compile import (
    Objective,
    compile_inference,
    compile_training,
    planned_memory,
    training_graph,
)
from cnndsl.graph.graph import Graph, Value
from cnndsl.graph.leaves import STATE, Input
from cnndsl.graph.types import Type
from cnndsl.ops.cast import Cast
from cnndsl.ops.conv import Conv, ConvWeightGradient
from cnndsl.ops.optimizer import SGD
from cnndsl.training.initialise import Initialisation, initial_states

ENGINES = [
    REFERENCE,
    pytest.param(
        ENGINE,
        marks=pytest.mark.skipif(bool(ENGINE.unavailable()), reason=ENGINE.unavailable() or ""),
    ),
]
NAMED = pytest.mark.parametrize("engine", ENGINES, ids=lambda engine: engine.name)
BF16 = Objective(optimizer=SGD(momentum=0.9), precision="bfloat16")


def logits(graph: Graph, engine, precision: str, batch: int = 3, states=None) -> dict:
    program = compile_inference(graph, engine, batch, precision=precision)
    fill(program)
    for name in program.states if states else ():
        program.write(name, states[name])
    program.run()
    return {"logits": program.read("logits")}


def stepped(graph: Graph, engine, objective: Objective) -> dict:
    """The loss, and what the optimizer was given, after one step."""
    program = compile_training(graph, objective, engine, 4)
    fill(program)
    program.run()
    names = ["loss", *(name for name in program.states if name.endswith("velocity"))]
    return {name: program.read(name) for name in names}


@NAMED
@pytest.mark.parametrize("text", [*EXAMPLES, *MORE])
def test_every_layer_computes_in_bf16_what_it_does_in_f32(text: str, engine) -> None:
    graph = chain(text)
    found = logits(graph, engine, "bfloat16")
    assert found["logits"].dtype == np.float32
    assert_agree(found, logits(graph, REFERENCE, "float32"), 2e-2)


@pytest.mark.skipif(bool(ENGINE.unavailable()), reason=ENGINE.unavailable() or "")
@pytest.mark.parametrize("text", [*EXAMPLES, *MORE])
def test_every_gradient_in_bf16_is_that_of_the_reference_in_bf16(text: str) -> None:
    graph = behind_layers(text)
    if graph is None:
        pytest.skip("the example does not take what a layer before it leaves")
    assert_agree(stepped(graph, ENGINE, BF16), stepped(graph, REFERENCE, BF16), 2e-2)


@pytest.mark.parametrize("text", MORE)
def test_gradients_in_bf16_are_near_those_in_f32(text: str) -> None:
    graph = behind_layers(text)
    if graph is None:
        pytest.skip("the example does not take what a layer before it leaves")
    if "ceil=true" in text:
        pytest.skip("rounding makes ties in windows, and another element wins")
    exact = stepped(graph, REFERENCE, Objective(optimizer=SGD(momentum=0.9)))
    assert_agree(stepped(graph, REFERENCE, BF16), exact, 0.1)


@NAMED
@pytest.mark.parametrize(
    ("reference", "size", "tolerance"),
    [
        ("resnet:resnet50", "64x64x3", 2e-2),
        ("googlenet:googlenet", "96x96x3", 2e-2),
        ("mobilenet:mobilenet_v1", "64x64x3", 2e-2),
        ("densenet:cifar_densenet", "32x32x3", 2e-2),
        # Its maps of few channels without an activation pass every rounding on.
        ("mobilenet:mobilenet_v2", "64x64x3", 1e-1),
    ],
)
def test_the_zoo_has_the_logits_of_f32(reference: str, size: str, tolerance: float, engine) -> None:
    graph = network(reference, size)
    states = initial_states(graph, Initialisation(), 0)
    exact = logits(graph, REFERENCE, "float32", 2, states)
    assert_agree(logits(graph, engine, "bfloat16", 2, states), exact, tolerance)


def test_all_between_layers_is_bf16_and_all_that_learns_is_f32() -> None:
    graph = training_graph(network("resnet:resnet20", "32x32x3"), BF16)
    maps = set()
    for node in graph.nodes():
        op, types = graph.op(node), graph.types(node)
        if isinstance(op, (Input, *STATE, Cast)):
            continue
        maps |= {(type.dtype, op.name) for type in types if type.is_map}
    assert {dtype for dtype, _ in maps} == {"bfloat16"}
    for node in graph.of(Conv):
        weight = graph.operands(node)[1]
        assert isinstance(weight.op, Cast)
        assert graph.operands(weight.node)[0].type.dtype == "float32"
    for node in graph.of(ConvWeightGradient):
        assert graph.types(node)[0].dtype == "float32"
    for state, value in graph.updates.items():
        assert value.type.dtype == Value(graph, state).type.dtype == "float32"


@NAMED
def test_steps_too_small_for_bf16_are_not_lost(engine) -> None:
    """A weight of 1 that learns by 2^-10 a step would stay 1 in bfloat16."""
    graph = chain("input 4 -> fc 3, bias=false")
    program = compile_training(graph, Objective(optimizer=SGD(), precision="bfloat16"), engine, 2)
    weight = next(name for name in program.states if name.endswith("weight"))
    program.write(weight, np.ones((3, 4), np.float32))
    program.write("image", np.ones((2, 4), np.float32))
    program.write("labels", np.array([0, 1]))
    program.write("learning_rate", np.float32(2.0**-8))
    start = program.read(weight)
    for _ in range(8):
        program.run()
    moved = np.abs(program.read(weight) - start)
    assert (moved > 1e-3).any()
    assert (moved < 2.0**-7).any()


def test_casts_round_to_the_nearest_even() -> None:
    graph = chain("input 4 -> identity -> relu")
    image = np.array([[1 + 2**-8, 1 + 3 * 2**-8, 1 + 2**-8 + 2**-12, 3e38]], np.float32)
    program = compile_inference(graph, REFERENCE, 1, precision="bfloat16")
    program.write("image", image)
    program.run()
    expected = np.array([[1, 1 + 2**-6, 1 + 2**-7, 3e38]], np.float32)
    np.testing.assert_allclose(program.read("logits"), expected, rtol=2**-9)
    np.testing.assert_array_equal(program.read("logits")[:, :3], expected[:, :3])


@NAMED
def test_training_takes_less_memory_than_in_f32_and_what_was_planned(engine) -> None:
    graph = network("densenet:cifar_densenet", "32x32x3")
    program = compile_training(graph, BF16, engine, 8)
    exact = compile_training(graph, Objective(optimizer=SGD(momentum=0.9)), engine, 8)
    assert program.arena_bytes < 0.8 * exact.arena_bytes
    assert program.state_bytes <= exact.state_bytes
    planned = planned_memory(graph, BF16, engine, 8)
    assert planned["training"] == program.arena_bytes + program.state_bytes


@NAMED
def test_a_network_learns_in_bf16_as_in_f32(engine) -> None:
    graph = network("resnet:resnet20", "16x16x3")
    random = np.random.default_rng(0)
    images = random.normal(size=(8, 16, 16, 3)).astype(np.float32)
    curves = []
    for precision in ("float32", "bfloat16"):
        objective = Objective(optimizer=SGD(momentum=0.9), precision=precision)
        program = compile_training(graph, objective, engine, 8)
        states = initial_states(graph, Initialisation(), 0)
        for name in program.states.keys() & states.keys():
            program.write(name, states[name])
        for name in program.states.keys() - states.keys():
            slot = program.states[name]
            program.write(name, np.zeros(slot.type.concrete(), slot.type.dtype))
        program.write("image", images)
        program.write("labels", np.arange(8))
        program.write("learning_rate", np.float32(0.02))
        losses = []
        for _ in range(12):
            program.run()
            losses.append(float(program.read("loss")))
        curves.append(losses)
    exact, found = np.array(curves)
    assert exact[-1] < 0.5 * exact[0]
    np.testing.assert_allclose(found, exact, atol=0.1 * exact[0])


@pytest.mark.skipif(
    not narrow.is_native(Type((), "bfloat16")), reason="this processor has no AVX-512"
)
def test_convolutions_are_the_librarys_own_where_it_has_them() -> None:
    program = compile_inference(
        network("resnet:resnet18", "64x64x3"), ENGINE, 2, precision="bfloat16"
    )
    convs = [s.implementation for s in program.steps if s.text.startswith("conv")]
    assert not [name for name in convs if "float32" in name]


def test_the_command_line_offers_every_precision() -> None:
    from cnndsl.cli.run import command
    from cnndsl.passes.precision import PRECISIONS

    (option,) = [option for option in command.params if option.name == "precision"]
    assert list(option.type.choices) == list(PRECISIONS)
