"""Every operation of the language, enrolled by its examples: shape, spelling, gradient, precision."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest

from cnndsl.backends.numpy import Engine
from cnndsl.compile import elaborate_text
from cnndsl.graph.autodiff import add_gradients
from cnndsl.graph.graph import Graph, Value
from cnndsl.graph.leaves import STATE, Buffer, Input, Parameter
from cnndsl.graph.op import OPS, Initial, Op, Window
from cnndsl.graph.types import BATCH, Type, map_type, vector_type
from cnndsl.ops.dropout import DropoutTraining
from cnndsl.ops.loss import CrossEntropy, MeanSquaredError, WeightedSum
from cnndsl.ops.merge import Add, Concat, Gate, Multiply
from cnndsl.ops.norm import BatchNormTraining
from cnndsl.runtime.kernel import Kernel
from cnndsl.runtime.lower import lower
from cnndsl.runtime.program import Program

IMAGES = 3
DOUBLE = "float64"
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


def differentiate(graph: Graph, loss: Value, engine: Engine | None = None) -> Program:
    """The program that computes "loss", and the gradient of every parameter by its name."""
    gradients = add_gradients(graph, loss)
    graph.outputs = {"loss": loss}
    for node, gradient in gradients.items():
        graph.outputs[graph.name(node)] = gradient
    graph.inputs = {k: v for k, v in graph.inputs.items() if isinstance(v.op, Input)}
    graph.heads.clear()
    graph.prune()
    return lower(graph, engine or Engine(), IMAGES)


def with_loss(graph: Graph, y: Value) -> Value:
    """The mean squared distance of y to the input "target"."""
    target = graph.add(Input(y.type), name="target")[0]
    graph.inputs["target"] = target
    return graph.apply(MeanSquaredError(), y, target)


def input_as_parameter(graph: Graph) -> None:
    """Let the gradient reach the image, under the name "image"."""
    node = graph.inputs.pop("image").node
    attributes = graph.attributes(node)
    attributes.update(op=Parameter(graph.types(node)[0], Initial()), name="image")


def fill(program: Program, seed: int = 0) -> None:
    """Random numbers for all inputs and states; buffers are positive, for some are variances."""
    random = np.random.default_rng(seed)
    for slots, positive in ((program.inputs, False), (program.states, True)):
        for name, slot in slots.items():
            values = random.normal(size=slot.array.shape)
            if positive and name.endswith(("mean", "variance")):
                values = random.uniform(0.5, 1.5, size=slot.array.shape)
            if slot.array.dtype.kind == "f":
                program.write(name, values.astype(slot.array.dtype))


def check_gradients(program: Program, directions: int = 3, step: float = 1e-5) -> None:
    """The gradient along random directions against central differences, parameter by parameter.

    Of a gradient of norm g, a direction of length 1 in n dimensions sees about g / √n.
    """
    program.run()
    gradients = {name: program.read(name) for name in program.outputs if name != "loss"}
    random = np.random.default_rng(1)
    for name, gradient in gradients.items():
        state = program.states[name].array
        start = state.copy()
        for _ in range(directions):
            direction = random.normal(size=start.shape)
            direction /= np.linalg.norm(direction)
            losses = []
            for sign in (1, -1):
                program.backend.upload(state, start + sign * step * direction)
                program.run()
                losses.append(float(program.outputs["loss"].array))
            program.backend.upload(state, start)
            measured = (losses[0] - losses[1]) / (2 * step)
            expected = float(np.sum(gradient * direction))
            typical = np.linalg.norm(gradient) / np.sqrt(gradient.size)
            assert abs(measured - expected) <= 1e-6 * typical + 1e-10, name


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


# Joins -------------------------------------------------------------------------------------------

MAP, VECTOR = map_type(4, 3, 2, DOUBLE), vector_type(5, DOUBLE)
JOINS = [
    (Add(), [MAP, MAP]),
    (Add(), [VECTOR, VECTOR, VECTOR]),
    (Add(), [MAP]),
    (Multiply(), [MAP, MAP]),
    (Multiply(), [VECTOR, VECTOR, VECTOR]),
    (Concat(), [MAP, map_type(4, 3, 5, DOUBLE)]),
    (Concat(), [VECTOR, vector_type(1, DOUBLE), VECTOR]),
    (Gate(), [MAP, MAP]),
    (Gate(), [MAP, map_type(1, 1, 2, DOUBLE)]),
    (Gate(), [MAP, vector_type(2, DOUBLE)]),
    (Gate(), [VECTOR, VECTOR]),
    (BatchNormTraining(1e-5), [MAP, Type((2,), DOUBLE), Type((2,), DOUBLE)]),
    (BatchNormTraining(1e-3), [VECTOR, Type((5,), DOUBLE), Type((5,), DOUBLE)]),
]


def applied(op: Op, types: list[Type]) -> tuple[Graph, Value]:
    """An operation on parameters "x0", "x1", …"""
    graph = Graph()
    leaves = [graph.add(Parameter(t, Initial()), name=f"x{i}")[0] for i, t in enumerate(types)]
    return graph, graph.add(op, *leaves)[0]


@pytest.mark.parametrize(("op", "types"), JOINS)
def test_gradients_of_joins_agree_with_central_differences(op: Op, types: list[Type]) -> None:
    graph, y = applied(op, types)
    program = differentiate(graph, with_loss(graph, y))
    fill(program)
    assert len(program.outputs) == len(types) + 1
    check_gradients(program)


@pytest.mark.parametrize("op", [Add(), Multiply(), Concat(), Gate()], ids=lambda op: op.name)
def test_one_value_may_enter_a_join_twice(op: Op) -> None:
    graph = Graph()
    x = graph.add(Parameter(MAP, Initial()), name="x")[0]
    program = differentiate(graph, with_loss(graph, graph.apply(op, x, x)))
    fill(program)
    check_gradients(program)


def test_joins_compute_what_they_say() -> None:
    random = np.random.default_rng(0)
    x, other, gate = (random.normal(size=s) for s in [(3, 4, 3, 2), (3, 4, 3, 2), (3, 2)])
    for op, arrays, expected in [
        (Add(), (x, other, x), x + other + x),
        (Multiply(), (x, other, x), x * other * x),
        (Concat(), (x, other), np.concatenate([x, other], axis=-1)),
        (Gate(), (x, gate), x * gate[:, None, None, :]),
    ]:
        types = [Type((BATCH, *a.shape[1:]), DOUBLE) for a in arrays]
        np.testing.assert_allclose(evaluate(op, types, arrays), expected, rtol=1e-15)


def evaluate(op: Op, types: list[Type], arrays: tuple[np.ndarray, ...], output: int = 0):
    """A result of an operation on arrays."""
    graph, y = applied(op, types)
    graph.outputs = {"y": Value(graph, y.node, output)}
    program = lower(graph, Engine(), len(arrays[0]))
    for i, array in enumerate(arrays):
        program.write(f"x{i}", array)
    program.run()
    return program.read("y")


# Losses ------------------------------------------------------------------------------------------


def loss_graph(loss: Op, logits: Type) -> tuple[Graph, Value]:
    graph = Graph()
    x = graph.add(Parameter(logits, Initial()), name="x")[0]
    labels = graph.add(Input(Type((BATCH,), "int64")), name="labels")[0]
    graph.inputs["labels"] = labels
    return graph, graph.apply(loss, x, labels)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("logits", [vector_type(4, DOUBLE), map_type(1, 1, 4, DOUBLE)])
def test_gradient_of_cross_entropy(smoothing: float, logits: Type) -> None:
    graph, loss = loss_graph(CrossEntropy(label_smoothing=smoothing), logits)
    program = differentiate(graph, loss)
    fill(program)
    program.write("labels", [2, 0, 3])
    check_gradients(program)


def test_cross_entropy_of_certainty_is_zero_and_does_not_overflow() -> None:
    graph, loss = loss_graph(CrossEntropy(), vector_type(3, "float32"))
    graph.outputs = {"loss": loss}
    program = lower(graph, Engine(), 2)
    program.write("x", [[1e30, 0, 0], [0, -1e30, 1e30]])
    program.write("labels", [0, 2])
    program.run()
    assert program.read("loss") == 0


def test_gradient_of_weighted_losses_by_prediction_and_target() -> None:
    graph = Graph()
    a, b = (graph.add(Parameter(MAP, Initial()), name=name)[0] for name in "ab")
    losses = [graph.apply(MeanSquaredError(), *pair) for pair in ((a, b), (a, a), (b, a))]
    program = differentiate(graph, graph.apply(WeightedSum((1.0, 0.5, 0.25)), *losses))
    fill(program)
    check_gradients(program)


# Dropout -----------------------------------------------------------------------------------------


def dropped(
    x: np.ndarray, rate: float, key: int = 7, per_image: bool = False, seed: int = 1, step: int = 5
) -> np.ndarray:
    types = [Type((BATCH, *x.shape[1:]), DOUBLE), Type((), "int64"), Type((), "int64")]
    graph = Graph()
    leaves = [graph.add(Buffer(t), name=name)[0] for t, name in zip(types, "xrs", strict=True)]
    graph.outputs = {"y": graph.apply(DropoutTraining(rate, key, per_image), *leaves)}
    program = lower(graph, Engine(), len(x))
    for name, value in zip("xrs", (x, seed, step), strict=True):
        program.write(name, value)
    program.run()
    return program.read("y")


def test_seed_key_and_step_determine_the_mask() -> None:
    x = np.ones((2, 5, 5, 3))
    mask = dropped(x, 0.5)
    np.testing.assert_array_equal(mask, dropped(x, 0.5))
    for other in ({"seed": 2}, {"key": 8}, {"step": 6}, {"seed": -1}):
        assert (mask != dropped(x, 0.5, **other)).any()


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.5, 0.9])
def test_dropout_keeps_the_expectation(rate: float) -> None:
    y = dropped(np.ones((4, 100, 100, 5)), rate)
    assert set(np.unique(y)) <= {0.0, 1 / (1 - rate)}
    assert abs(y.mean() - 1) < 5 * np.sqrt(rate / (1 - rate) / y.size) + 1e-15


def test_a_mask_does_not_depend_on_how_the_engine_takes_it_apart() -> None:
    few, many = dropped(np.ones((1, 99)), 0.3), dropped(np.ones((1, 200_001)), 0.3)
    np.testing.assert_array_equal(few, many[:, :99])


def test_drop_path_drops_whole_images() -> None:
    y = dropped(np.ones((400, 3, 3, 2)), 0.25, per_image=True)
    assert (y == y[:, :1, :1, :1]).all()
    assert 0.15 < (y[:, 0, 0, 0] == 0).mean() < 0.35


def philox(counter: tuple[int, ...], key: tuple[int, int]) -> list[int]:
    """One block of Philox4x64-10, as in the paper."""
    word = (1 << 64) - 1
    (c0, c1, c2, c3), (k0, k1) = counter, key
    for _ in range(10):
        first, second = 0xD2E7470EE14C6C93 * c0, 0xCA5A826395121157 * c2
        c0, c1, c2, c3 = (
            (second >> 64) ^ c1 ^ k0,
            second & word,
            (first >> 64) ^ c3 ^ k1,
            first & word,
        )
        k0, k1 = (k0 + 0x9E3779B97F4A7C15) & word, (k1 + 0xBB67AE8584CAA73B) & word
    return [c0, c1, c2, c3]


def test_masks_are_those_of_the_definition() -> None:
    seed, key, step, rate = -3, 0x1234_5678_9ABC_DEF0, 41, 0.4
    words = [word for b in (1, 2, 3) for word in philox((b, step, 0, 0), (seed % 2**64, key))]
    halves = [half for word in words for half in (word & 0xFFFFFFFF, word >> 32)]
    expected = [1 / (1 - rate) if u >= rate * 2**32 else 0.0 for u in halves]
    y = dropped(np.ones((1, 24)), rate, key=key, seed=seed, step=step)
    np.testing.assert_array_equal(y[0], expected)


@pytest.mark.parametrize("per_image", [False, True])
def test_gradient_of_dropout_repeats_the_mask(per_image: bool) -> None:
    graph = Graph()
    x = graph.add(Parameter(MAP, Initial()), name="x")[0]
    seed, step = (graph.add(Buffer(Type((), "int64")), name=n)[0] for n in ("seed", "step"))
    y = graph.apply(DropoutTraining(0.4, 3, per_image), x, seed, step)
    program = differentiate(graph, with_loss(graph, y))
    fill(program)
    program.write("seed", 11)
    program.write("step", 2)
    check_gradients(program)


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


def test_batch_statistics_normalise_and_their_variance_is_unbiased() -> None:
    x = np.random.default_rng(0).normal(3, 2, size=(5, 4, 3, 2))
    types = [map_type(4, 3, 2, DOUBLE), Type((2,), DOUBLE), Type((2,), DOUBLE)]
    arrays = (x, np.ones(2), np.zeros(2))
    y, mean, inverse, variance = (
        evaluate(BatchNormTraining(1e-5), types, arrays, output) for output in range(4)
    )
    flat = x.reshape(-1, 2)
    np.testing.assert_allclose(y.reshape(-1, 2).mean(axis=0), 0, atol=1e-14)
    np.testing.assert_allclose(y.reshape(-1, 2).var(axis=0), 1, rtol=1e-4)
    np.testing.assert_allclose(mean, flat.mean(axis=0), rtol=1e-14)
    np.testing.assert_allclose(inverse, 1 / np.sqrt(flat.var(axis=0) + 1e-5), rtol=1e-14)
    np.testing.assert_allclose(variance, flat.var(axis=0, ddof=1), rtol=1e-14)


def test_batch_statistics_survive_a_large_mean_in_single_precision() -> None:
    x = np.random.default_rng(0).normal(1000, 1, size=(64, 16, 16, 3)).astype(np.float32)
    types = [map_type(16, 16, 3), Type((3,)), Type((3,))]
    y = evaluate(BatchNormTraining(1e-5), types, (x, np.ones(3), np.zeros(3)))
    exact = x.astype(np.float64).reshape(-1, 3)
    exact = (exact - exact.mean(axis=0)) / np.sqrt(exact.var(axis=0) + 1e-5)
    assert np.linalg.norm(y.reshape(-1, 3) - exact) < 1e-4 * np.linalg.norm(exact)


def test_fields_of_layers_are_of_kinds_that_the_language_can_write() -> None:
    from cnndsl.frontend.values import CONVERTERS

    for kind in OPS.values():
        for argument in fields(kind):  # type: ignore[arg-type]
            assert str(argument.type) in CONVERTERS, f"{kind.name}: {argument.name}"
