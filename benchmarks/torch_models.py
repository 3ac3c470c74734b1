"""A network of ours as a `torch.nn.Module`, written as a user of PyTorch would write it.

`translate` makes a module of the ordinary layers of `torch.nn`, with the weights of our states and
a `forward` of straight-line Python, its source in the attribute `source`: nothing is interpreted
while it runs, and `torch.compile` sees plain code. Maps are (N, C, H, W).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from cnndsl.graph import analysis
from cnndsl.graph.graph import Graph, Node, Value
from cnndsl.graph.leaves import STATE, Input, Parameter
from cnndsl.graph.op import Op
from cnndsl.graph.types import Type
from cnndsl.ops import activation, conv, dense, dropout, image_norm, merge, norm, pool, shape
from cnndsl.ops.geometry import Pads


class DropPath(nn.Module):
    """Stochastic depth: a whole image's value is dropped."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        kept = torch.ones_like(x[:, :1, :1, :1] if x.dim() == 4 else x[:, :1])
        return x * F.dropout(kept, self.rate, self.training)


@dataclass(frozen=True)
class Place:
    """An operation of the graph where it stands.

    Attributes:
        names, types: the variables that hold its data, and their types.
        leaves: its parameters and buffers, in order.
        spare: for each variable whether nothing else wants what is in it, so that it may be
            overwritten.
    """

    op: Any
    name: str
    names: tuple[str, ...]
    types: tuple[Type, ...]
    leaves: tuple[Value, ...]
    spare: tuple[bool, ...]


class Writer:
    """Collects the modules of a network; what writes an operation returns its expression."""

    def __init__(self, states: Mapping[str, np.ndarray]) -> None:
        self.states = states
        self.modules: dict[str, nn.Module | nn.Parameter | torch.Tensor] = {}
        self.parameters: dict[str, nn.Parameter] = {}
        self._buffers: dict[str, torch.Tensor] = {}
        self._shared: dict[Any, str] = {}

    def leaf(self, value: Value) -> torch.Tensor:
        """The tensor of a state, the same whenever it is asked for."""
        name, op = value.name, value.op
        if isinstance(op, Parameter):
            if name not in self.parameters:
                tensor = torch.tensor(self.states[name])
                self.parameters[name] = nn.Parameter(tensor, requires_grad=op.trainable)
            return self.parameters[name]
        assert isinstance(op, STATE), f"{op.name} is no state: the graph is to be one as elaborated"
        return self._buffers.setdefault(name, torch.tensor(self.states[name]))

    def attribute(self, place: Place, held: nn.Module | torch.Tensor) -> str:
        """`self.<name>`, which holds a module or a tensor."""
        name = re.sub(r"\W", "_", place.name)
        if not name.isidentifier():
            name = f"layer_{name}"
        while name in self.modules or hasattr(nn.Module, name):
            name += "_"
        self.modules[name] = held
        return f"self.{name}"

    def layer(self, place: Place, make: Callable[[], nn.Module], *roles: str) -> str:
        """`self.<name>` of a module whose tensors of these names are the operation's leaves.

        Operations that share all their weights share the module.
        """
        key = (place.op, *(value.node for value in place.leaves))
        if not roles or key not in self._shared:
            module = make()
            for role, value in zip(roles, place.leaves, strict=False):
                setattr(module, role, self.leaf(value))
            self._shared[key] = self.attribute(place, module)
        return self._shared[key]


Write = Callable[[Writer, Place], str]


def _padding(pads: Pads) -> tuple[int, int] | None:
    """Padding as modules take it, if it is the same before and after."""
    (top, bottom), (left, right) = pads
    return (top, left) if (top, left) == (bottom, right) else None


def _padded(x: str, pads: Pads, value: str = "0.0") -> str:
    (top, bottom), (left, right) = pads
    return f"F.pad({x}, ({left}, {right}, {top}, {bottom}), value={value})"


def _conv(writer: Writer, place: Place) -> str:
    op, (name,), (x,) = place.op, place.names, place.types
    pads = op.pads(x)
    padding = _padding(pads)

    def make() -> nn.Module:
        return nn.Conv2d(
            x.channels,
            op.filters,
            tuple(op.kernel),
            op.stride,
            padding or 0,
            op.dilation,
            op.groups,
            bias=len(place.leaves) == 2,
            device="meta",
        )

    layer = writer.layer(place, make, "weight", "bias")
    return f"{layer}({name if padding else _padded(name, pads)})"


def _fully_connected(writer: Writer, place: Place) -> str:
    op, (name,), (x,) = place.op, place.names, place.types

    def make() -> nn.Module:
        return nn.Linear(x.elements, op.features, bias=len(place.leaves) == 2, device="meta")

    layer = writer.layer(place, make, "weight", "bias")
    return f"{layer}({f'torch.flatten({name}, 1)' if x.is_map else name})"


def _batch_norm(writer: Writer, place: Place) -> str:
    op, (x,) = place.op, place.types
    kind = nn.BatchNorm2d if x.is_map else nn.BatchNorm1d

    def make() -> nn.Module:
        return kind(x.channels, eps=op.epsilon, momentum=1 - op.momentum)

    roles = ("weight", "bias", "running_mean", "running_var")
    return f"{writer.layer(place, make, *roles)}({place.names[0]})"


def _group_norm(writer: Writer, place: Place) -> str:
    op, (x,) = place.op, place.types
    layer = writer.layer(
        place, lambda: nn.GroupNorm(op.groups, x.channels, eps=op.epsilon), "weight", "bias"
    )
    return f"{layer}({place.names[0]})"


def _layer_norm(writer: Writer, place: Place) -> str:
    op, (name,), (x,) = place.op, place.names, place.types
    layer = writer.layer(place, lambda: nn.LayerNorm(x.channels, eps=op.epsilon), "weight", "bias")
    if not x.is_map:
        return f"{layer}({name})"
    return f"{layer}({name}.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)"


def _scale(writer: Writer, place: Place) -> str:
    factor = writer.attribute(place, writer.leaf(place.leaves[0]))
    rest = "[:, None, None]" if place.types[0].is_map else ""
    return f"{place.names[0]} * {factor}{rest}"


def _pool(writer: Writer, place: Place, largest: bool) -> str:
    op, (name,), (x,) = place.op, place.names, place.types
    if op.kernel == pool.GLOBAL:
        return f"{writer.layer(place, lambda: _global(largest))}({name})"
    kernel, step = tuple(op.size(x)), op.step()
    pads = op.stated_pads(x)
    if kernel == (1, 1) and pads == op.pads(x) == ((0, 0), (0, 0)):
        return f"{name}[:, :, ::{step}, ::{step}]"
    padding = _padding(pads)
    if padding and all(2 * p <= k for p, k in zip(padding, kernel, strict=True)):
        kind: Any = nn.MaxPool2d if largest else nn.AvgPool2d
        extra = {} if largest else {"count_include_pad": op.count_pad}
        module = kind(kernel, step, padding, ceil_mode=op.ceil, **extra)
        return f"{writer.attribute(place, module)}({name})"
    padded = _padded(name, op.pads(x), "-torch.inf" if largest else "0.0")
    if largest:
        return f"F.max_pool2d({padded}, {kernel}, {step})"
    return f"F.avg_pool2d({padded}, {kernel}, {step}) * {_shares(writer, place)}"


def _global(largest: bool) -> nn.Module:
    return nn.AdaptiveMaxPool2d(1) if largest else nn.AdaptiveAvgPool2d(1)


def _shares(writer: Writer, place: Place) -> str:
    """A tensor: the elements of a window over those of them that average pooling counts."""
    op, (x,) = place.op, place.types
    whole, stated = op.pads(x), op.stated_pads(x)
    counted = np.ones(x.extent) if not op.count_pad else np.ones(x.extent + np.sum(stated, 1))
    missing = np.subtract(whole, stated) if op.count_pad else whole
    ones = torch.tensor(np.pad(counted, missing))[None, None]
    share = 1 / F.avg_pool2d(ones, tuple(op.size(x)), op.step())
    return writer.attribute(place, share.to(getattr(torch, x.dtype)))


def _sum(writer: Writer, place: Place) -> str:
    """The sum of branches, in one that may be overwritten, as `out += identity` is written."""
    names = list(place.names)
    free = next((i for i, spare in enumerate(place.spare) if spare), None)
    if free is None or len(set(names)) < len(names):
        return " + ".join(names)
    total = names.pop(free)
    return total + "".join(f".add_({name})" for name in names)


def _gate(writer: Writer, place: Place) -> str:
    x, gate = place.types
    rest = "[:, :, None, None]" if x.is_map and not gate.is_map else ""
    return f"{place.names[0]} * {place.names[1]}{rest}"


def _pad(writer: Writer, place: Place) -> str:
    top, bottom, left, right = place.op.sides()
    return f"F.pad({place.names[0]}, ({left}, {right}, {top}, {bottom}, 0, {place.op.channels}))"


def _crop(writer: Writer, place: Place) -> str:
    top, bottom, left, right = place.op.sides()
    height, width = place.types[0].extent
    return f"{place.names[0]}[:, :, {top}:{height - bottom}, {left}:{width - right}]"


def _slice(writer: Writer, place: Place) -> str:
    return f"{place.names[0]}[:, {place.op.channels.start}:{place.op.channels.stop}]"


def _shuffle(writer: Writer, place: Place) -> str:
    (name,), (x,) = place.names, place.types
    layer = writer.attribute(place, nn.ChannelShuffle(place.op.groups))
    return f"{layer}({name})" if x.is_map else f"{layer}({name}[:, :, None]).squeeze(2)"


def _module(make: Callable[[Any], nn.Module]) -> Write:
    """An operation that is a module without weights."""
    return lambda writer, place: (
        f"{writer.attribute(place, make(place.op))}({', '.join(place.names)})"
    )


def _in_place(make: Callable[[Any, bool], nn.Module]) -> Write:
    """An activation that overwrites its input where nothing else wants it."""
    return lambda writer, place: (
        f"{writer.attribute(place, make(place.op, place.spare[0]))}({place.names[0]})"
    )


WRITE: dict[type[Op], Write] = {
    conv.Conv: _conv,
    dense.FullyConnected: _fully_connected,
    norm.BatchNorm: _batch_norm,
    norm.LocalResponseNorm: _module(
        lambda op: nn.LocalResponseNorm(op.size, op.factor * op.size, op.beta, op.k)
    ),
    norm.Scale: _scale,
    image_norm.GroupNorm: _group_norm,
    image_norm.LayerNorm: _layer_norm,
    pool.MaxPool: lambda writer, place: _pool(writer, place, largest=True),
    pool.AveragePool: lambda writer, place: _pool(writer, place, largest=False),
    merge.Add: _sum,
    merge.Concat: lambda writer, place: f"torch.cat(({', '.join(place.names)},), 1)",
    merge.Multiply: lambda writer, place: " * ".join(place.names),
    merge.Gate: _gate,
    dropout.Dropout: _module(lambda op: nn.Dropout(op.rate)),
    dropout.DropPath: _module(lambda op: DropPath(op.rate)),
    shape.Identity: lambda writer, place: place.names[0],
    shape.Flatten: lambda writer, place: f"torch.flatten({place.names[0]}, 1)",
    shape.Pad: _pad,
    shape.Crop: _crop,
    shape.Slice: _slice,
    shape.Upsample: _module(lambda op: nn.Upsample(scale_factor=op.factor)),
    shape.Shuffle: _shuffle,
    activation.Relu: _in_place(lambda op, spare: nn.ReLU(inplace=spare)),
    activation.Relu6: _in_place(lambda op, spare: nn.ReLU6(inplace=spare)),
    activation.LeakyRelu: _module(lambda op: nn.LeakyReLU(op.slope)),
    activation.Elu: _module(lambda op: nn.ELU(op.alpha)),
    activation.Sigmoid: _module(lambda op: nn.Sigmoid()),
    activation.Tanh: _module(lambda op: nn.Tanh()),
    activation.Silu: _module(lambda op: nn.SiLU()),
    activation.Gelu: _module(lambda op: nn.GELU()),
    activation.HardSwish: _module(lambda op: nn.Hardswish()),
    activation.HardSigmoid: _module(lambda op: nn.Hardsigmoid()),
    activation.Softmax: _module(lambda op: nn.Softmax(dim=1)),
}

#: What leaves a result that its own gradient does not need: the next layer may overwrite it.
OVERWRITABLE = (conv.Conv, dense.FullyConnected, norm.BatchNorm, merge.Add, merge.Concat)


def _spare(graph: Graph, value: Value, results: list[Value]) -> bool:
    """Whether a value has one reader, is no result, and its own gradient does without it."""
    return (
        len(graph.users(value)) == 1
        and value not in results
        and isinstance(value.op, OVERWRITABLE)
        and not (isinstance(value.op, merge.Add) and len(graph.operands(value.node)) == 1)
    )


def _forward(graph: Graph, writer: Writer, results: list[Value]) -> str:
    """The source of `forward`; a variable ends when its last reader has run."""
    wanted = set[Node]()
    waiting = [value.node for value in results]
    while waiting:
        node = waiting.pop()
        if node not in wanted:
            wanted.add(node)
            waiting += graph.net.predecessors(node)
    layers = [node for node in analysis.layers(graph) if node in wanted]
    data = {node: [v for v in graph.operands(node) if v.node in layers] for node in layers}
    left = Counter(value.node for values in data.values() for value in values)
    left.update(value.node for value in results)
    numbers: dict[Node, int] = {}
    lines = []
    for node in layers:
        op, values = graph.op(node), data[node]
        if isinstance(op, Input):
            numbers[node] = 0
            continue
        place = Place(
            op,
            graph.name(node),
            tuple(f"x{numbers[value.node]}" for value in values),
            tuple(value.type for value in values),
            tuple(v for v in graph.operands(node) if v not in values),
            tuple(_spare(graph, value, results) for value in values),
        )
        expression = WRITE[type(op)](writer, place)
        left.subtract(value.node for value in values)
        ended = {numbers.pop(v.node) for v in set(values) if not left[v.node]}
        number = next(n for n in range(len(layers)) if n not in numbers.values())
        numbers[node] = number
        lines.append(f"x{number} = {expression}")
        lines += [f"del x{n}" for n in sorted(ended - {number})]
    names = [f"x{numbers[value.node]}" for value in results]
    lines.append(f"return {', '.join(names)}")
    return "".join(
        ["class Network(nn.Module):\n", "    def forward(self, x0):\n"]
        + [f"        {line}\n" for line in lines]
    )


def translate(graph: Graph, states: Mapping[str, np.ndarray], heads: bool = False) -> Any:
    """The module of an elaborated graph, with copies of the states (by path) as weights.

    It takes images (N, C, H, W) and returns the logits, or with `heads` and side heads a tuple of
    the logits and theirs. Attributes besides those of any module: `source`, the code of `forward`;
    `leaves`, the parameters by path; `shares`, what the loss of each result counts.
    """
    side = graph.heads if heads else []
    writer = Writer(states)
    source = _forward(graph, writer, [graph.outputs["logits"], *(head.value for head in side)])
    names: dict[str, Any] = {"torch": torch, "F": F, "nn": nn}
    exec(compile(source, f"<{graph.name_of_model} in PyTorch>", "exec"), names)
    network = names["Network"]()
    for name, held in writer.modules.items():
        if isinstance(held, nn.Module | nn.Parameter):
            setattr(network, name, held)
        else:
            network.register_buffer(name, held)
    network.source, network.leaves = source, writer.parameters
    network.shares = (1.0, *(head.weight for head in side))
    return network
