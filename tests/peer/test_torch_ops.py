"""Every operation that PyTorch has too agrees with it in float64, forward and backward."""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the `peer` extra: PyTorch")

import torch.nn.functional as F  # noqa: E402

from cnndsl.backends.numpy import Engine  # noqa: E402
from cnndsl.compile import elaborate_text  # noqa: E402
from cnndsl.graph.autodiff import add_gradients  # noqa: E402
from cnndsl.graph.graph import Graph, Value  # noqa: E402
from cnndsl.graph.leaves import Buffer, Input, Parameter  # noqa: E402
from cnndsl.graph.op import OPS, Initial, Op  # noqa: E402
from cnndsl.graph.types import BATCH, Type, map_type, vector_type  # noqa: E402
from cnndsl.ops.loss import CrossEntropy, MeanSquaredError  # noqa: E402
from cnndsl.ops.norm import BatchNormTraining, RunningAverage  # noqa: E402
from cnndsl.ops.optimizer import SGD, Adam, AdamW, Optimizer  # noqa: E402
from cnndsl.runtime.lower import lower  # noqa: E402
from cnndsl.runtime.program import Program  # noqa: E402

pytestmark = pytest.mark.peer

IMAGES = 3
DOUBLE = "float64"
Tensor = Any
#: From x in PyTorch's order and the parameters by role to y.
Reference = Callable[[Tensor, dict[str, Tensor]], Tensor]


def close(ours: np.ndarray, theirs: Tensor) -> bool:
    expected = theirs.detach().numpy()
    assert ours.shape == expected.shape
    return bool(np.linalg.norm(ours - expected) <= 1e-9 * np.linalg.norm(expected) + 1e-12)


def channels_first(x: np.ndarray) -> Tensor:
    return torch.tensor(np.moveaxis(x, -1, 1) if x.ndim == 4 else x)


def channels_last(x: Tensor) -> Tensor:
    return torch.movedim(x, 1, -1) if x.ndim == 4 else x


def differentiate(graph: Graph, loss: Value, **outputs: Value) -> Program:
    """The program of some outputs and of the gradient of every parameter by its name."""
    gradients = add_gradients(graph, loss)
    graph.outputs = {"loss": loss, **outputs}
    for node, gradient in gradients.items():
        graph.outputs[graph.name(node)] = gradient
    graph.prune()
    return lower(graph, Engine(), IMAGES)


def compare(text: str, reference: Reference) -> None:
    """One layer, its result and all gradients, for random input, parameters and target."""
    graph = elaborate_text(f"model example {{ {text} }}", dtype=DOUBLE)
    node = graph.inputs.pop("image").node
    graph.attributes(node).update(op=Parameter(graph.types(node)[0], Initial()), name="image")
    y = graph.outputs["logits"]
    target = graph.add(Input(y.type), name="target")[0]
    graph.inputs["target"] = target
    program = differentiate(graph, graph.apply(MeanSquaredError(), y, target), y=y)

    numbers = np.random.default_rng(len(text))
    for name, slot in (program.inputs | program.states).items():
        values = numbers.normal(size=slot.array.shape)
        program.write(name, np.abs(values) + 0.5 if name.endswith("variance") else values)
    weights = {name: torch.tensor(slot.array) for name, slot in program.states.items()}
    weights["image"] = channels_first(program.states["image"].array)
    for tensor in weights.values():
        tensor.requires_grad_()
    by_role = {name.rpartition(".")[2]: tensor for name, tensor in weights.items()}
    theirs = channels_last(reference(weights["image"], by_role))
    wanted = torch.tensor(program.inputs["target"].array.copy())
    F.mse_loss(theirs, wanted).backward()

    program.run()
    assert close(program.read("y"), theirs)
    for name in program.outputs:
        if name not in ("loss", "y"):
            gradient = weights[name].grad
            gradient = channels_last(gradient) if name == "image" else gradient
            assert close(program.read(name), gradient), name


def conv(pads: tuple[int, int, int, int] = (0, 0, 0, 0), **settings: Any) -> Reference:
    """`pads` as in F.pad: left, right, top, bottom."""

    def run(x: Tensor, w: dict[str, Tensor]) -> Tensor:
        return F.conv2d(F.pad(x, pads), w["weight"], w.get("bias"), **settings)

    return run


def same_average(x: Tensor, pads: tuple[int, int, int, int], kernel: int, stride: int) -> Tensor:
    """The mean over the elements inside the map, with lopsided padding."""
    total = F.avg_pool2d(F.pad(x, pads), kernel, stride)
    return total / F.avg_pool2d(F.pad(torch.ones_like(x), pads), kernel, stride)


def shift(pads: tuple[int, int, int, int], value: float = 0.0) -> Reference:
    return lambda x, w: F.pad(x, pads, value=value)


def hardsigmoid(x: Tensor) -> Tensor:
    """F.hardsigmoid by its definition; its own gradient takes 1/6 in single precision."""
    return F.relu6(x + 3) / 6


LAYERS: dict[str, Reference] = {
    "input 6x6x3 -> conv 4, 3x3": conv(padding=1),
    "input 7x6x3 -> conv 4, 3x3, /2": conv(padding=1, stride=2),
    "input 7x7x2 -> conv 3, 5x5, /2, pad=0, bias=false": conv(stride=2),
    "input 5x6x4 -> conv 5, 1x1": conv(),
    "input 5x6x4 -> conv 5, 1x1, /2": conv(stride=2),
    "input 5x6x4 -> conv 6, 1x1, groups=2": conv(groups=2),
    "input 5x6x4 -> conv 3, 1x1, pad=0, bias=false": conv(),
    "input 6x6x4 -> conv 6, 3x3, groups=2": conv(padding=1, groups=2),
    "input 6x7x6 -> conv 9, 3x3, /2, groups=3, dilation=2": conv(
        padding=2, groups=3, dilation=2, stride=2
    ),
    "input 7x7x3 -> conv 4, 3x3, dilation=2": conv(padding=2, dilation=2),
    "input 6x7x2 -> conv 3, 1x5, /2, pad=same": conv((2, 2, 0, 0), stride=2),
    "input 6x8x2 -> conv 3, 3x3, /2, pad=same": conv((0, 1, 0, 1), stride=2),
    "input 7x8x2 -> conv 3, 4x4, pad=same": conv((1, 2, 1, 2)),
    "input 6x6x2 -> conv 3, 2x2, /2, pad=0": conv(stride=2),
    "input 9x9x1 -> conv 3, 3x3, groups=1": conv(padding=1),
    "input 6x6x3 -> dwconv 3x3": conv(padding=1, groups=3),
    "input 7x7x2 -> dwconv 5x5, /2, pad=same, bias=false": conv((2, 2, 2, 2), stride=2, groups=2),
    "input 8x7x2 -> dwconv 3x3, /2, pad=same": conv((1, 1, 0, 1), stride=2, groups=2),
    "input 5x5x2 -> dwconv 3x3, dilation=2, multiplier=2": conv(padding=2, dilation=2, groups=2),
    "input 3x4x2 -> fc 5": lambda x, w: F.linear(x.flatten(1), w["weight"], w["bias"]),
    "input 7 -> fc 4, bias=false": lambda x, w: F.linear(x, w["weight"]),
    "input 6x6x3 -> maxpool 2x2, /2": lambda x, w: F.max_pool2d(x, 2),
    "input 5x7x2 -> maxpool 3x3, /2, pad=same": lambda x, w: F.max_pool2d(
        F.pad(x, (1, 1, 1, 1), value=-np.inf), 3, 2
    ),
    "input 6x7x2 -> maxpool 3x3, /2, pad=same": lambda x, w: F.max_pool2d(
        F.pad(x, (1, 1, 0, 1), value=-np.inf), 3, 2
    ),
    "input 5x4x3 -> maxpool global": lambda x, w: F.adaptive_max_pool2d(x, 1),
    "input 5x4x3 -> avgpool global": lambda x, w: F.adaptive_avg_pool2d(x, 1),
    "input 6x5x2 -> avgpool 3x3, /1, pad=same": lambda x, w: F.avg_pool2d(
        x, 3, 1, 1, count_include_pad=False
    ),
    "input 6x8x2 -> avgpool 3x3, /2, pad=same": lambda x, w: same_average(x, (0, 1, 0, 1), 3, 2),
    "input 5x4x3 -> bn": lambda x, w: F.batch_norm(
        x, w["mean"].detach(), w["variance"].detach(), w["gamma"], w["beta"]
    ),
    "input 7 -> bn epsilon=1e-3": lambda x, w: F.batch_norm(
        x, w["mean"].detach(), w["variance"].detach(), w["gamma"], w["beta"], eps=1e-3
    ),
    "input 4x5x6 -> groupnorm 2": lambda x, w: F.group_norm(x, 2, w["gamma"], w["beta"]),
    "input 4x3x4 -> groupnorm 4": lambda x, w: F.group_norm(x, 4, w["gamma"], w["beta"]),
    "input 8 -> groupnorm 2": lambda x, w: F.group_norm(x, 2, w["gamma"], w["beta"]),
    "input 4x5x6 -> layernorm": lambda x, w: F.layer_norm(
        x.movedim(1, -1), (6,), w["gamma"], w["beta"], 1e-6
    ).movedim(-1, 1),
    "input 7 -> layernorm epsilon=1e-5": lambda x, w: F.layer_norm(x, (7,), w["gamma"], w["beta"]),
    "input 4x5x3 -> scale": lambda x, w: x * w["scale"][:, None, None],
    "input 3x4x7 -> lrn 5, average=true": lambda x, w: F.local_response_norm(x, 5, k=2.0),
    "input 3x4x7 -> lrn 3, alpha=0.5, beta=0.6, k=1.5": lambda x, w: F.local_response_norm(
        x, 3, 1.5, 0.6, 1.5
    ),
    "input 2x2x6 -> lrn 4, alpha=0.8, average=true": lambda x, w: F.local_response_norm(
        x, 4, 0.8, 0.75, 2.0
    ),
    "input 2x2x2 -> lrn 9, alpha=0.3, average=true": lambda x, w: F.local_response_norm(
        x, 9, 0.3, 0.75, 2.0
    ),
    "input 5x4x3 -> relu": lambda x, w: F.relu(x),
    "input 5x4x3 -> relu6": lambda x, w: F.relu6(x),
    "input 5x4x3 -> leaky_relu 0.1": lambda x, w: F.leaky_relu(x, 0.1),
    "input 5x4x3 -> elu 0.5": lambda x, w: F.elu(x, 0.5),
    "input 5x4x3 -> sigmoid": lambda x, w: F.sigmoid(x),
    "input 5x4x3 -> tanh": lambda x, w: F.tanh(x),
    "input 5x4x3 -> silu": lambda x, w: F.silu(x),
    "input 5x4x3 -> gelu": lambda x, w: F.gelu(x),
    "input 5x4x3 -> hardswish": lambda x, w: F.hardswish(x),
    "input 5x4x3 -> hardsigmoid": lambda x, w: hardsigmoid(x),
    "input 5x4x3 -> softmax": lambda x, w: F.softmax(x, 1),
    "input 7 -> softmax": lambda x, w: F.softmax(x, 1),
    "input 3x4x2 -> flatten": lambda x, w: x.flatten(1),
    "input 4x3x2 -> pad 1": shift((1, 1, 1, 1)),
    "input 4x3x2 -> pad top=1, right=2": shift((0, 2, 1, 0)),
    "input 4x5x2 -> crop top=1, right=2": shift((0, -2, -1, 0)),
    "input 4x5x2 -> crop 1": shift((-1, -1, -1, -1)),
    "input 4x3x5 -> slice 1..5": lambda x, w: x[:, 1:5],
    "input 3x4x2 -> upsample 2": lambda x, w: F.interpolate(x, scale_factor=2, mode="nearest"),
    "input 3x2x6 -> shuffle 3": lambda x, w: F.channel_shuffle(x, 3),
    "input 4x3x2 -> identity": lambda x, w: x * 1,
    "input 4x3x2 -> dropout 0.4": lambda x, w: F.dropout(x, 0.4, training=False) * 1,
    "input 4x3x2 -> drop_path 0.4": lambda x, w: x * 1,
}


@pytest.mark.parametrize("text", LAYERS)
def test_layers_agree(text: str) -> None:
    compare(text, LAYERS[text])


@pytest.mark.parametrize(
    "function",
    [F.relu6, F.hardswish, hardsigmoid, F.gelu, F.silu, F.sigmoid, F.tanh],
    ids=lambda function: function.__name__,
)
def test_activations_agree_far_from_zero(function: Callable[[Tensor], Tensor]) -> None:
    four_times = f"add {{ {'| identity ' * 4} }}"
    name = function.__name__
    compare(f"input 9x8x7 -> {four_times} -> {name}", lambda x, w: function(4 * x))


def test_every_layer_is_compared() -> None:
    compared = {text.split(" -> ")[1].split(" ")[0] for text in LAYERS}
    assert compared == set(OPS)


POOLS = list(product((1, 2, 3, 4), (1, 2, 3), (0, 1, 2), (False, True), (False, True), (5, 6, 7)))


@pytest.mark.parametrize(
    ("kernel", "stride", "pad", "ceil", "count", "extent"),
    random.Random(0).sample([p for p in POOLS if p[2] <= p[0] // 2], 80),
)
def test_pools_agree(
    kernel: int, stride: int, pad: int, ceil: bool, count: bool, extent: int
) -> None:
    rest = f"{kernel}x{kernel}, /{stride}, pad={pad}, ceil={str(ceil).lower()}"
    compare(
        f"input {extent}x{extent + 1}x2 -> maxpool {rest}",
        lambda x, w: F.max_pool2d(x, kernel, stride, pad, ceil_mode=ceil),
    )
    compare(
        f"input {extent}x{extent + 1}x2 -> avgpool {rest}, count_pad={str(count).lower()}",
        lambda x, w: F.avg_pool2d(x, kernel, stride, pad, ceil, count),
    )


# Losses ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("logits", [vector_type(5, DOUBLE), map_type(1, 1, 5, DOUBLE)])
def test_cross_entropy_agrees(smoothing: float, logits: Type) -> None:
    graph = Graph()
    x = graph.add(Parameter(logits, Initial()), name="x")[0]
    labels = graph.inputs["labels"] = graph.add(Input(Type((BATCH,), "int64")), name="labels")[0]
    loss, probabilities = graph.add(CrossEntropy(label_smoothing=smoothing), x, labels)
    program = differentiate(graph, loss, probabilities=probabilities)
    values = np.random.default_rng(0).normal(size=program.states["x"].array.shape)
    program.write("x", values)
    program.write("labels", [4, 0, 2])
    program.run()
    theirs = torch.tensor(values, requires_grad=True)
    flat = theirs.reshape(IMAGES, 5)
    expected = F.cross_entropy(flat, torch.tensor([4, 0, 2]), label_smoothing=smoothing)
    expected.backward()
    assert close(program.read("loss"), expected)
    assert close(program.read("probabilities"), F.softmax(flat, 1))
    assert close(program.outputs["x"].array, theirs.grad)


# Optimizers --------------------------------------------------------------------------------------

OPTIMIZERS: list[tuple[Optimizer, Callable[..., Any]]] = [
    (SGD(), lambda p: torch.optim.SGD(p, 0.1)),
    (SGD(weight_decay=0.01), lambda p: torch.optim.SGD(p, 0.1, weight_decay=0.01)),
    (
        SGD(momentum=0.9, weight_decay=0.01),
        lambda p: torch.optim.SGD(p, 0.1, momentum=0.9, weight_decay=0.01),
    ),
    (
        SGD(momentum=0.8, nesterov=True, weight_decay=0.01),
        lambda p: torch.optim.SGD(p, 0.1, momentum=0.8, nesterov=True, weight_decay=0.01),
    ),
    (Adam(), lambda p: torch.optim.Adam(p, 0.1)),
    (
        Adam(beta1=0.8, beta2=0.99, epsilon=1e-3, weight_decay=0.02),
        lambda p: torch.optim.Adam(p, 0.1, (0.8, 0.99), 1e-3, weight_decay=0.02),
    ),
    (AdamW(), lambda p: torch.optim.AdamW(p, 0.1)),
    (AdamW(weight_decay=0.3), lambda p: torch.optim.AdamW(p, 0.1, weight_decay=0.3)),
]


def optimizer_program(optimizer: Optimizer, shape: tuple[int, ...]) -> Program:
    graph = Graph()

    def buffer(name: str, type: Type) -> Value:
        return graph.add(Buffer(type), name=name)[0]

    type = Type(shape, DOUBLE)
    parameter, gradient = buffer("parameter", type), buffer("gradient", type)
    moments = [buffer(name, t) for name, t in optimizer.moments(type).items()]
    counters = [buffer("learning_rate", Type((), DOUBLE))]
    if optimizer.needs_step:
        counters.append(buffer("step", Type((), "int64")))
    results = graph.add(optimizer, parameter, gradient, *moments, *counters)
    for state, result in zip([parameter, *moments], results, strict=True):
        graph.updates[state.node] = result
    program = lower(graph, Engine(), 1)
    for name in program.states:
        program.write(name, np.zeros(program.states[name].array.shape))
    return program


@pytest.mark.parametrize(
    ("optimizer", "reference"), OPTIMIZERS, ids=[o.spell() for o, _ in OPTIMIZERS]
)
def test_optimizers_agree_over_several_steps(optimizer: Op, reference: Callable[..., Any]) -> None:
    assert isinstance(optimizer, Optimizer)
    numbers = np.random.default_rng(0)
    start = numbers.normal(size=(4, 5))
    parameter = torch.nn.Parameter(torch.tensor(start))
    theirs = reference([parameter])
    program = optimizer_program(optimizer, start.shape)
    program.write("parameter", start)
    for step in range(1, 8):
        gradient, rate = numbers.normal(size=start.shape), 0.1 / step
        theirs.param_groups[0]["lr"] = rate
        parameter.grad = torch.tensor(gradient)
        theirs.step()
        program.write("gradient", gradient)
        program.write("learning_rate", rate)
        if optimizer.needs_step:
            program.write("step", step)
        program.run()
        assert close(program.read("parameter"), parameter)


# Batch statistics --------------------------------------------------------------------------------


@pytest.mark.parametrize("type", [map_type(4, 3, 2, DOUBLE), vector_type(5, DOUBLE)])
def test_batch_norm_in_training_agrees(type: Type) -> None:
    graph = Graph()
    channels = Type((type.channels,), DOUBLE)
    x, gamma, beta = (
        graph.add(Parameter(t, Initial()), name=name)[0]
        for name, t in (("x", type), ("gamma", channels), ("beta", channels))
    )
    y, mean, _, variance = graph.add(BatchNormTraining(1e-5), x, gamma, beta)
    for name, batch in (("mean", mean), ("variance", variance)):
        running = graph.add(Buffer(channels), name=name)[0]
        graph.updates[running.node] = graph.apply(RunningAverage(0.9), running, batch)
    target = graph.inputs["target"] = graph.add(Input(type), name="target")[0]
    program = differentiate(graph, graph.apply(MeanSquaredError(), y, target), y=y)
    program.write("mean", np.zeros(channels.shape))
    program.write("variance", np.ones(channels.shape))

    theirs: Any = torch.nn.BatchNorm1d(type.channels, dtype=torch.float64)
    if type.is_map:
        theirs = torch.nn.BatchNorm2d(type.channels, dtype=torch.float64)
    numbers = np.random.default_rng(0)
    for _ in range(4):
        arrays = {
            name: numbers.normal(1, 2, size=slot.array.shape)
            for name, slot in (program.inputs | program.states).items()
            if name not in ("mean", "variance")
        }
        for name, values in arrays.items():
            program.write(name, values)
        theirs.weight.data[:] = torch.tensor(arrays["gamma"])
        theirs.bias.data[:] = torch.tensor(arrays["beta"])
        theirs.zero_grad()
        image = channels_first(arrays["x"]).requires_grad_()
        result = channels_last(theirs(image))
        F.mse_loss(result, torch.tensor(arrays["target"])).backward()
        program.run()
        assert close(program.read("y"), result)
        assert close(program.outputs["x"].array, channels_last(image.grad))
        assert close(program.outputs["gamma"].array, theirs.weight.grad)
        assert close(program.outputs["beta"].array, theirs.bias.grad)
        assert close(program.states["mean"].array, theirs.running_mean)
        assert close(program.states["variance"].array, theirs.running_var)
