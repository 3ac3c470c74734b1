"""Every operation of the language, by its examples: shape, spelling, gradient, precision."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
from differences import DOUBLE, check_gradients, differentiate, fill, with_loss

from cnndsl.backends.numpy import Engine, blocks, conv, depthwise, pool
from cnndsl.compile import elaborate_text
from cnndsl.diagnostics import CnndslError
from cnndsl.frontend.values import CONVERTERS
from cnndsl.graph.graph import Graph
from cnndsl.graph.leaves import STATE, Input, Parameter
from cnndsl.graph.op import OPS, Initial, Op, Window
from cnndsl.graph.types import Type
from cnndsl.ops.merge import Concat
from cnndsl.ops.shape import Identity, Slice
from cnndsl.runtime.kernel import Kernel
from cnndsl.runtime.lower import lower

EXAMPLES = [(kind, text) for kind in OPS.values() for text in kind.examples]
NAMES = [text.replace(" -> ", ">").replace(" ", "_") for _, text in EXAMPLES]

every_example = pytest.mark.parametrize("text", [text for _, text in EXAMPLES], ids=NAMES)


def graph_of(text: str, dtype: str = DOUBLE) -> Graph:
    """The graph of a one-line chain."""
    return elaborate_text(f"model example {{ {text} }}", dtype=dtype)


def layers(graph: Graph) -> list[int]:
    return [n for n in graph.nodes() if not isinstance(graph.op(n), (*STATE, Input))]


class Careful(Engine):
    """The engine without any work in place."""

    def kernel(self, op: Op, inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Kernel:
        return replace(super().kernel(op, inputs, outputs), may_alias=())


def input_as_parameter(graph: Graph) -> None:
    """Let the gradient reach the image, under the name "image"."""
    node = graph.inputs.pop("image").node
    attributes = graph.attributes(node)
    attributes.update(op=Parameter(graph.types(node)[0], Initial()), name="image")


# Every layer, by its examples --------------------------------------------------------------------


@pytest.mark.parametrize("kind", OPS.values(), ids=OPS)
def test_every_layer_has_a_contract_and_examples_that_use_it(kind: type[Op]) -> None:
    assert kind.__doc__
    assert not kind.__doc__.startswith(f"{kind.__name__}(")
    assert kind.examples
    assert all(f" {kind.name} " in f"{text} ".replace(",", " ") for text in kind.examples)


@every_example
def test_a_layer_is_spelled_as_it_is_parsed(text: str) -> None:
    graph = graph_of(text)
    spelled = [
        graph.op(node).spell(*(v.type for v in graph.operands(node))) for node in layers(graph)
    ]
    again = graph_of(" -> ".join([f"input {graph.inputs['image'].type}", *spelled]))
    assert [graph.op(n) for n in layers(graph)] == [again.op(n) for n in layers(again)]
    assert [graph.types(n) for n in layers(graph)] == [again.types(n) for n in layers(again)]


@every_example
def test_costs_and_windows_are_known(text: str) -> None:
    graph = graph_of(text)
    for node in layers(graph):
        inputs = [v.type for v in graph.operands(node)]
        flops = graph.op(node).flops(graph.types(node), *inputs)
        assert isinstance(flops, int)
        assert flops >= 0
        assert isinstance(graph.op(node).window(inputs[0]), Window)


@every_example
def test_gradients_agree_with_central_differences(text: str) -> None:
    graph = graph_of(text)
    input_as_parameter(graph)
    leaves = {graph.name(n) for n in graph.of(Parameter)}
    program = differentiate(graph, with_loss(graph, graph.outputs["logits"]))
    fill(program)
    assert leaves == set(program.outputs) - {"loss"}
    check_gradients(program)


@every_example
def test_work_in_place_changes_nothing(text: str) -> None:
    results = []
    for engine in (Engine(), Careful()):
        graph = graph_of(text)
        input_as_parameter(graph)
        program = differentiate(graph, with_loss(graph, graph.outputs["logits"]), engine)
        fill(program)
        program.run()
        program.run()
        results.append({name: program.read(name) for name in program.outputs})
    for name, value in results[0].items():
        np.testing.assert_array_equal(value, results[1][name], err_msg=name)


@every_example
def test_single_precision_agrees_with_double(text: str) -> None:
    results = []
    for dtype in ("float32", DOUBLE):
        graph = graph_of(text, dtype)
        input_as_parameter(graph)
        program = differentiate(graph, with_loss(graph, graph.outputs["logits"]))
        fill(program)
        program.run()
        results.append({name: program.read(name) for name in program.outputs})
        assert {value.dtype for value in results[-1].values()} == {np.dtype(dtype)}
    for name, single in results[0].items():
        double = results[1][name]
        assert np.linalg.norm(single - double) <= 2e-5 * np.linalg.norm(double) + 1e-7, name


@every_example
def test_gradients_of_parameters_do_not_need_that_of_the_input(text: str) -> None:
    results = []
    for reaches_input in (True, False):
        graph = graph_of(text)
        if reaches_input:
            input_as_parameter(graph)
        elif not graph.of(Parameter):
            return
        program = differentiate(graph, with_loss(graph, graph.outputs["logits"]))
        random = np.random.default_rng(0)
        leaves = program.inputs | program.states
        for name in sorted(leaves):
            program.write(name, random.uniform(0.5, 1.5, size=leaves[name].array.shape))
        program.run()
        results.append({name: program.read(name) for name in program.outputs})
    for name, value in results[1].items():
        np.testing.assert_array_equal(value, results[0][name], err_msg=name)


def inside_wider_values(graph: Graph) -> None:
    """Let the input be a slice of a wider one, and the output a part of a concat."""
    x, y = graph.inputs["image"], graph.outputs["logits"]
    around = x.type.like((*x.type.shape[:-1], x.type.channels + 3))
    source = graph.add(Input(around), name="image")[0]
    graph.replace(x, graph.apply(Slice(range(1, 1 + x.type.channels)), source))
    graph.inputs["image"] = source
    joined = graph.apply(Concat(), graph.apply(Identity(), y), y, graph.apply(Identity(), y))
    count = y.type.channels
    graph.outputs["logits"] = graph.apply(Slice(range(count, 2 * count)), joined)


@every_example
def test_values_may_be_parts_of_wider_ones(text: str) -> None:
    results = []
    for wider in (False, True):
        graph = graph_of(text)
        channels = graph.inputs["image"].type.channels
        if wider:
            inside_wider_values(graph)
        input_as_parameter(graph)
        program = differentiate(graph, with_loss(graph, graph.outputs["logits"]))
        fill(program)
        for name, slot in program.states.items():
            random = np.random.default_rng(len(name))
            shape = slot.array.shape
            if name == "image":
                middle = random.normal(size=(*shape[:-1], channels))
                values = random.normal(size=shape)
                values[..., shape[-1] - channels - 2 * wider : shape[-1] - 2 * wider] = middle
            else:
                values = random.uniform(0.5, 1.5, size=shape)
            program.write(name, values)
        program.run()
        found = {name: program.read(name) for name in program.outputs}
        if wider:
            found["image"] = found["image"][..., 1:-2]
        results.append(found)
    for name, value in results[0].items():
        distance = np.linalg.norm(value - results[1][name])
        assert distance <= 1e-12 * np.linalg.norm(value) + 1e-14, name


SMALL = [(blocks, "BLOCK_BYTES"), (pool, "BLOCK_BYTES"), (depthwise, "BLOCK_BYTES")]
SMALL += [(conv, "CHUNK_BYTES")]


@every_example
def test_results_do_not_depend_on_the_size_of_blocks(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = []
    for small in (False, True):
        for module, limit in SMALL if small else []:
            monkeypatch.setattr(module, limit, 64)
        graph = graph_of(text)
        input_as_parameter(graph)
        program = differentiate(graph, with_loss(graph, graph.outputs["logits"]))
        fill(program)
        program.run()
        results.append({name: program.read(name) for name in program.outputs})
    for name, value in results[0].items():
        distance = np.linalg.norm(value - results[1][name])
        assert distance <= 1e-14 * np.linalg.norm(value) + 1e-16, name


# Operations that are held to exactness -----------------------------------------------------------


def test_padding_never_wins_max_pooling() -> None:
    graph = graph_of("input 3x3x1 -> maxpool 3x3, /1, pad=1")
    program = lower(graph, Engine(), 1)
    program.write("image", np.full((1, 3, 3, 1), -5.0))
    program.run()
    assert (program.read("logits") == -5).all()


def test_shuffle_deals_channels_out() -> None:
    graph = graph_of("input 6 -> shuffle 2")
    program = lower(graph, Engine(), 1)
    program.write("image", [np.arange(6.0)])
    program.run()
    assert program.read("logits").tolist() == [[0, 3, 1, 4, 2, 5]]


def test_flatten_is_in_the_order_of_fc() -> None:
    graph = graph_of("input 2x3x4 -> flatten")
    program = lower(graph, Engine(), 1)
    image = np.arange(24.0).reshape(1, 2, 3, 4)
    program.write("image", image)
    program.run()
    np.testing.assert_array_equal(
        program.read("logits"), image.transpose(0, 3, 1, 2).reshape(1, -1)
    )


def test_fields_of_layers_are_of_kinds_that_the_language_can_write() -> None:
    for kind in OPS.values():
        for argument in fields(kind):  # type: ignore[arg-type]
            assert str(argument.type) in CONVERTERS, f"{kind.name}: {argument.name}"


MISTAKES = {
    "input 4x4x3 -> conv 4, 2x2": "an even window, 2x2, cannot keep the extent by itself",
    "input 4x4x3 -> conv 4, 3x3, groups=2": "3 input channels cannot be split into 2 equal groups",
    "input 4x4x3 -> leaky_relu -0.5": "the slope of `leaky_relu` is not negative, this is -0.5",
    "input 4x4x3 -> maxpool 2x2": "`maxpool` does not say its stride",
    "input 5 -> maxpool global": "`maxpool` needs a map HxWxC; the value here is a vector of 5",
    "input 5 -> bn epsilon=0": "the epsilon of `bn` is positive, this is 0",
    "input 5 -> bn momentum=2": "the momentum of `bn` is between 0 and 1, this is 2",
    "input 5 -> groupnorm 2": "5 channels cannot be split into 2 equal groups",
    "input 4x4x5 -> shuffle 0": "5 channels cannot be split into 0 equal groups",
    "input 4x4x5 -> lrn 0": "`lrn` looks at 1 channel or more, this is 0",
    "input 5 -> dropout 1": "the rate of `dropout` is at least 0 and less than 1, this is 1",
    "input 5 -> drop_path -0.1": (
        "the rate of `drop_path` is at least 0 and less than 1, this is -0.1"
    ),
    "input 5 -> pad 1": "`pad` needs a map HxWxC; the value here is a vector of 5",
    "input 4x4x5 -> pad -1": "`pad` takes numbers that are not negative, this is -1",
    "input 4x4x5 -> pad 1, top=2": (
        "`pad` takes either one number for all sides or numbers of sides"
    ),
    "input 6x6x5 -> crop top=3, bottom=4": (
        "`crop` takes 7 rows and 0 columns: nothing is left of 6x6"
    ),
    "input 4x4x5 -> slice 2..9": "`slice 2..9` is not within the 5 channels of 4x4x5",
    "input 4x4x5 -> slice 2..2": "`slice 2..2` takes no channel",
    "input 4x4x5 -> upsample 0": "`upsample` repeats at least once, this is 0",
    "input 7 -> upsample 2": "`upsample` needs a map HxWxC; the value here is a vector of 7",
}


@pytest.mark.parametrize("text", MISTAKES)
def test_mistakes_are_told_in_plain_words(text: str) -> None:
    with pytest.raises(CnndslError) as failure:
        graph_of(text)
    assert [d.message for d in failure.value.diagnostics] == [MISTAKES[text]]
