"""The CPU engine against the reference: operations, gradients, networks, layouts."""

from __future__ import annotations

import re
import subprocess
import sys

import numpy as np
import pytest
from comparing import ENGINE, REFERENCE, assert_agree, fill, forward, step
from gpu_checks import behind_layers

from cnndsl.backends import get_backend
from cnndsl.backends.onednn import Engine
from cnndsl.compile import (
    Objective,
    compile_inference,
    compile_training,
    elaborate_text,
    planned_memory,
    program_of,
)
from cnndsl.frontend.elaborate import elaborate
from cnndsl.frontend.library import load_file
from cnndsl.graph.graph import Graph
from cnndsl.graph.leaves import Input
from cnndsl.graph.op import OPS
from cnndsl.graph.types import Size, map_type
from cnndsl.ops.merge import Add, Multiply
from cnndsl.ops.optimizer import SGD, Adam, AdamW
from cnndsl.resources import resource
from cnndsl.training.initialise import Initialisation, initial_states

pytestmark = pytest.mark.skipif(ENGINE.unavailable() is not None, reason=str(ENGINE.unavailable()))

EXAMPLES = [text for kind in OPS.values() for text in kind.examples]
#: What no example of one layer shows: whole blocks of channels, and layers side by side.
MORE = (
    "input 9x9x32 -> conv 64, 3x3, /2 -> bn -> relu -> conv 32, 1x1",
    "input 8x8x32 -> conv 32, 3x3, groups=2 -> relu -> dwconv 3x3 -> bn -> relu6",
    "input 8x8x32 -> conv 32, 3x3, groups=8 -> relu",
    "input 8x8x24 -> conv 40, 3x3 -> bn -> silu -> conv 24, 1x1 -> bn",
    "input 8x8x16 -> residual { conv 16, 3x3 -> bn -> relu -> conv 16, 3x3 -> bn } -> relu",
    "input 8x8x16 -> relu as a -> conv 16, 3x3 -> add { | identity | from a } -> relu as b"
    " -> concat { | from a | from b }",
    "input 8x8x16 -> relu as a -> add { | conv 16, 1x1 | from a | conv 16, 3x3 } -> relu",
    "input 8x8x16 -> concat { | conv 16, 1x1 | conv 32, 3x3 -> relu | maxpool 3x3, /1, pad=1 }",
    "input 8x8x16 -> concat { | conv 5, 1x1 | conv 12, 3x3 -> relu | identity }",
    "input 8x8x16 -> conv 16, 3x3 -> concat { | bn -> relu -> conv 8, 1x1 | identity }"
    " -> concat { | bn -> conv 16, 3x3 | identity } -> concat { | relu -> conv 8, 3x3 | identity }",
    "input 8x8x32 -> slice 8..24 -> relu as a -> concat { | conv 16, 3x3 | from a }",
    "input 8x8x32 -> slice 3..20 -> conv 16, 3x3",
    "input 8x8x32 -> conv 32, 3x3 as a -> avgpool global -> fc 32 -> sigmoid as g"
    " -> from a -> gate { from g }",
    "input 8x8x16 -> conv 96, 1x1 -> relu -> lrn 5 -> maxpool 3x3, /2",
    "input 8x8x16 -> conv 32, 3x3 -> relu -> maxpool 3x3, /2, ceil=true -> fc 20 -> relu -> fc 4",
    "input 8x8x16 -> conv 32, 3x3 -> gelu -> layernorm -> conv 32, 1x1 -> scale",
    "input 8x8x16 -> shuffle 4 -> conv 16, 3x3 -> upsample 2 -> pad 1, channels=16 -> conv 16, 3x3",
    "input 6x6x16 -> conv 32, 6x6, pad=0 -> relu",
    "input 6x6x16 -> relu -> bn -> relu6 -> maxpool 2x2, /2 -> bn -> silu",
)


def chain(text: str) -> Graph:
    return elaborate_text(f"model example {{ {text} }}")


def network(reference: str, size: str) -> Graph:
    file, name = reference.split(":")
    module = load_file(resource("zoo") / f"{file}.cnn")
    return elaborate(module, name, input_size=Size(*map(int, size.split("x")))).graph


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("text", [*EXAMPLES, *MORE])
def test_every_layer_computes_what_the_reference_does(text: str, batch: int) -> None:
    graph = chain(text)
    assert_agree(forward(graph, ENGINE, batch)[0], forward(graph, REFERENCE, batch)[0], 1e-5)


@pytest.mark.parametrize("text", [*EXAMPLES, *MORE])
def test_every_gradient_is_that_of_the_reference(text: str) -> None:
    graph = behind_layers(text)
    if graph is None:
        pytest.skip("the example does not take what a layer before it leaves")
    assert_agree(step(graph, ENGINE)[0], step(graph, REFERENCE)[0], 2e-5)


@pytest.mark.parametrize("optimizer", [SGD(), SGD(momentum=0.9, nesterov=True), Adam(), AdamW()])
def test_optimizers_work_on_weights_in_any_layout(optimizer) -> None:
    graph = chain("input 8x8x16 -> conv 640, 3x3 -> relu -> avgpool global -> fc 4")
    objective = Objective(optimizer=optimizer)
    assert_agree(
        step(graph, ENGINE, objective=objective)[0],
        step(graph, REFERENCE, objective=objective)[0],
        2e-5,
    )


NETWORKS = {
    "alexnet:alexnet": "99x99x3",
    "googlenet:googlenet": "96x96x3",
    "resnet:resnet18": "64x64x3",
    "resnet:resnet20": "32x32x3",
    "densenet:densenet121": "64x64x3",
    "mobilenet:mobilenet_v2": "64x64x3",
    "vgg:vgg11": "64x64x3",
}


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("reference", [*NETWORKS, "resnet:resnet50"])
def test_the_zoo_has_the_logits_of_the_reference(reference: str, batch: int) -> None:
    graph = network(reference, NETWORKS.get(reference, "64x64x3"))
    states = initial_states(graph, Initialisation(), 0)
    expected = forward(graph, REFERENCE, batch, states)[0]
    assert_agree(forward(graph, ENGINE, batch, states)[0], expected, 1e-5)


@pytest.mark.parametrize("reference", NETWORKS)
@pytest.mark.parametrize("use", ["inference", "training"])
def test_no_network_of_the_zoo_is_left_to_slow_implementations(reference: str, use: str) -> None:
    graph = network(reference, {"resnet:resnet20": "32x32x3"}.get(reference, "224x224x3"))
    if use == "inference":
        program = compile_inference(graph, ENGINE, 1)
    else:
        program = compile_training(graph, Objective(), ENGINE, 2)
    slow = [step.text for step in program.steps if step.implementation.startswith("ref")]
    assert slow == []
    hot = [s.text for s in program.steps if not s.implementation and s.moved > 4e6]
    # What is left to the reference engine on large values: masks of dropout, here of weights' size.
    assert all("dropout" in text for text in hot), hot


def reordered(program) -> list[str]:
    return [step.text for step in program.steps if step.text.startswith("reorder")]


@pytest.mark.parametrize("reference", ["mobilenet:mobilenet_v2", "densenet:densenet121"])
def test_only_the_image_is_reordered(reference: str) -> None:
    program = compile_inference(network(reference, "224x224x3"), ENGINE, 2)
    assert len(reordered(program)) <= 1


def test_the_rest_is_reordered_before_and_after_wide_convolutions_alone() -> None:
    program = compile_inference(network("resnet:resnet50", "224x224x3"), ENGINE, 2)
    texts = [step.text for step in program.steps]
    wide = [place for place, text in enumerate(texts) if re.match("conv (256|512), 3x3", text)]
    beside = {place + step for place in wide for step in (-1, 1)}
    found = [place for place, text in enumerate(texts) if text.startswith("reorder")]
    assert len(wide) == 9
    assert len(set(found) - beside) <= 1


@pytest.mark.parametrize("reference", ["densenet:densenet121", "googlenet:googlenet"])
def test_parts_of_one_image_are_computed_where_they_are_joined(reference: str) -> None:
    program = compile_inference(network(reference, "224x224x3"), ENGINE, 1)
    assert not [step.text for step in program.steps if "concat" in step.text]


def test_a_dense_block_of_several_images_copies_what_each_layer_adds_and_no_more() -> None:
    """A network of 121 layers joins 58 times; its blocks begin with what is copied once."""
    program = compile_inference(network("densenet:densenet121", "224x224x3"), ENGINE, 2)
    joins = [step for step in program.steps if "concat" in step.text]
    added = 32 * (6 * 56**2 + 12 * 28**2 + 24 * 14**2 + 16 * 7**2)
    begun = 64 * 56**2 + 128 * 28**2 + 256 * 14**2 + 512 * 7**2
    assert sum(step.moved for step in joins) == 2 * 2 * 4 * (added + begun)


def test_a_state_reads_as_it_was_written_whatever_its_layout() -> None:
    graph = network("resnet:resnet20", "32x32x3")
    program = compile_training(graph, Objective(), ENGINE, 2)
    assert any(slot.type.layout for slot in program.states.values())
    random = np.random.default_rng(0)
    for name, slot in program.states.items():
        array = (100 * random.normal(size=slot.type.concrete())).astype(slot.type.dtype)
        program.write(name, array)
        np.testing.assert_array_equal(program.read(name), array)


def test_evaluation_reads_the_weights_that_training_writes_in_their_layout() -> None:
    graph = network("resnet:resnet20", "32x32x3")
    training = compile_training(graph, Objective(), ENGINE, 4)
    fill(training)
    evaluation = compile_inference(graph, ENGINE, 3, training.states)
    image = np.random.default_rng(2).normal(size=(3, 32, 32, 3)).astype(np.float32)
    for _ in range(2):
        training.run()
        evaluation.refresh()
        evaluation.write("image", image)
        evaluation.run()
        alone = compile_inference(graph, REFERENCE, 3)
        for name in alone.states:
            alone.write(name, training.read(name))
        alone.write("image", image)
        alone.run()
        found = {"logits": evaluation.read("logits")}
        assert_agree(found, {"logits": alone.read("logits")}, 2e-5)


class Lavish(Engine):
    """The engine without recomputation that nobody asks for."""

    spared = 0.0


@pytest.mark.parametrize("reference", ["resnet:resnet20", "densenet:cifar_densenet"])
def test_recomputation_changes_no_bit(reference: str) -> None:
    graph = network(reference, "32x32x3")
    free, program = step(graph, Lavish())
    budget = int(0.8 * program.arena_bytes)
    objective = Objective(optimizer=SGD(momentum=0.9, weight_decay=1e-3), memory=budget)
    for chosen in (None, objective):
        found, smaller = step(graph, ENGINE, objective=chosen)
        assert smaller.arena_bytes < program.arena_bytes
        for name, value in free.items():
            np.testing.assert_array_equal(found[name], value, err_msg=name)
    assert smaller.arena_bytes <= budget


def test_what_is_planned_is_what_is_taken() -> None:
    graph = network("googlenet:googlenet", "96x96x3")
    planned = planned_memory(graph, Objective(), ENGINE, 4)
    for use, program in (
        ("inference", compile_inference(graph, ENGINE, 4)),
        ("training", compile_training(graph, Objective(), ENGINE, 4)),
    ):
        assert planned[use] == program.arena_bytes + program.state_bytes


def test_a_program_gives_the_same_bits_each_time() -> None:
    graph = network("googlenet:googlenet", "96x96x3")
    first, second = (step(graph, ENGINE)[0] for _ in range(2))
    for name, value in first.items():
        np.testing.assert_array_equal(second[name], value, err_msg=name)


def test_more_threads_give_the_same_numbers() -> None:
    graph = network("resnet:resnet18", "64x64x3")
    one = forward(graph, ENGINE, 2)[0]
    ENGINE.use_threads(2)
    try:
        two = forward(graph, ENGINE, 2)[0]
    finally:
        ENGINE.use_threads(1)
    assert_agree(two, one, 1e-5)


def test_without_the_library_the_reference_engine_runs(monkeypatch, tmp_path) -> None:
    wrong = tmp_path / "libdnnl.so.3"
    wrong.write_text("no library")
    script = (
        "from cnndsl.backends import get_backend\n"
        "print(get_backend().name)\n"
        "try: get_backend('onednn')\n"
        "except Exception as failure: print(failure)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={"CNNDSL_ONEDNN": str(wrong), "PATH": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    name, reason = done.stdout.splitlines()
    assert name == "numpy"
    assert "CNNDSL_ONEDNN names a file that cannot be loaded" in reason


def test_float64_is_left_to_the_reference() -> None:
    graph = elaborate_text(
        "model m { input 8x8x16 -> conv 16, 3x3 -> bn -> relu }", dtype="float64"
    )
    found, _ = forward(graph, ENGINE)
    assert found["logits"].dtype == np.float64
    assert_agree(found, forward(graph, REFERENCE)[0], 1e-12)


def test_it_is_the_engine_of_choice() -> None:
    assert get_backend().name == "onednn"


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_joins_take_any_number_of_values(count: int) -> None:
    for op in (Add(), Multiply()):
        graph = Graph()
        type = map_type(8, 8, 16)
        values = [graph.add(Input(type), name=f"x{i}")[0] for i in range(count)]
        graph.inputs = {value.name: value for value in values}
        graph.outputs["y"] = graph.apply(op, *values)
        results = []
        for engine in (ENGINE, REFERENCE):
            program = program_of(graph.copy(), engine, 2)
            fill(program)
            program.run()
            results.append({"y": program.read("y")})
        assert_agree(*results, 1e-6)
