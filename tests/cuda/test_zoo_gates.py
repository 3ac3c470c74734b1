"""What a GPU would execute for the networks of the zoo: every kernel compiles, every plan exists,
and whole steps computed thread by thread are those of the reference."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from deviceless import Planner
from gpu_checks import distance, fill

from cnndsl.backends import get_backend
from cnndsl.backends.cuda import nvrtc, simulated, simulator
from cnndsl.backends.cuda.cudnn import Description
from cnndsl.backends.cuda.engine import CudaKernel
from cnndsl.backends.cuda.launch import Launch, Source, Task
from cnndsl.backends.cuda.planned import Engine as Planned
from cnndsl.compile import Objective, compile_training, elaborate_file, planned_kernels
from cnndsl.graph.types import Size
from cnndsl.ops.optimizer import SGD
from cnndsl.resources import resource

pytestmark = pytest.mark.gate

#: One of each family, at the size of its paper, and a batch that fills a large GPU.
NETWORKS = {
    "resnet:resnet20": 512,
    "resnet:resnet50": 256,
    "googlenet:googlenet": 256,
    "mobilenet:mobilenet_v2": 256,
    "alexnet:alexnet": 512,
    "densenet:densenet121": 128,
    "vgg:vgg16": 128,
    "resnext:resnext50_32x4d": 256,
    "mobilenet:mobilenet_v1": 256,
    "lenet:lenet": 128,
}
#: Those that are gated every time; the others when there is more of it.
FIRST = ("resnet:resnet20", "resnet:resnet50", "googlenet:googlenet", "mobilenet:mobilenet_v2")
#: Whole steps, on images as small as the windows allow.
STEPS = {
    "lenet:lenet": "32x32x1",
    "alexnet:alexnet": "67x67x3",
    "vgg:vgg11": "32x32x3",
    "resnet:resnet20": "16x16x3",
    "mobilenet:mobilenet_v1": "64x64x3",
    "googlenet:googlenet": "96x96x3",
    "resnet:resnet50": "32x32x3",
    "densenet:cifar_densenet": "16x16x3",
    "mobilenet:mobilenet_v2": "96x96x3",
}
FIRST_STEPS = ("alexnet:alexnet", "resnet:resnet20", "mobilenet:mobilenet_v1")
ARCHITECTURES = ("sm_80", "sm_90", "sm_100")
#: Bytes of a thread's registers that may be spilled: none.
MOST_SPILLED = 0


def marked(names: dict, first: tuple[str, ...]) -> list:
    return [name if name in first else pytest.param(name, marks=pytest.mark.slow) for name in names]


@cache
def tasks_of(reference: str, precision: str = "bfloat16") -> tuple[Task, ...]:
    """What inference and a training step launch and call."""
    file, name = reference.split(":")
    graph = elaborate_file(resource("zoo") / f"{file}.cnn", name).graph
    objective = Objective(optimizer=SGD(momentum=0.9), precision=precision)
    return tuple(
        task
        for use in ("inference", "training")
        for _, kernel in planned_kernels(graph, use, objective, Planned(), NETWORKS[reference])
        if isinstance(kernel, CudaKernel)
        for task in kernel.recipe.tasks
    )


def sources_of(reference: str) -> list[Source]:
    tasks = tasks_of(reference)
    return list(dict.fromkeys(task.source for task in tasks if isinstance(task, Launch)))


@pytest.mark.skipif(nvrtc.unavailable() is not None, reason=str(nvrtc.unavailable()))
@pytest.mark.parametrize(
    "architecture",
    [a if a == "sm_90" else pytest.param(a, marks=pytest.mark.slow) for a in ARCHITECTURES],
)
@pytest.mark.parametrize("reference", marked(NETWORKS, FIRST))
def test_every_kernel_compiles_and_keeps_to_its_registers(
    reference: str, architecture: str
) -> None:
    for source in sources_of(reference):
        found = nvrtc.compiled(source, architecture)
        assert found.spilled <= MOST_SPILLED, (source.entry, found)
        assert 0 < found.registers <= 128, (source.entry, found)
        assert found.shared <= 48 * 1024, (source.entry, found)


@pytest.mark.skipif(nvrtc.unavailable() is not None, reason=str(nvrtc.unavailable()))
def test_a_spill_is_seen() -> None:
    many = "".join(f"float v{i} = x[{i} * count];" for i in range(400))
    used = "".join(f"x[{i}] = v{i} * v{399 - i};" for i in range(400))
    kernel = f'extern "C" __global__ void spilling(float *x, int count) {{ {many} {used} }}'
    rest = "constexpr long long COUNT = 1;", "constexpr float FACTOR = 1.0f;"
    term = "#define PARAMETERS const float *x", "#define TERM x[i]"
    source = Source("total.cu", "spilling", (kernel, *rest, *term))
    assert nvrtc.compiled(source, "sm_90").spilled > MOST_SPILLED


@pytest.mark.skipif(nvrtc.unavailable() is not None, reason=str(nvrtc.unavailable()))
def test_a_kernel_that_does_not_compile_is_said_to() -> None:
    broken = Source("total.cu", "total", ("#define PARAMETERS nonsense",))
    with pytest.raises(ValueError, match=r"total for sm_90: .*error"):
        nvrtc.compiled(broken, "sm_90")


@pytest.mark.parametrize("precision", ["float16", "float32"])
def test_other_precisions_have_kernels_and_plans_too(planner: Planner, precision: str) -> None:
    for task in dict.fromkeys(tasks_of("resnet:resnet20", precision)):
        if not isinstance(task, Launch):
            assert planner.plan("sm_90", task.description).candidates > 0
        elif nvrtc.unavailable() is None:
            assert nvrtc.compiled(task.source, "sm_90").spilled <= MOST_SPILLED


@pytest.mark.parametrize("reference", marked(NETWORKS, FIRST))
def test_every_call_of_the_library_has_a_plan(planner: Planner, reference: str) -> None:
    calls = [task for task in tasks_of(reference) if not isinstance(task, Launch)]
    descriptions: list[Description] = list(dict.fromkeys(call.description for call in calls))
    assert descriptions
    for description in descriptions:
        assert planner.plan("sm_90", description).candidates > 0


@pytest.mark.skipif(simulator.unavailable() is not None, reason=str(simulator.unavailable()))
@pytest.mark.parametrize("reference", marked(STEPS, FIRST_STEPS))
def test_a_whole_step_is_that_of_the_reference(reference: str) -> None:
    """No farther from it than three times the CPU engine's distance, whose sums are as exact."""
    file, name = reference.split(":")
    network = elaborate_file(
        resource("zoo") / f"{file}.cnn",
        name,
        parameters={"classes": 10},
        input_size=Size(*map(int, STEPS[reference].split("x"))),
    )
    engines = get_backend("numpy"), get_backend(), simulated.Engine()
    expected, other, found = (stepped(network.graph, engine) for engine in engines)
    allowed = max(1e-5, 3 * max(distance(other[n], expected[n]) for n in expected))
    for name in expected:
        assert distance(found[name], expected[name]) <= allowed, name


def stepped(graph, engine) -> dict[str, np.ndarray]:
    """The loss and all states after one step of training on random images and weights."""
    program = compile_training(graph, Objective(optimizer=SGD(momentum=0.9)), engine, 4)
    fill(program)
    program.run()
    return {name: program.read(name) for name in ("loss", *program.states)}
