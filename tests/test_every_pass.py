"""Every rewrite is the equation that it says: on its examples, and on the zoo, in float64."""

from __future__ import annotations

import random

import numpy as np
import pytest
from rewriting import (
    ENGINE,
    PATHS,
    ZOO,
    assert_same,
    close,
    fill,
    fired,
    gradients,
    inference,
    model,
    shrunken,
)

from cnndsl import passes
from cnndsl.backends import get_backend
from cnndsl.backends.cuda.engine import CudaEngine
from cnndsl.cli.optimize import costs, whole
from cnndsl.compile import Objective, rewrites_for, training_graph
from cnndsl.graph import analysis
from cnndsl.graph.graph import Graph
from cnndsl.graph.rewrite import Event, Rewrite, optimise
from cnndsl.ops.conv import Conv
from cnndsl.passes import FOR_INFERENCE, FOR_TRAINING, GRADIENTS
from cnndsl.passes.chains import CHAINS
from cnndsl.passes.gpu import (
    ON_A_GPU,
    accumulation_in_epilogue,
    activation_in_batchnorm,
    gradient_with_loss,
    slope_in_epilogue,
)
from cnndsl.passes.inference import for_inference
from cnndsl.passes.training import for_training, freeze
from cnndsl.runtime.lower import lower

FUSIONS = (*passes.FUSIONS, *CHAINS)
ALL = (*FOR_INFERENCE, *FUSIONS)
FORWARD = [rewrite for rewrite in ALL if rewrite not in GRADIENTS]
EXAMPLES = [(r, e) for r in FORWARD for e in r.fires_on]
ASKED_FOR = tuple(dict.fromkeys((*FUSIONS, *ON_A_GPU)))
IN_TRAINING = [(r, e) for r in (*FOR_TRAINING, *ASKED_FOR) for e in r.fires_on]
#: Those that are of training alone: what they look for is there once gradients are.
OF_GRADIENTS = (
    *GRADIENTS,
    activation_in_batchnorm,
    gradient_with_loss,
    accumulation_in_epilogue,
    slope_in_epilogue,
)
EXCEPTIONS = [(r, e) for r in FORWARD for e in r.leaves_alone]


def work(graph: Graph) -> tuple[int, int]:
    nodes = analysis.layers(graph)
    return sum(analysis.multiply_adds(graph, n) for n in nodes), len(nodes)


#: Networks with which every trial is long: large fully connected layers, or many like a smaller
#: network's.
LARGE = ("alexnet:alexnet", "vgg:vgg16_bn", "densenet:densenet121")


@pytest.mark.parametrize(("rewrite", "example"), EXAMPLES, ids=lambda x: getattr(x, "name", x))
def test_a_rewrite_fires_on_its_examples_and_changes_no_number(
    rewrite: Rewrite, example: str
) -> None:
    graph = model(example)
    changed = graph.copy()
    for_inference(changed)
    before = work(changed)
    assert rewrite.name in fired(changed, (rewrite,))
    assert fired(changed, (rewrite,)) == []
    assert work(changed)[0] <= before[0]
    assert close(inference(graph, ()), inference(graph, (rewrite,)))


@pytest.mark.parametrize(("rewrite", "example"), EXCEPTIONS, ids=lambda x: getattr(x, "name", x))
def test_a_rewrite_leaves_alone_what_it_says(rewrite: Rewrite, example: str) -> None:
    changed = model(example)
    for_inference(changed)
    assert fired(changed, (rewrite,)) == []


@pytest.mark.parametrize(("rewrite", "example"), IN_TRAINING, ids=lambda x: getattr(x, "name", x))
def test_a_rewrite_for_training_changes_no_gradient(rewrite: Rewrite, example: str) -> None:
    graph = model(f"{example} -> fc 3")
    fusion = rewrite in ASKED_FOR
    first = gradients(graph, ())
    second = gradients(graph, () if fusion else (rewrite,), (rewrite,) if fusion else ())
    assert_same(first, second)


@pytest.mark.parametrize("rewrite", OF_GRADIENTS, ids=lambda rewrite: rewrite.name)
def test_a_rewrite_of_gradients_fires_where_it_says_and_nowhere_else(rewrite: Rewrite) -> None:
    for examples, fires in ((rewrite.fires_on, True), (rewrite.leaves_alone, False)):
        for example in examples:
            events: list[Event] = []
            graph = model(f"{example} -> fc 3, bias=false")
            training_graph(graph, Objective(), (), (rewrite,), events)
            assert bool(events) == fires, example


@pytest.mark.parametrize("reference", ZOO)
def test_the_zoo_computes_the_same_in_inference(reference: str) -> None:
    graph = shrunken(reference)
    assert close(inference(graph, ()), inference(graph, FOR_INFERENCE, FUSIONS))


@pytest.mark.parametrize("reference", ZOO)
def test_the_zoo_has_the_same_gradients(reference: str) -> None:
    graph = shrunken(reference)
    expected = gradients(graph, ())
    for fusions in (FUSIONS, CudaEngine.fusions):
        assert_same(expected, gradients(graph, FOR_TRAINING, fusions))


@pytest.mark.parametrize("reference", [name for name in ZOO if name not in LARGE])
def test_each_rewrite_alone_changes_no_number_of_the_zoo(reference: str) -> None:
    graph = shrunken(reference)
    logits, slopes = inference(graph, ()), gradients(graph, ())
    for rewrite in ALL:
        lists = ((), (rewrite,)) if rewrite in FUSIONS else ((rewrite,), ())
        if rewrite in GRADIENTS:
            assert_same(slopes, gradients(graph, *lists))
        changed = graph.copy()
        for_inference(changed)
        if fired(changed, (rewrite,)):
            assert close(logits, inference(graph, *lists)), rewrite.name
            if rewrite in FOR_TRAINING or rewrite in FUSIONS:
                assert_same(slopes, gradients(graph, *lists))


#: Where memory is given for something: many narrow paths run at once as a wide one, a transition's
#: pooled map is kept for its weight's gradient, and (at this size alone) a kernel's scratch. Where
#: bytes are: an engine recomputes of its own accord what is cheap.
TRADED = {
    ("resnext:beside50", "inference"): {"peak_bytes": 1.59},
    ("inception:inception", "inference"): {"peak_bytes": 1.05},
    ("densenet:cifar_densenet", "inference"): {"peak_bytes": 1.09},
    ("cells:cells", "inference"): {"peak_bytes": 1.21},
    ("densenet:cifar_densenet", "training"): {"peak_bytes": 1.03},
    ("resnet:resnet18", "inference"): {"peak_bytes": 1.02},
    ("convnext:convnext_t", "inference"): {"peak_bytes": 1.12},
    ("convnext:convnext_t", "training"): {"peak_bytes": 1.01},
    ("mobilenet:mobilenet_v2", "training"): {"bytes": 1.01},
}


@pytest.mark.parametrize("use", ["inference", "training"])
@pytest.mark.parametrize("reference", ZOO)
@pytest.mark.parametrize("engine", sorted({get_backend().name, "numpy"}))
def test_the_zoo_never_costs_more(engine: str, reference: str, use: str) -> None:
    backend = get_backend(engine)
    graph = shrunken(reference, "float32")
    rewrites = rewrites_for(backend, FOR_INFERENCE if use == "inference" else FOR_TRAINING)
    before = costs(whole(graph, use, (), ()), backend)
    after = costs(whole(graph, use, rewrites, backend.fusions), backend)
    traded = TRADED.get((reference, use), {})
    for what in before:
        assert after[what] <= traded.get(what, 1) * before[what], what


@pytest.mark.parametrize("reference", ZOO)
def test_rewriting_again_changes_nothing(reference: str) -> None:
    graph = shrunken(reference)
    for make, rewrites in ((for_inference, FOR_INFERENCE), (for_training, FOR_TRAINING)):
        changed = graph.copy()
        make(changed)
        fired(changed, rewrites)
        assert fired(changed, rewrites) == []


@pytest.mark.parametrize("reference", ["googlenet:googlenet", "densenet:cifar_densenet", PATHS])
def test_the_order_of_rewrites_does_not_matter_to_costs(reference: str) -> None:
    graph = shrunken(reference)
    for make, rewrites in ((for_inference, FOR_INFERENCE), (for_training, FOR_TRAINING)):
        found = set()
        for seed in range(20):
            changed = graph.copy()
            make(changed)
            order = list(rewrites)
            random.Random(seed).shuffle(order)
            optimise(changed, order)
            found.add(work(changed))
        assert len(found) == 1


@pytest.mark.parametrize(
    "rewrite", dict.fromkeys([*ALL, *FOR_TRAINING]), ids=lambda rewrite: rewrite.name
)
def test_a_rewrite_states_its_equation(rewrite: Rewrite) -> None:
    assert rewrite.equation
    assert rewrite.fires_on
    assert rewrite.leaves_alone


def test_towers_of_any_height_are_merged() -> None:
    tower = " -> ".join(["conv 2, 3x3 -> relu"] * 30)
    graph = model(f"input 4x4x1 -> concat {{ | {tower} | {tower} }} -> fc 3")
    for_inference(graph)
    optimise(graph, FOR_INFERENCE)
    assert len([n for n in analysis.layers(graph) if graph.op(n).name == "conv"]) == 30


def test_slices_of_slices_are_merged_without_more_work() -> None:
    graph = model(
        "input 6x6x8 as a -> concat { | slice 0..4 -> conv 4, 3x3 as b"
        " -> concat { | slice 0..2 -> conv 2, 3x3 | from b -> slice 2..4 -> conv 2, 3x3 }"
        " | from a -> slice 4..8 -> conv 4, 3x3 } -> fc 3"
    )
    assert_same(gradients(graph, ()), gradients(graph, FOR_TRAINING, FUSIONS))
    changed = graph.copy()
    optimise(changed, FOR_TRAINING)
    assert work(changed)[0] == work(graph)[0]


def test_a_frozen_sibling_is_left_apart() -> None:
    graph = model("input 6x6x3 -> concat { | conv 4, 3x3 | conv 4, 3x3 | conv 4, 3x3 } -> fc 3")
    freeze(graph, ("conv1",))
    fired(graph, FOR_TRAINING)
    filters = [graph.op(n).filters for n in graph.of(Conv)]
    assert sorted(filters) == [4, 8]


def test_densenets_transitions_have_a_quarter_of_the_work() -> None:
    graph = shrunken("densenet:densenet121")
    changed = graph.copy()
    for_training(changed)
    before, _ = work(changed)
    assert fired(changed, FOR_TRAINING).count("average_before_pointwise") == 3
    assert work(changed)[0] < before


def test_resnets_batch_norms_all_vanish() -> None:
    graph = shrunken("resnet:resnet18")
    for_inference(graph)
    assert fired(graph, FOR_INFERENCE).count("fold_batchnorm") == 20
    assert not [n for n in analysis.layers(graph) if graph.op(n).name == "bn"]


def test_derived_weights_are_computed_once_and_again_when_weights_change() -> None:
    graph = model("input 6x6x3 -> conv 4, 3x3 -> bn -> relu")
    for_inference(graph)
    optimise(graph, FOR_INFERENCE)
    program = lower(graph, ENGINE, 2)
    assert [step.text.split()[0] for step in program.steps] == ["conv", "relu"]
    assert len(program.setup) == 3
    fill(program, graph, 2)
    program.run()
    first = program.read("logits")
    program.run()
    np.testing.assert_array_equal(first, program.read("logits"))
    program.write("bn1.gamma", 2 * program.read("bn1.gamma"))
    program.write("bn1.beta", 2 * program.read("bn1.beta"))
    program.run()
    np.testing.assert_allclose(2 * first, program.read("logits"))
