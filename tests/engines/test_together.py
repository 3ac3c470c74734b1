"""One launch for many small tensors: updates of states, casts of weights, what is not finite."""

from __future__ import annotations

import numpy as np
import pytest
from comparing import REFERENCE, Arrays, assert_agree, fill, step
from test_onednn import chain, network

from cnndsl.backends import numpy as reference
from cnndsl.backends.cuda import nvrtc, simulated, simulator, together
from cnndsl.backends.cuda.engine import CudaEngine, CudaKernel
from cnndsl.backends.cuda.launch import Constant, Launch, Recipe, Scratch, Source, Table
from cnndsl.backends.cuda.planned import Engine as Planned
from cnndsl.compile import Objective, compile_training, planned_kernels, training_graph
from cnndsl.graph.check import verify
from cnndsl.graph.graph import Graph
from cnndsl.graph.op import Op
from cnndsl.graph.rewrite import Event
from cnndsl.graph.types import Type
from cnndsl.ops.cast import Cast
from cnndsl.ops.conv import Conv
from cnndsl.ops.norm import RunningAverage
from cnndsl.ops.optimizer import SGD, Adam, AdamW
from cnndsl.ops.scaling import AllFinite, Guarded
from cnndsl.ops.together import Together
from cnndsl.passes.together import TOGETHER

SIMULATED = [
    pytest.mark.gate,
    pytest.mark.skipif(simulator.unavailable() is not None, reason=str(simulator.unavailable())),
]

#: Weights of 27, 30 and 40 elements, biases of 3 and 4, norms of 10.
ODD = (
    "input 8x8x1 -> conv 3, 3x3 -> relu -> conv 10, 1x1 -> bn -> relu -> bn"
    " -> avgpool global -> fc 4"
)
OPTIMIZERS = [
    SGD(weight_decay=1e-2),
    SGD(momentum=0.9, weight_decay=1e-2),
    SGD(momentum=0.9, nesterov=True),
    Adam(weight_decay=1e-2),
    AdamW(),
]
PRECISIONS = ["float32", "bfloat16", "float16"]


def apart(engine: CudaEngine) -> CudaEngine:
    """The engine with a launch for each tensor."""
    engine.fusions = tuple(rewrite for rewrite in engine.fusions if rewrite not in TOGETHER)
    return engine


def joined() -> reference.Engine:
    """The reference engine with the fusions that are tested here."""
    engine = reference.Engine()
    engine.fusions = (*engine.fusions, *TOGETHER)
    return engine


def stepped(graph: Graph, engine, objective: Objective, steps: int = 1) -> Arrays:
    """Every state after some steps, the scale of losses being small enough at first."""
    program = compile_training(graph, objective, engine, 4)
    fill(program)
    for name, value in (("loss_scale", 1024), ("finite_steps", 0), ("tally", np.zeros(4))):
        if name in program.states:
            program.write(name, np.float32(value))
    for _ in range(steps):
        program.run()
    return {name: program.read(name) for name in program.states}


def assert_same(found: Arrays, expected: Arrays) -> None:
    assert list(found) == list(expected)
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)


class TestGraphs:
    @pytest.mark.parametrize("rewrite", TOGETHER, ids=lambda rewrite: rewrite.name)
    def test_a_rewrite_fires_where_it_says_and_nowhere_else(self, rewrite) -> None:
        for examples, fires in ((rewrite.fires_on, True), (rewrite.leaves_alone, False)):
            assert examples
            for example in examples:
                events: list[Event] = []
                objective = Objective(precision="bfloat16")
                graph = training_graph(chain(example), objective, (), (rewrite,), events)
                verify(graph, rewrite.name)
                assert bool(events) == fires, example

    @pytest.mark.parametrize("optimizer", OPTIMIZERS)
    def test_states_keep_their_names_and_become_the_same_to_the_bit(self, optimizer) -> None:
        objective = Objective(optimizer=optimizer)
        graph = network("resnet:resnet20", "16x16x3")
        assert_same(stepped(graph, joined(), objective, 2), stepped(graph, REFERENCE, objective, 2))

    @pytest.mark.parametrize("precision", ["bfloat16", "float16"])
    def test_narrow_gradients_are_those_of_the_reference_but_for_rounding(self, precision) -> None:
        objective = Objective(optimizer=SGD(momentum=0.9), precision=precision)
        found, expected = (stepped(chain(ODD), each, objective) for each in (joined(), REFERENCE))
        assert_agree(found, expected, 2e-2)

    def test_recomputation_leaves_a_step_as_it_was(self) -> None:
        graph = network("resnet:resnet20", "16x16x3")
        free = compile_training(graph, Objective(), joined(), 4).arena_bytes
        tight = Objective(memory=free * 9 // 10)
        assert_same(stepped(graph, joined(), tight), stepped(graph, joined(), Objective()))

    def test_an_operation_for_each_kind_of_update_is_left(self) -> None:
        graph = training_graph(
            network("resnet:resnet20", "16x16x3"),
            Objective(precision="bfloat16"),
            fusions=TOGETHER,
        )
        counts = [(graph.op(n).count, type(graph.op(n).each)) for n in graph.of(Together)]
        # 19 convolutions with a norm each and one fully connected layer; weights apart from the
        # rest, whose gradients are float32.
        assert sorted(counts, key=str) == [
            (20, Cast),
            (20, Guarded),
            (38, Guarded),
            (39, Guarded),
        ]
        assert not graph.of(Guarded, RunningAverage)

    def test_casts_of_states_come_before_what_reads_them(self) -> None:
        objective = Objective(precision="bfloat16")
        graph = training_graph(chain(ODD), objective, fusions=TOGETHER)
        order = graph.nodes()
        (casts,) = (n for n in graph.of(Together) if isinstance(graph.op(n).each, Cast))
        assert order.index(casts) < min(map(order.index, graph.of(Conv)))

    def test_gradients_of_a_weight_that_two_layers_share_are_summed_in_float32(self) -> None:
        graph = chain("input 6x6x4 -> conv 4, 3x3, bias=false -> conv 4, 3x3, bias=false -> fc 3")
        first, second = graph.of(Conv)
        graph.rewire(second, 1, graph.operands(first)[1])
        graph.prune()
        step = training_graph(graph, Objective(precision="bfloat16"), fusions=TOGETHER)
        kinds = [op for node in step.nodes() if (op := step.op(node)).name.endswith("ght_gradient")]
        assert [(op.name, op.weight.dtype) for op in kinds] == [
            ("fc_weight_gradient", "bfloat16"),
            ("conv_weight_gradient", "float32"),
            ("conv_weight_gradient", "float32"),
        ]

    def test_in_inference_weights_are_cast_once_and_apart(self) -> None:
        kernels = planned_kernels(chain(ODD), "inference", Objective(), Planned(), 4)
        assert not [name for name, _ in kernels if name.endswith("more")]

    def test_it_says_how_many_it_is(self) -> None:
        op, types = Together(SGD(), 2), (Type((27,)), Type((27,)), Type(()), Type((3,)), Type((3,)))
        assert op.infer(*types, Type(())) == (Type((27,)), Type((3,)))
        assert op.spell(*types, Type(())) == "2 x sgd"
        assert op.flops((Type((27,)), Type((3,))), *types, Type(())) == SGD.operations * 30


def launches(objective: Objective, text: str = ODD) -> list[tuple[str, Launch]]:
    kernels = planned_kernels(chain(text), "training", objective, Planned(), 4)
    return [
        (name, task)
        for name, kernel in kernels
        if isinstance(kernel, CudaKernel)
        for task in kernel.recipe.tasks
        if isinstance(task, Launch)
    ]


def test_updates_are_a_launch_for_each_element_type_of_gradients_and_one_for_averages() -> None:
    many = [task for name, task in launches(Objective()) if name.endswith("more")]
    assert [(task.source.entry, task.grid) for task in many] == [
        ("running_average_together", (4, 1, 1)),
        ("sgd_together", (9, 1, 1)),
    ]
    found = launches(Objective(precision="bfloat16"))
    many = [(task.source.entry, name) for name, task in found if name.endswith("more")]
    kinds = ["cast_together", "running_average_together", "sgd_together", "sgd_together"]
    assert sorted(kind for kind, _ in many) == kinds
    assert sum(1 + int(name.split()[-2]) for kind, name in many if kind == "sgd_together") == 9


def test_a_large_tensor_has_many_blocks_and_a_small_one_has_one() -> None:
    sizes = 3 * together.CHUNK + 5, 1, together.CHUNK
    types = [type for size in sizes for type in (Type((size,)), Type((size,)), Type(()))]
    recipe = together.together(Together(SGD(), 3), tuple(types), tuple(types[::3]))
    (task,) = recipe.tasks
    assert task.grid == (6, 1, 1)
    table, parts, rate = task.arguments
    assert table == Table(((0, 1, 9), (3, 4, 10), (6, 7, 11)))
    assert rate == 2
    whole = together.CHUNK
    each = [(0, 0, whole), (0, 1, whole), (0, 2, whole), (0, 3, 5), (1, 0, 1), (2, 0, whole)]
    assert parts == Constant(tuple(number for part in each for number in part))
    assert recipe.may_alias == ((0, 0), (1, 3), (2, 6))


def test_a_moved_recipe_moves_its_tables() -> None:
    table, numbers = Table(((0, Scratch(4, 8)), (1, 2))), Constant((1, 2))
    task = Launch(Source("together.cu", "f", ()), (1, 1, 1), (32, 1, 1), (table, numbers, 2))
    (moved,) = Recipe((task,), 16).moved((7, 8, 9), 64).tasks
    assert moved.arguments == (Table(((7, Scratch(68, 8)), (8, 9))), numbers, 9)


def executed(op: Op, arrays: list[np.ndarray], made: list[np.ndarray]) -> None:
    """Run an operation's kernels in the simulator on arrays, from which types are taken."""
    types = [tuple(Type(a.shape, a.dtype.name) for a in each) for each in (arrays, made)]
    simulated.Engine().kernel(op, *types).bind(*arrays, *made)()


class TestKernels:
    pytestmark = SIMULATED

    @pytest.mark.parametrize("optimizer", OPTIMIZERS)
    def test_a_step_is_that_of_the_reference(self, optimizer) -> None:
        graph, objective = chain(ODD), Objective(optimizer=optimizer)
        found, expected = (
            step(graph, each, objective=objective)[0] for each in (simulated.Engine(), REFERENCE)
        )
        assert_agree(found, expected, 2e-5)

    @pytest.mark.parametrize("precision", PRECISIONS)
    @pytest.mark.parametrize("optimizer", OPTIMIZERS)
    def test_a_step_is_that_of_a_launch_for_each_tensor_to_the_bit(
        self, optimizer, precision
    ) -> None:
        """An optimizer that reads a short gradient computes with the numbers of the wide one."""
        graph, objective = chain(ODD), Objective(optimizer=optimizer, precision=precision)
        engines = simulated.Engine(), apart(simulated.Engine())
        assert_same(*(stepped(graph, engine, objective, 2) for engine in engines))

    @pytest.mark.parametrize("shift", [0, 1, 3])
    @pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
    def test_arrays_of_any_length_may_begin_anywhere(self, dtype: str, shift: int) -> None:
        """Arrays that overlap are as far apart in the simulator as they are here."""
        sizes = 2 * together.CHUNK + 8, 3, 10, 27, 2 * together.CHUNK + 5
        random = np.random.default_rng(0)
        whole = random.normal(size=sizes[0]).astype(dtype)
        rate = np.full((), 0.5, np.float32)
        arrays, made, expected = [], [], []
        for size in sizes:
            w, v = random.normal(size=(2, size)).astype(np.float32)
            g = whole[shift : shift + size] if size < sizes[0] else whole
            arrays += w, g, v, rate
            made += w, v
            moved = np.float32(0.75) * v + g.astype(np.float32)
            expected += w - rate * moved, moved
        executed(Together(SGD(momentum=0.75), len(sizes)), arrays, made)
        for found, wanted in zip(made, expected, strict=True):
            np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=1e-6)

    def test_a_result_that_nobody_reads_is_not_written(self) -> None:
        x = [np.arange(n, dtype=np.float32) for n in (3, 27)]
        kernel = simulated.Engine().kernel(
            Together(Cast("bfloat16"), 2),
            tuple(Type(a.shape) for a in x),
            tuple(Type(a.shape, "bfloat16") for a in x),
        )
        y = np.zeros(27, "bfloat16")
        kernel.bind(*x, None, y)()
        np.testing.assert_array_equal(y.astype(np.float32), x[1])

    @pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
    def test_what_is_not_finite_is_found_wherever_it_is(self, wrong: float) -> None:
        sizes = {"float32": (3, 2 * together.CHUNK + 1), "float16": (10, 27)}
        arrays = [np.ones(size, dtype) for dtype, each in sizes.items() for size in each]
        finite = np.zeros((), np.float32)
        executed(AllFinite(), arrays, [finite])
        assert finite == 1
        for array in arrays:
            array[-1] = wrong
            executed(AllFinite(), arrays, [finite])
            assert finite == 0
            array[-1] = 1
        few = [np.array([1, wrong], np.float32)]
        executed(AllFinite(), few, [finite])
        assert finite == 0
        few[0][1] = 2
        executed(AllFinite(), few, [finite])
        assert finite == 1


@pytest.mark.gate
@pytest.mark.skipif(nvrtc.unavailable() is not None, reason=str(nvrtc.unavailable()))
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_three_quarters_of_a_gpus_warps_have_room(optimizer, precision: str) -> None:
    sources = {
        task.source for _, task in launches(Objective(optimizer=optimizer, precision=precision))
    }
    for source in sources:
        if source.template == "together.cu":
            found = nvrtc.compiled(source, "sm_90")
            assert found.spilled == 0, source.entry
            assert found.registers <= 65536 // (6 * 256), source.entry


class TestPlantedMistakes:
    pytestmark = SIMULATED

    def test_a_count_that_is_too_large_is_found(self, monkeypatch) -> None:
        monkeypatch.setattr(together, "count_of", lambda type: type.elements + 1)
        said = (
            r"kernel (not_finite|\w+_together), block .*"
            r" byte \d+ of array \d+ of argument 0, .* behind its end"
        )
        with pytest.raises(simulator.Fault, match=said):
            step(chain(ODD), simulated.Engine())

    def test_a_count_that_is_too_small_leaves_a_state_as_it_was(self, monkeypatch) -> None:
        graph = chain(ODD)
        right = step(graph, simulated.Engine())[0]
        monkeypatch.setattr(together, "count_of", lambda type: max(1, type.elements - 1))
        wrong = step(graph, simulated.Engine())[0]
        with pytest.raises(AssertionError):
            assert_agree(wrong, right, 2e-5)

    def test_a_misaligned_access_is_found(self, monkeypatch) -> None:
        original = Source.text.fget
        text = property(lambda source: original(source).replace("address % 16", "false"))
        monkeypatch.setattr(Source, "text", text)
        x = np.zeros(28, np.float32)
        y = [np.zeros(size, "bfloat16") for size in (28, 27)]
        with pytest.raises(simulator.Fault, match="misaligned"):
            executed(Together(Cast("bfloat16"), 2), [x, x[1:]], y)
