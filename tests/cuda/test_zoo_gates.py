"""What a GPU would execute for the networks of the zoo: every kernel compiles, every plan exists,
and whole steps computed thread by thread are those of the reference."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from deviceless import Planner
from gpu_checks import distance, fill

from cnndsl.backends import get_backend
from cnndsl.backends.cuda import apart, gemm, nvrtc, prepare, simulated, simulator
from cnndsl.backends.cuda.cudnn import Description, Product, strict
from cnndsl.backends.cuda.engine import CudaKernel
from cnndsl.backends.cuda.launch import Launch, LibraryCall, Source, Task
from cnndsl.backends.cuda.occupancy import occupancy
from cnndsl.backends.cuda.planned import Engine as Planned
from cnndsl.compile import (
    Objective,
    compile_training,
    elaborate_file,
    planned_kernels,
    training_graph,
)
from cnndsl.frontend.library import load_file
from cnndsl.graph.types import Size
from cnndsl.ops.optimizer import SGD
from cnndsl.ops.prepare import Hole, Mirror, Prepare, Window
from cnndsl.passes.pixels import PixelSource
from cnndsl.passes.precision import TF32, element_type
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
#: All others of the zoo, at a batch that all of them fit a large GPU with.
OTHERS = {
    reference: 64
    for file in sorted(resource("zoo").glob("*.cnn"))
    for name in load_file(file).complete()
    if (reference := f"{file.stem}:{name}") not in NETWORKS
}
ARCHITECTURES = ("sm_80", "sm_90", "sm_100")
#: Bytes of a thread's registers that may be spilled: none.
MOST_SPILLED = 0
#: The share of a multiprocessor's warps that has to have room on it.
LEAST_OCCUPANCY = 0.5


def marked(names: dict, first: tuple[str, ...]) -> list:
    return [name if name in first else pytest.param(name, marks=pytest.mark.slow) for name in names]


@cache
def tasks_of(reference: str, precision: str = "bf16") -> tuple[Task, ...]:
    """What inference and a training step launch and call."""
    file, name = reference.split(":")
    graph = elaborate_file(resource("zoo") / f"{file}.cnn", name).graph
    objective = Objective(optimizer=SGD(momentum=0.9), precision=element_type(precision))
    batch = (NETWORKS | OTHERS)[reference]
    engine = Planned()
    if precision == TF32:
        engine.use_tf32()
    return tuple(
        task
        for use in ("inference", "training")
        for _, kernel in planned_kernels(graph, use, objective, engine, batch)
        if isinstance(kernel, CudaKernel)
        for task in kernel.recipe.tasks
    )


def kernels_of(reference: str) -> list[tuple[Source, int]]:
    """Every kernel, and the threads of a block of it; those too that may do in place of a call what
    follows a convolution."""
    tasks = tasks_of(reference)
    launches = [task for task in tasks if isinstance(task, Launch)]
    split = (apart.apart(task) for task in tasks if isinstance(task, LibraryCall))
    launches += [rest for _, rest in filter(None, split)]
    return list(dict.fromkeys((launch.source, launch.threads) for launch in launches))


@pytest.mark.skipif(nvrtc.unavailable() is not None, reason=str(nvrtc.unavailable()))
@pytest.mark.parametrize(
    "architecture",
    [a if a == "sm_90" else pytest.param(a, marks=pytest.mark.slow) for a in ARCHITECTURES],
)
@pytest.mark.parametrize("reference", marked(NETWORKS, FIRST))
def test_every_kernel_compiles_and_keeps_to_its_registers(
    reference: str, architecture: str
) -> None:
    for source, threads in kernels_of(reference):
        found = nvrtc.compiled(source, architecture)
        assert found.spilled <= MOST_SPILLED, (source.entry, found)
        assert 0 < found.registers <= 128, (source.entry, found)
        assert found.shared <= 48 * 1024, (source.entry, found)
        share = occupancy(found, threads, architecture)
        assert share >= LEAST_OCCUPANCY, (source.entry, found, threads)


def keeping(values: int) -> Source:
    """A kernel that has so many numbers in registers at once."""
    many = "".join(f"float v{i} = x[{i} * count];" for i in range(values))
    used = "".join(f"x[{i}] = v{i} * v{values - 1 - i};" for i in range(values))
    kernel = f'extern "C" __global__ void keeping(float *x, int count) {{ {many} {used} }}'
    rest = "constexpr long long COUNT = 1;", "constexpr float FACTOR = 1.0f;"
    term = "#define PARAMETERS const float *x", "#define TERM x[i]"
    return Source("total.cu", "keeping", (kernel, *rest, *term))


@pytest.mark.skipif(nvrtc.unavailable() is not None, reason=str(nvrtc.unavailable()))
def test_a_spill_is_seen() -> None:
    assert nvrtc.compiled(keeping(400), "sm_90").spilled > MOST_SPILLED


@pytest.mark.skipif(nvrtc.unavailable() is not None, reason=str(nvrtc.unavailable()))
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_kernel_that_leaves_a_multiprocessor_empty_is_seen(architecture: str) -> None:
    few, many = (nvrtc.compiled(keeping(values), architecture) for values in (10, 100))
    assert few.spilled == many.spilled == 0
    assert occupancy(few, 256, architecture) >= LEAST_OCCUPANCY
    assert occupancy(many, 256, architecture) < LEAST_OCCUPANCY


@pytest.mark.slow
@pytest.mark.skipif(nvrtc.unavailable() is not None, reason=str(nvrtc.unavailable()))
@pytest.mark.parametrize("reference", NETWORKS)
def test_what_takes_the_place_of_the_library_compiles(reference: str) -> None:
    for call in dict.fromkeys(t for t in tasks_of(reference) if isinstance(t, LibraryCall)):
        launch = gemm.launch(call.description, call.arguments)
        assert nvrtc.compiled(launch.source, "sm_90").spilled <= MOST_SPILLED, call.description


@pytest.mark.skipif(nvrtc.unavailable() is not None, reason=str(nvrtc.unavailable()))
@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_kernel_that_prepares_images_has_room(precision: str, architecture: str) -> None:
    network = elaborate_file(resource("zoo") / "resnet.cnn", "resnet50").graph
    moves = (Window((256, 256), 4, "reflect"), Window((224, 224)), Mirror(), Hole(16))
    source = PixelSource(Prepare((256, 256, 3), (0.1,) * 3, (-0.4,) * 3, moves))
    graph = training_graph(
        network, Objective(precision=precision), fusions=Planned.fusions, source=source
    )
    (node,) = graph.of(Prepare)
    types = (value.type.at(256) for value in (*graph.operands(node), *graph.results(node)))
    pixels, chosen, images = types
    (launch,) = prepare.prepare(graph.op(node), (pixels, chosen), (images,)).tasks
    assert isinstance(launch, Launch)
    assert images.channels == (3 if precision == "float32" else 8)
    found = nvrtc.compiled(launch.source, architecture)
    assert found.spilled <= MOST_SPILLED
    assert occupancy(found, launch.threads, architecture) >= LEAST_OCCUPANCY


@pytest.mark.skipif(nvrtc.unavailable() is not None, reason=str(nvrtc.unavailable()))
@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_our_own_product_has_the_blocks_that_it_asks_for(dtype: str, architecture: str) -> None:
    """Three, which its tiles and sums leave room for."""
    launch = gemm.launch(Product(512, 512, 512, dtype, dtype), (0, 1, 2))
    found = nvrtc.compiled(launch.source, architecture)
    assert found.spilled <= MOST_SPILLED
    assert occupancy(found, launch.threads, architecture) >= 3 * launch.threads / 2048


@pytest.mark.skipif(nvrtc.unavailable() is not None, reason=str(nvrtc.unavailable()))
def test_a_kernel_that_does_not_compile_is_said_to() -> None:
    broken = Source("total.cu", "total", ("#define PARAMETERS nonsense",))
    with pytest.raises(ValueError, match=r"total for sm_90: .*error"):
        nvrtc.compiled(broken, "sm_90")


@pytest.mark.parametrize("precision", ["f32", "tf32", "fp16"])
def test_other_precisions_have_kernels_and_plans_too(planner: Planner, precision: str) -> None:
    for task in dict.fromkeys(tasks_of("resnet:resnet20", precision)):
        if not isinstance(task, Launch):
            assert strict(task.description) == (precision == "f32")
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


@pytest.mark.slow
@pytest.mark.parametrize("reference", OTHERS)
def test_the_rest_of_the_zoo_has_kernels_and_plans(planner: Planner, reference: str) -> None:
    for source, threads in kernels_of(reference):
        found = compiled(source)
        assert found.spilled <= MOST_SPILLED, (source.entry, found)
        assert occupancy(found, threads, "sm_90") >= LEAST_OCCUPANCY, (source.entry, found)
    calls = (task for task in tasks_of(reference) if isinstance(task, LibraryCall))
    for description in dict.fromkeys(call.description for call in calls):
        assert planner.plan("sm_90", description).candidates > 0


@cache
def compiled(source: Source) -> nvrtc.Compiled:
    return nvrtc.compiled(source, "sm_90")


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
