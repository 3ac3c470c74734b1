"""Softmax, cross-entropy and the gradient of the logits in one kernel."""

from __future__ import annotations

import numpy as np
import pytest
from comparing import REFERENCE, Arrays, assert_agree, fill
from test_onednn import chain, network

from cnndsl.backends.cuda import nvrtc, simulated, simulator
from cnndsl.backends.cuda.engine import CudaEngine, CudaKernel
from cnndsl.backends.cuda.launch import Launch, Source
from cnndsl.backends.cuda.planned import Engine as Planned
from cnndsl.compile import Objective, compile_training, planned_kernels, training_graph
from cnndsl.graph.autodiff import add_gradients
from cnndsl.graph.graph import Graph, Value
from cnndsl.graph.leaves import Input, Parameter
from cnndsl.graph.op import Initial, Op
from cnndsl.graph.rewrite import Event, optimise
from cnndsl.graph.types import BATCH, Batch, Type, vector_type
from cnndsl.ops.loss import (
    CrossEntropy,
    CrossEntropyGradient,
    CrossEntropyWithGradient,
    MeanSquaredError,
)
from cnndsl.ops.merge import Multiply
from cnndsl.ops.optimizer import SGD
from cnndsl.passes.gpu import gradient_with_loss
from cnndsl.runtime.lower import planned_bytes
from cnndsl.runtime.schedule import schedule

SIMULATED = [
    pytest.mark.gate,
    pytest.mark.skipif(simulator.unavailable() is not None, reason=str(simulator.unavailable())),
]

TEXT = "input 6x6x8 -> conv 8, 3x3 -> relu -> fc 4"
MAP = "input 6x6x8 -> conv 8, 3x3 -> relu -> avgpool global -> conv 4, 1x1"
HEADS = (
    "input 6x6x8 -> conv 8, 3x3 -> aux 0.3 { avgpool global -> fc 4 } -> relu"
    " -> aux 0.7 { avgpool global -> conv 4, 1x1 } -> conv 8, 3x3 -> fc 4"
)
SMOOTH = CrossEntropy(label_smoothing=0.1)


def apart(engine: CudaEngine) -> CudaEngine:
    """The engine with two kernels."""
    engine.fusions = tuple(rewrite for rewrite in engine.fusions if rewrite != gradient_with_loss)
    return engine


def fused(graph: Graph) -> list[Op]:
    """The operations of a graph after the rewrite alone."""
    optimise(graph, (gradient_with_loss,))
    return [graph.op(node) for node in graph.nodes()]


def loss_of_logits(loss: CrossEntropy) -> tuple[Graph, tuple[Value, ...]]:
    """A graph of a loss, and the values: the loss, the probabilities."""
    graph = Graph()
    logits = graph.add(Parameter(vector_type(4), Initial()), name="x")[0]
    labels = graph.add(Input(Type((BATCH,), "int64")), name="labels")[0]
    graph.inputs["labels"] = labels
    return graph, graph.add(loss, logits, labels)


def differentiated(graph: Graph, loss: Value, **outputs: Value) -> None:
    (gradient,) = add_gradients(graph, loss).values()
    graph.outputs = {"loss": loss, "gradient": gradient, **outputs}
    graph.prune()


class TestGraphs:
    def test_both_become_one_with_the_smoothing_of_the_loss(self) -> None:
        graph, (loss, _) = loss_of_logits(SMOOTH)
        differentiated(graph, loss)
        ops = fused(graph)
        assert CrossEntropyWithGradient(SMOOTH) in ops
        assert not [op for op in ops if isinstance(op, (CrossEntropy, CrossEntropyGradient))]

    def test_probabilities_that_something_else_reads_stay(self) -> None:
        graph, (loss, probabilities) = loss_of_logits(SMOOTH)
        differentiated(graph, loss, probabilities=probabilities)
        assert SMOOTH in fused(graph)

    def test_a_gradient_that_waits_for_the_loss_stays(self) -> None:
        """The gradient of the loss's square is multiplied by the loss."""
        graph, (loss, _) = loss_of_logits(SMOOTH)
        differentiated(graph, graph.apply(Multiply(), loss, loss))
        assert SMOOTH in fused(graph)

    def test_another_loss_stays(self) -> None:
        events: list[Event] = []
        objective = Objective(loss=MeanSquaredError())
        training_graph(chain(TEXT), objective, (), (gradient_with_loss,), events)
        assert not events

    @pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
    @pytest.mark.parametrize("text", [TEXT, HEADS])
    def test_a_loss_is_computed_when_it_was(self, text: str, precision: str) -> None:
        """Before anything of the backward pass, and so before any state is written."""
        objective = Objective(precision=precision)
        graph = training_graph(chain(text), objective, (), (gradient_with_loss,))
        order = schedule(graph)
        losses = graph.of(CrossEntropyWithGradient)
        backward = [n for n in order if graph.op(n).name.endswith("_gradient") and n not in losses]
        written = {value.node for value in graph.updates.values()}
        last = max(map(order.index, losses))
        assert last < min(map(order.index, backward))
        assert last < min(map(order.index, written))

    @pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
    @pytest.mark.parametrize(
        ("reference", "size"), [("resnet:resnet50", "64x64x3"), ("googlenet:googlenet", "96x96x3")]
    )
    def test_a_step_takes_no_more_memory(self, reference: str, size: str, precision: str) -> None:
        objective, graph = Objective(precision=precision), network(reference, size)
        found = []
        for engine in (Planned(), apart(Planned())):
            step = training_graph(graph, objective, fusions=engine.fusions)
            found.append(planned_bytes(step, engine, 8))
        assert found[0] <= found[1]


def type_of(shape: tuple[int, ...], dtype: str = "float32") -> Type:
    return Type((Batch(shape[0]), *shape[1:]) if shape else (), dtype)


def executed(
    op: Op, engine, arrays: list[np.ndarray], *shapes: tuple[int, ...]
) -> list[np.ndarray]:
    """The results of an operation's kernel, of these shapes, on arrays."""
    made = [np.empty(shape, np.float32) for shape in shapes]
    given = tuple(type_of(a.shape, a.dtype.name) for a in arrays)
    kernel = engine.kernel(op, given, tuple(map(type_of, shapes)))
    scratch = [engine.allocate(kernel.workspace)] if kernel.workspace else []
    kernel.bind(*arrays, *made, *scratch)()
    return made


class TestKernels:
    pytestmark = SIMULATED

    @pytest.mark.parametrize("factor", [1.0, 0.3, 2.0**16])
    @pytest.mark.parametrize("smoothing", [0.0, 0.1])
    @pytest.mark.parametrize("classes", [1, 3, 10, 32, 1000])
    @pytest.mark.parametrize("images", [1, 13])
    def test_a_row_is_that_of_the_reference(self, images, classes, smoothing, factor) -> None:
        random = np.random.default_rng(classes)
        logits = random.normal(size=(images, classes)).astype(np.float32) * 5
        arrays = [logits, random.integers(0, classes, images), np.full((), factor, np.float32)]
        op = CrossEntropyWithGradient(CrossEntropy(label_smoothing=smoothing))
        found, expected = (
            executed(op, engine, arrays, (), logits.shape)
            for engine in (simulated.Engine(), REFERENCE)
        )
        np.testing.assert_allclose(found[0], expected[0], rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(found[1], expected[1], rtol=1e-5, atol=1e-7 * factor)

    @pytest.mark.parametrize("logits", [(3, 7), (3, 1, 1, 7)])
    def test_both_results_are_those_of_two_kernels_to_the_bit(self, logits) -> None:
        engine, both = simulated.Engine(), CrossEntropyWithGradient(SMOOTH)
        x = np.random.default_rng(0).normal(size=logits).astype(np.float32)
        labels, dloss = np.array([6, 0, 3]), np.full((), 0.3, np.float32)
        found = executed(both, engine, [x, labels, dloss], (), logits)
        loss, probabilities = executed(SMOOTH, engine, [x, labels], (), (3, 7))
        gradient = CrossEntropyGradient(SMOOTH, type_of(logits))
        (slopes,) = executed(gradient, engine, [probabilities, labels, dloss], logits)
        np.testing.assert_array_equal(found[0], loss)
        np.testing.assert_array_equal(found[1], slopes)

    @pytest.mark.parametrize("wrong", [np.nan, np.inf])
    def test_a_logit_that_is_not_finite_is_seen_in_the_loss(self, wrong: float) -> None:
        logits = np.zeros((3, 40), np.float32)
        logits[1, 37] = wrong
        arrays = [logits, np.array([0, 1, 2]), np.ones((), np.float32)]
        op = CrossEntropyWithGradient(CrossEntropy())
        loss, slopes = executed(op, simulated.Engine(), arrays, (), (3, 40))
        assert np.isnan(loss)
        assert np.isfinite(slopes[[0, 2]]).all()

    @pytest.mark.parametrize("loss", [CrossEntropy(), SMOOTH])
    @pytest.mark.parametrize("text", [TEXT, MAP, HEADS])
    def test_a_step_is_that_of_the_reference(self, text: str, loss: CrossEntropy) -> None:
        objective = Objective(loss, SGD(momentum=0.9))
        engines = simulated.Engine(), REFERENCE
        assert_agree(*(stepped(text, engine, objective) for engine in engines), 2e-5)

    @pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
    @pytest.mark.parametrize("text", [TEXT, MAP, HEADS])
    def test_a_step_is_that_of_two_kernels_to_the_bit(self, text: str, precision: str) -> None:
        objective = Objective(SMOOTH, SGD(momentum=0.9), precision=precision)
        found, expected = (
            stepped(text, engine, objective)
            for engine in (simulated.Engine(), apart(simulated.Engine()))
        )
        assert list(found) == list(expected)
        for name, value in expected.items():
            np.testing.assert_array_equal(found[name], value, err_msg=name)


class TestPlantedMistakes:
    pytestmark = SIMULATED

    @pytest.mark.parametrize(
        ("right", "wrong"),
        [
            ("c == label, above", "c == lane, above"),
            ("dx[row * LENGTH + c]", "dx[c]"),
            ("dloss / ROWS", "dloss"),
            ("const float above = number(dloss[0])", "const float above = 1.0f"),
            ("SMOOTHING / LENGTH - wanted", "wanted"),
            ("across(exponentials, Plus())", "exponentials"),
        ],
    )
    def test_a_mistake_is_found(self, right: str, wrong: str, monkeypatch) -> None:
        random, op = np.random.default_rng(0), CrossEntropyWithGradient(SMOOTH)
        logits = random.normal(size=(13, 40)).astype(np.float32)
        arrays = [logits, random.integers(0, 40, 13), np.full((), 0.3, np.float32)]
        _, expected = executed(op, REFERENCE, arrays, (), (13, 40))
        text = Source.text.fget
        monkeypatch.setattr(Source, "text", property(lambda s: text(s).replace(right, wrong)))
        _, found = executed(op, simulated.Engine(), arrays, (), (13, 40))
        with pytest.raises(AssertionError):
            np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7)


def stepped(text: str, engine, objective: Objective) -> Arrays:
    """The loss, and every state after a step, the scale of losses being small enough."""
    program = compile_training(chain(text), objective, engine, 4)
    fill(program)
    if "loss_scale" in program.states:
        program.write("loss_scale", np.float32(1024))
    program.write("tally", np.zeros(4, np.float32))
    program.run()
    return {name: program.read(name) for name in ("loss", *program.states)}


def launches(text: str) -> list[Source]:
    kernels = planned_kernels(chain(text), "training", Objective(SMOOTH), Planned(), 64)
    recipes = [kernel.recipe for _, kernel in kernels if isinstance(kernel, CudaKernel)]
    return [task.source for r in recipes for task in r.tasks if isinstance(task, Launch)]


@pytest.mark.parametrize(("text", "losses"), [(TEXT, 1), (HEADS, 3)])
def test_a_step_has_one_launch_for_each_loss_and_its_gradient(text: str, losses: int) -> None:
    entries = [source.entry for source in launches(text) if source.template == "rows.cu"]
    assert sorted(entries) == ["correct"] + ["cross_entropy_with_gradient"] * losses


@pytest.mark.gate
@pytest.mark.skipif(nvrtc.unavailable() is not None, reason=str(nvrtc.unavailable()))
def test_half_of_a_gpus_warps_have_room() -> None:
    (source,) = {s for s in launches(TEXT) if s.entry == "cross_entropy_with_gradient"}
    found = nvrtc.compiled(source, "sm_90")
    assert found.spilled == 0
    assert found.registers <= 65536 // (4 * 256)
