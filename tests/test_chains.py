"""Operations element by element become one, which computes the same and keeps no more memory."""

from __future__ import annotations

import numpy as np
import pytest
from elementwise import (
    CASES,
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

from cnndsl.backends import get_backend, onednn
from cnndsl.compile import Objective, elaborate_text, training_graph
from cnndsl.graph.check import verify
from cnndsl.graph.graph import Graph, Value
from cnndsl.graph.leaves import Input
from cnndsl.graph.op import Op
from cnndsl.graph.types import Type, map_type, vector_type
from cnndsl.ops.activation import Relu, Sigmoid, Silu, Softmax
from cnndsl.ops.chain import Chain
from cnndsl.ops.merge import Add, Concat, Gate, Multiply
from cnndsl.ops.shape import Slice
from cnndsl.passes import FOR_TRAINING, FUSIONS
from cnndsl.passes.chains import CHAINS, MOST_OPERANDS
from cnndsl.runtime.lower import lower
from cnndsl.runtime.recompute import recompute

ENGINE = get_backend("numpy")
CPU = onednn.Engine()
NIGHTLY = settings.get_current_profile_name() == "nightly"


def chains(graph: Graph) -> list[str]:
    """The chains of a graph, in words."""
    nodes = graph.of(Chain)
    return [graph.op(n).spell(*(v.type for v in graph.operands(n))) for n in nodes]


def kinds(kind: type[Op] = Op) -> set[type[Op]]:
    """All operations that say which operands they read element by element."""
    found = {kind} if kind.elementwise is not Op.elementwise and hasattr(kind, "name") else set()
    return found.union(*map(kinds, kind.__subclasses__()))


def test_every_elementwise_operation_is_a_case() -> None:
    assert kinds() == {type(op) for op, _ in CASES}


@pytest.mark.parametrize(("op", "types"), CASES)
@pytest.mark.parametrize("narrow", [False, True], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("engine", [ENGINE, CPU], ids=lambda engine: engine.name)
def test_engines_of_processors_compute_a_chain_step_by_step(
    engine, narrow: bool, op: Op, types: tuple[Type, ...]
) -> None:
    if engine.unavailable() is not None:
        pytest.skip(engine.unavailable())
    types = narrowed(types) if narrow else types
    both = twice(op, types)
    given = arrays(types)
    y = both.infer(*types)
    found = computed(engine.kernel(both, types, (y,)), given, y)
    np.testing.assert_array_equal(found, one_by_one(ENGINE, both, given, types))


@settings(
    max_examples=1000 if NIGHTLY else 100,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
@given(graphs())
def test_chains_of_random_graphs_change_no_number(graph: Graph) -> None:
    changed = chained(graph)
    verify(changed, "chains")
    assert all(len(changed.operands(n)) <= MOST_OPERANDS for n in changed.of(Chain))
    expected, found = outputs(graph, ENGINE), outputs(changed, ENGINE)
    for name, array in expected.items():
        np.testing.assert_array_equal(array, found[name])


def softmaxes(count: int) -> tuple[Graph, list[Value]]:
    """Values that are made one after another by what is not element by element."""
    graph = Graph()
    graph.inputs["x"] = x = graph.add(Input(map_type(2, 3, 8)))[0]
    return graph, [graph.apply(Softmax(), x) for _ in range(count)]


def test_a_chain_does_not_keep_two_values_in_the_place_of_one() -> None:
    graph, (a, b) = softmaxes(2)
    total = graph.apply(Add(), a, b)
    later = graph.apply(Softmax(), graph.inputs["x"])
    graph.outputs["y"] = graph.apply(Multiply(), total, later)
    assert chains(chained(graph)) == []
    graph.outputs["a"] = a
    assert chains(chained(graph)) == ["add + mul"]


def test_what_a_chain_keeps_anyway_is_free() -> None:
    graph, (a, b) = softmaxes(2)
    total, positive = graph.apply(Add(), a, b), graph.apply(Relu(), a)
    later = graph.apply(Softmax(), graph.inputs["x"])
    graph.outputs["y"] = graph.apply(Multiply(), total, positive, later)
    assert chains(chained(graph)) == ["add + relu + mul"]


def test_what_follows_at_once_is_in_the_chain() -> None:
    graph, (a, b, c) = softmaxes(3)
    graph.outputs["y"] = graph.apply(Multiply(), graph.apply(Add(), a, b), c)
    assert chains(chained(graph)) == ["add + mul"]


def test_a_part_of_a_larger_value_keeps_all_of_it() -> None:
    graph, (whole, other) = softmaxes(2)
    first = graph.apply(Relu(), graph.apply(Slice(range(2)), whole))
    second = graph.apply(Softmax(), graph.apply(Slice(range(2)), other))
    graph.outputs["y"] = graph.apply(Multiply(), first, second)
    assert chains(chained(graph)) == []
    graph.outputs["whole"] = whole
    assert chains(chained(graph)) == ["relu + mul"]


def test_a_part_of_a_join_keeps_all_of_it() -> None:
    graph, (part, other) = softmaxes(2)
    graph.outputs["z"] = graph.apply(Softmax(), whole := graph.apply(Concat(), part, other))
    first = graph.apply(Relu(), part)
    graph.outputs["y"] = graph.apply(Multiply(), first, graph.apply(Softmax(), graph.inputs["x"]))
    assert chains(chained(graph)) == []
    graph.outputs["whole"] = whole
    assert chains(chained(graph)) == ["relu + mul"]


def test_a_gate_is_no_operand_that_matters() -> None:
    graph, (a, vector) = softmaxes(2)
    gate = graph.add(Input(map_type(1, 1, 8)))[0]
    scaled = graph.apply(Gate(), a, graph.apply(Softmax(), gate))
    later = graph.apply(Softmax(), vector)
    graph.outputs["y"] = graph.apply(Add(), scaled, later)
    assert chains(chained(graph)) == ["gate + add"]


def test_a_value_that_is_read_otherwise_too_is_kept() -> None:
    graph, (a,) = softmaxes(1)
    y = graph.apply(Silu(), a)
    graph.outputs["y"] = graph.apply(Add(), graph.apply(Relu(), y), graph.apply(Softmax(), y))
    assert chains(chained(graph)) == ["relu + add"]


def test_what_two_chains_read_is_computed_once() -> None:
    graph, (a,) = softmaxes(1)
    y = graph.apply(Silu(), a)
    graph.outputs = {"y": graph.apply(Relu(), y), "z": graph.apply(Sigmoid(), y)}
    assert chains(chained(graph)) == []


def test_an_output_is_computed_once() -> None:
    graph, (a,) = softmaxes(1)
    graph.outputs["y"] = y = graph.apply(Silu(), a)
    graph.outputs["z"] = graph.apply(Relu(), y)
    assert chains(chained(graph)) == []


def test_a_gate_by_channel_is_no_part_of_a_chain() -> None:
    graph, (a,) = softmaxes(1)
    vector = graph.add(Input(vector_type(8)))[0]
    graph.outputs["y"] = graph.apply(Gate(), a, graph.apply(Sigmoid(), vector))
    assert chains(chained(graph)) == []


def test_a_chain_has_an_end_to_what_it_reads() -> None:
    graph, (total, *others) = softmaxes(3 * MOST_OPERANDS)
    for other in others:
        total = graph.apply(Add(), total, other)
    graph.outputs["y"] = total
    changed = chained(graph)
    verify(changed, "chains")
    assert len(changed.of(Chain)) == 4
    assert {len(changed.operands(n)) for n in changed.of(Chain)} <= set(range(MOST_OPERANDS + 1))


GATED = (
    "model m { input 6x6x8 -> conv 8, 3x3, bias=false as a -> gate { avgpool global -> conv 8, 1x1"
    " -> sigmoid } -> add { | identity | from a } -> silu as b -> conv 8, 3x3 -> tanh"
    " -> dropout 0.3 -> add { | identity | from b } -> fc 3 }"
)


def test_chains_are_recomputed_as_their_steps_are() -> None:
    graph = elaborate_text(GATED)
    step = training_graph(graph, Objective(), FOR_TRAINING, (*FUSIONS, *CHAINS))
    assert chains(step)
    tight = step.copy()
    recompute(tight, ENGINE, 4, 0)
    assert len(tight.of(Chain)) > len(step.of(Chain))
    first, second = (_one_step(each) for each in (step, tight))
    for name, array in first.items():
        np.testing.assert_array_equal(array, second[name], err_msg=name)


def _one_step(graph: Graph) -> dict[str, np.ndarray]:
    program = lower(graph, ENGINE, 4)
    for number, name in enumerate(sorted((*program.inputs, *program.states))):
        type = (program.inputs | program.states)[name].type
        values = np.random.default_rng(number).uniform(0, 1, type.concrete())
        program.write(name, values.astype(type.dtype))
    program.run()
    return {name: program.read(name) for name in ("loss", *program.states)}
