"""Chains as kernels of the GPU engine, executed thread by thread, against their steps apart."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from comparing import REFERENCE, assert_agree, forward, step
from elementwise import (
    CASES,
    CHANNELS,
    MAP,
    WORD,
    arrays,
    chained,
    computed,
    graphs,
    narrowed,
    one_by_one,
    outputs,
    twice,
)
from hypothesis import HealthCheck, given, settings
from rewriting import EXAMPLES
from test_onednn import chain

from cnndsl.backends.cuda import nvrtc, simulated, simulator
from cnndsl.backends.cuda.chain import WRITERS
from cnndsl.backends.cuda.planned import Engine as Planned
from cnndsl.compile import (
    Objective,
    elaborate_file,
    inference_graph,
    training_graph,
)
from cnndsl.graph.graph import Graph
from cnndsl.graph.leaves import Accumulate, Input
from cnndsl.graph.op import Op
from cnndsl.graph.types import Batch, Type, map_type
from cnndsl.ops.activation import ActivationGradient, Gelu, Relu, Silu, Softmax, Tanh
from cnndsl.ops.cast import Cast
from cnndsl.ops.chain import Chain, Step
from cnndsl.ops.dropout import DropoutTraining
from cnndsl.ops.merge import Add
from cnndsl.ops.norm import Scale
from cnndsl.ops.optimizer import SGD
from cnndsl.passes import FOR_INFERENCE, FOR_TRAINING
from cnndsl.passes.chains import CHAINS, MOST_OPERANDS
from cnndsl.resources import resource
from cnndsl.runtime.lower import kernels_of, planned_bytes

pytestmark = [
    pytest.mark.gate,
    pytest.mark.skipif(simulator.unavailable() is not None, reason=str(simulator.unavailable())),
]


@pytest.fixture(scope="module")
def engine() -> simulated.Engine:
    return simulated.Engine()


def test_every_elementwise_operation_has_a_formula() -> None:
    assert {type(op) for op, _ in CASES} <= WRITERS.keys()


@pytest.mark.parametrize(("op", "types"), CASES)
def test_a_chain_computes_what_its_steps_do(op: Op, types: tuple[Type, ...], engine) -> None:
    """Each operation on its own result: names of both stand in one kernel, and a value twice."""
    both, given = twice(op, types), arrays(types)
    y = both.infer(*types)
    found = computed(engine.kernel(both, types, (y,)), given, y).astype(np.float32)
    expected = one_by_one(REFERENCE, both, given, types).astype(np.float32)
    tolerance = 1e-2 if y.narrow else 1e-5
    assert np.linalg.norm(found - expected) <= tolerance * np.linalg.norm(expected)
    np.testing.assert_array_equal(found == 0, expected == 0)


@pytest.mark.parametrize(("op", "types"), CASES)
def test_a_chain_in_bf16_rounds_its_result_alone(op: Op, types: tuple[Type, ...], engine) -> None:
    """Compared with the steps in float32 on the same numbers, it is off by one rounding."""
    narrow, wide = narrowed(types), twice(op, types)
    given = arrays(narrow)
    y = Type(wide.infer(*types).shape, "bfloat16")
    both = Chain((*wide.steps, Step(Cast("bfloat16"), (len(types) + len(wide.steps) - 1,))))
    found = computed(engine.kernel(both, narrow, (y,)), given, y).astype(np.float32)
    same = [array.astype(type.dtype) for array, type in zip(given, types, strict=True)]
    expected = one_by_one(REFERENCE, wide, same, types).astype(np.float32)
    if not isinstance(op, Cast):
        assert np.linalg.norm(found - expected) <= 2**-8 * np.linalg.norm(expected)
    assert np.linalg.norm(found - expected) <= 1e-2 * np.linalg.norm(expected)


@settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(graphs())
def test_chains_of_random_graphs_compute_the_same(graph: Graph) -> None:
    engine = simulated.Engine()
    expected, found = outputs(graph, REFERENCE), outputs(chained(graph), engine)
    assert_agree(found, expected, 1e-5)


def test_dropout_in_a_chain_has_the_mask_that_it_has_alone(engine) -> None:
    types, given = (MAP, WORD, WORD), arrays((MAP, WORD, WORD))
    op = DropoutTraining(0.4, 2**63 + 5)
    alone = computed(engine.kernel(op, types, (MAP,)), given, MAP)
    within = Chain((Step(Tanh(), (0,)), Step(op, (3, 1, 2)), Step(Silu(), (4,))))
    found = computed(engine.kernel(within, types, (MAP,)), given, MAP)
    assert 0.2 < (alone == 0).mean() < 0.6
    np.testing.assert_array_equal(alone == 0, found == 0)


def test_a_chain_is_written_over_what_it_reads_element_by_element(engine) -> None:
    short = Type(MAP.shape, "bfloat16")
    types = (MAP, short, MAP)
    both = Chain((Step(Accumulate(), (0, 1, 2)), Step(ActivationGradient(Gelu()), (0, 3))))
    kernel = engine.kernel(both, types, (MAP,))
    assert set(kernel.may_alias) == {(0, 0), (0, 2)}
    given = arrays(types)
    expected = computed(kernel, given, MAP)
    for place in (0, 2):
        held = [array.copy() for array in given]
        kernel.bind(*held, held[place])()
        np.testing.assert_array_equal(held[place], expected)


def test_a_chain_is_not_written_over_what_it_reads_in_two_ways(engine) -> None:
    """As the factor of its channel, and element by element; the mask is read behind both."""
    types, given = (CHANNELS, WORD, WORD), arrays((CHANNELS, WORD, WORD))
    drop = DropoutTraining(0.5, 3)
    op = Chain((Step(Relu(), (0,)), Step(Scale(), (3, 0)), Step(drop, (4, 1, 2))))
    kernel = engine.kernel(op, types, (CHANNELS,))
    assert kernel.may_alias == ()
    expected = one_by_one(REFERENCE, op, given, types)
    np.testing.assert_allclose(computed(kernel, given, CHANNELS), expected, rtol=1e-6)


#: What is computed in chains, forward and in training.
NETWORKS = (
    "conv 16, 3x3, bias=false as a -> gate { avgpool global -> conv 16, 1x1 -> sigmoid }"
    " -> add { | identity | from a } -> relu",
    "conv 16, 3x3 as a -> avgpool 3x3, /1, pad=1 -> silu as b -> mul { | identity | from a }"
    " -> scale -> add { | from b | identity } -> tanh",
    "residual drop=0.3 { conv 4, 3x3 -> bn -> scale } -> avgpool 3x3, /1, pad=1 -> gelu"
    " -> dropout 0.4 -> hardswish -> conv 8, 1x1",
    "conv 9, 3x3 -> relu as a -> residual { conv 9, 3x3 -> bn } -> relu as b"
    " -> add { | conv 9, 1x1 | from a | from b -> elu } -> leaky_relu",
)
#: Whose chains write parts of rows, and read them.
DENSE = (
    "conv 8, 3x3 -> dense 2 { bn -> relu -> conv 8, 3x3 -> avgpool 3x3, /1, pad=1 -> silu -> scale"
    " -> tanh } -> slice 4..20 -> gelu -> scale",
    "conv 6, 3x3 -> concat { | relu6 -> scale | avgpool 3x3, /1, pad=1 -> elu -> scale -> tanh }"
    " -> slice 1..8 -> gelu -> scale -> avgpool 3x3, /1, pad=1",
)


def with_ends(text: str) -> Graph:
    return chain(f"input 6x6x4 -> {text} -> avgpool global -> fc 4")


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("text", [*NETWORKS, *DENSE])
def test_networks_with_chains_train_as_the_reference(text: str, precision: str, engine) -> None:
    graph = with_ends(text)
    objective = Objective(optimizer=SGD(momentum=0.9), precision=precision)
    planned = training_graph(graph, objective, FOR_TRAINING, engine.fusions)
    assert planned.of(Chain)
    found, expected = (step(graph, e, objective=objective)[0] for e in (engine, REFERENCE))
    assert_agree(found, expected, {"float32": 5e-5, "bfloat16": 4e-2}[precision])


@pytest.mark.parametrize("text", [*NETWORKS, *DENSE])
def test_networks_with_chains_compute_what_the_reference_does(text: str, engine) -> None:
    graph = with_ends(text)
    assert inference_graph(graph, FOR_INFERENCE, engine.fusions).of(Chain)
    assert_agree(forward(graph, engine)[0], forward(graph, REFERENCE)[0], 1e-5)


@pytest.mark.parametrize("text", DENSE)
def test_chains_read_and_write_parts_of_rows(text: str) -> None:
    objective = Objective(precision="bfloat16")
    graph = training_graph(with_ends(text), objective, FOR_TRAINING, Planned().fusions)
    sources = [
        kernel.recipe.tasks[0].source.text
        for node, kernel in kernels_of(graph, Planned(), 4)
        if isinstance(graph.op(node), Chain)
    ]
    for parameter in ("pitch_y0", "pitch_x2"):
        assert any(f"long long {parameter}" in text for text in sources)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.skipif(nvrtc.unavailable() is not None, reason=str(nvrtc.unavailable()))
def test_the_longest_chains_keep_to_their_registers(dtype: str) -> None:
    x = Type((Batch(4), 8, 8, 64), dtype)
    steps = [Step(ActivationGradient(Gelu()), (1, 0))]
    for place in range(2, MOST_OPERANDS):
        steps.append(Step(ActivationGradient(Silu()), (place, MOST_OPERANDS + place - 2)))
    steps.append(Step(Cast("bfloat16"), (2 * MOST_OPERANDS - 2,)))
    longest = Chain(tuple(steps))
    types = (x,) * MOST_OPERANDS
    kernel = Planned().kernel(longest, types, (longest.infer(*types),))
    taken = nvrtc.compiled(kernel.recipe.tasks[0].source, "sm_90")
    assert taken.spilled == 0
    assert taken.registers <= 96


@pytest.mark.parametrize(
    "path", [resource("zoo") / "googlenet.cnn:googlenet", EXAMPLES / "convnext.cnn:convnext_t"]
)
def test_chains_take_launches_away_and_no_memory(path: Path) -> None:
    file, name = str(path).split(":")
    graph = elaborate_file(Path(file), name).graph
    engine, objective = Planned(), Objective(precision="bfloat16")
    without = [rewrite for rewrite in engine.fusions if rewrite not in CHAINS]
    before, after = (
        training_graph(graph, objective, FOR_TRAINING, fusions)
        for fusions in (without, engine.fusions)
    )
    assert len(kernels_of(after, engine, 64)) < len(kernels_of(before, engine, 64))
    assert planned_bytes(after, engine, 64) <= planned_bytes(before, engine, 64)


@pytest.mark.parametrize("kept", [0, 1])
def test_a_chain_takes_the_place_of_whichever_operand_is_not_read_again(kept: int) -> None:
    graph = Graph()
    graph.inputs["x"] = x = graph.add(Input(map_type(2, 3, 8)))[0]
    operands = [graph.apply(Softmax(), x) for _ in range(2)]
    graph.outputs["y"] = graph.apply(Silu(), graph.apply(Add(), *operands))
    graph.outputs["kept"] = operands[kept]
    changed = chained(graph)
    assert changed.of(Chain)
    assert planned_bytes(changed, Planned(), 1)[0] == 3 * x.type.nbytes
