"""Operations that no layer stands for: joins, losses, random masks, batch statistics."""

from __future__ import annotations

import numpy as np
import pytest
from differences import (
    DOUBLE,
    applied,
    check_gradients,
    differentiate,
    evaluate,
    fill,
    with_loss,
)

from cnndsl.backends.numpy import Engine
from cnndsl.graph.graph import Graph, Value
from cnndsl.graph.leaves import Buffer, Input, Parameter
from cnndsl.graph.op import Initial, Mismatch, Op
from cnndsl.graph.types import BATCH, Size, Type, map_type, vector_type
from cnndsl.ops.derived import ComposeFilters, DiagonalFilters, EmbedFilters, PassShift, ScaleInputs
from cnndsl.ops.dropout import DropoutTraining
from cnndsl.ops.loss import (
    Correct,
    CrossEntropy,
    CrossEntropyGradient,
    CrossEntropyWithGradient,
    MeanSquaredError,
    WeightedSum,
)
from cnndsl.ops.merge import Add, Concat, Gate, Multiply
from cnndsl.ops.norm import BatchNormTraining
from cnndsl.ops.optimizer import SGD, Adam, AdamW
from cnndsl.ops.shape import Unflatten
from cnndsl.runtime.lower import lower

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
    (Unflatten(MAP), [vector_type(24, DOUBLE)]),
    (BatchNormTraining(1e-5), [MAP, Type((2,), DOUBLE), Type((2,), DOUBLE)]),
    (BatchNormTraining(1e-3), [VECTOR, Type((5,), DOUBLE), Type((5,), DOUBLE)]),
]


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


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("logits", [vector_type(4, DOUBLE), map_type(1, 1, 4, DOUBLE)])
def test_a_loss_and_its_gradient_at_once_are_those_of_two_operations(
    smoothing: float, logits: Type
) -> None:
    op = CrossEntropy(label_smoothing=smoothing)
    graph, loss = loss_graph(op, logits)
    x, labels = graph.operands(loss.node)
    dloss = graph.add(Parameter(Type((), DOUBLE), Initial()), name="dloss")[0]
    probabilities = Value(graph, loss.node, 1)
    gradient = graph.apply(CrossEntropyGradient(op, logits), probabilities, labels, dloss)
    both = graph.add(CrossEntropyWithGradient(op), x, labels, dloss)
    graph.outputs = dict(zip("abcd", (loss, gradient, *both), strict=True))
    program = lower(graph, Engine(), 3)
    fill(program)
    program.write("labels", [2, 0, 3])
    program.run()
    np.testing.assert_array_equal(program.read("c"), program.read("a"))
    np.testing.assert_array_equal(program.read("d"), program.read("b"))


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


# Batch statistics --------------------------------------------------------------------------------


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


# Derived weights ---------------------------------------------------------------------------------


def derived(op: Op, *arrays: np.ndarray) -> np.ndarray:
    """A derived weight, from arrays that are no batches."""
    return evaluate(op, [Type(a.shape, DOUBLE) for a in arrays], arrays)


def test_filters_compose_over_the_channels_between() -> None:
    random = np.random.default_rng(0)
    matrix, window = random.normal(size=(5, 4, 1, 1)), random.normal(size=(4, 3, 2, 3))
    expected = np.einsum("om,mihw->oihw", matrix[:, :, 0, 0], window)
    np.testing.assert_allclose(derived(ComposeFilters(), matrix, window), expected)
    wide, pointwise = random.normal(size=(5, 4, 2, 3)), random.normal(size=(4, 3, 1, 1))
    expected = np.einsum("omhw,mi->oihw", wide, pointwise[:, :, 0, 0])
    np.testing.assert_allclose(derived(ComposeFilters(), wide, pointwise), expected)


def test_filters_in_groups_scale_and_sum_the_channels_that_they_read() -> None:
    random = np.random.default_rng(0)
    weight, factors, bias = (random.normal(size=s) for s in [(4, 3, 2, 2), (6,), (4,)])
    read = factors.reshape(2, 3)[[0, 0, 1, 1]]
    scaled = weight * read[:, :, None, None]
    np.testing.assert_allclose(derived(ScaleInputs(2), weight, factors), scaled)
    shift = bias + scaled.sum(axis=(1, 2, 3))
    np.testing.assert_allclose(derived(PassShift(2), weight, factors, bias), shift)


def test_diagonal_filters_scale_each_channel_and_embedded_ones_stand_within_zeros() -> None:
    factors = np.array([2.0, 3, 5, 7])
    filters = derived(DiagonalFilters(2), factors)
    np.testing.assert_array_equal(filters[..., 0, 0], [[2, 0], [0, 3], [5, 0], [0, 7]])
    embedded = derived(EmbedFilters(Size(3, 2), 1, 0), filters)
    assert embedded.shape == (4, 2, 3, 2)
    np.testing.assert_array_equal(embedded[:, :, 1:2, 0:1], filters)
    assert embedded.sum() == factors.sum()


# Mistakes ----------------------------------------------------------------------------------------

LABELS = Type((BATCH,), "int64")
MISTAKES: list[tuple[Op, list[Type], str]] = [
    (
        Concat(),
        [map_type(28, 28, 64), map_type(14, 14, 32)],
        "the branches of `concat` have different extents: 28x28x64, 14x14x32",
    ),
    (
        Concat(),
        [map_type(1, 1, 64), vector_type(32)],
        "the branches of `concat` are maps and vectors: 1x1x64, 32",
    ),
    (
        Add(),
        [map_type(4, 4, 3), map_type(4, 4, 1), map_type(4, 4, 3)],
        "the branches of `add` have different shapes: 4x4x3, 4x4x1, 4x4x3",
    ),
    (
        Multiply(),
        [map_type(4, 4, 3), vector_type(3)],
        "the branches of `mul` have different shapes: 4x4x3, 3",
    ),
    (Gate(), [map_type(4, 4, 3), vector_type(4)], "a `gate` of 4 does not fit the value, 4x4x3"),
    (Gate(), [vector_type(3), map_type(1, 1, 3)], "a `gate` of 1x1x3 does not fit the value, 3"),
    (
        CrossEntropy(),
        [map_type(7, 7, 10), LABELS],
        "`cross_entropy` wants a vector of one logit a class; the value here is 7x7x10",
    ),
    (
        CrossEntropy(),
        [vector_type(10), vector_type(10)],
        "`cross_entropy` wants one whole number an image as its labels, not 10",
    ),
    (
        CrossEntropy(label_smoothing=1.0),
        [vector_type(10), LABELS],
        "label smoothing is at least 0 and less than 1, this is 1",
    ),
    (
        MeanSquaredError(),
        [vector_type(10), vector_type(9)],
        "`mse` compares values of one shape; the prediction is 10, the target 9",
    ),
    (SGD(momentum=1.0), [Type((3,))] * 2, "momentum is at least 0 and less than 1, this is 1"),
    (SGD(nesterov=True), [Type((3,))] * 2, "`nesterov` needs a momentum"),
    (SGD(weight_decay=-0.1), [Type((3,))] * 2, "weight decay is not negative, this is -0.1"),
    (Adam(beta2=1.5), [Type((3,))] * 2, "beta2 is at least 0 and less than 1, this is 1.5"),
    (AdamW(epsilon=0.0), [Type((3,))] * 2, "epsilon is positive, this is 0"),
]


@pytest.mark.parametrize(("op", "types", "message"), MISTAKES)
def test_mistakes_are_told_with_the_shapes(op: Op, types: list[Type], message: str) -> None:
    with pytest.raises(Mismatch) as failure:
        op.infer(*types)
    assert failure.value.message == message


def test_correct_counts_hits_of_labels_and_of_targets() -> None:
    logits = np.array([[1.0, 5, 2], [3, 0, 0], [0, 1, 1], [9, 0, 0]])
    type = vector_type(3, DOUBLE)
    assert evaluate(Correct(), [type, LABELS], (logits, np.array([1, 0, 2, -1]))) == 2
    assert evaluate(Correct(), [type, type], (logits, np.eye(3)[[1, 0, 2, 0]])) == 3
