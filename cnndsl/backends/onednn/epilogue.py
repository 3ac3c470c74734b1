"""Operations with an epilogue: what is added and the activation go into their primitives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from cnndsl.backends.onednn import activation, conv, dense, merge, norm
from cnndsl.backends.onednn.primitive import Choice, Chooser, Choosers
from cnndsl.graph.op import Op
from cnndsl.graph.types import Type
from cnndsl.ops.activation import Relu
from cnndsl.ops.conv import Conv
from cnndsl.ops.dense import FullyConnected
from cnndsl.ops.epilogue import Epilogue
from cnndsl.ops.merge import Add
from cnndsl.ops.norm import BatchNorm, BatchNormAgain, BatchNormTraining
from cnndsl.runtime.kernel import Array, Composed, Kernel, in_turn

FIRST: dict[type[Op], Chooser] = {
    FullyConnected: dense.fully_connected,
    BatchNorm: norm.batch_norm,
    BatchNormAgain: norm.batch_norm,
    BatchNormTraining: norm.batch_norm_training,
}


def epilogue(op: Epilogue, inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Choice:
    then = activation.elementwise(op.activation) if op.activation is not None else None
    first = op.first
    if isinstance(first, Conv):
        return conv.convolution(first, inputs, outputs, op.adds, then)
    if not op.adds and isinstance(first, FullyConnected):
        return dense.fully_connected(first, inputs, outputs, then)
    relu = isinstance(op.activation, Relu)
    if not op.adds and relu and isinstance(first, BatchNorm | BatchNormAgain):
        return norm.batch_norm(first, inputs, outputs, then)
    return _two_primitives(op, inputs, outputs)


def _two_primitives(op: Epilogue, inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Choice:
    """The operation, and then what is behind it, in place."""
    own = len(inputs) - op.adds
    first = FIRST[type(op.first)](op.first, inputs[:own], outputs)
    y = replace(outputs[0], layout=first.outputs[0])
    behind: Choice
    if op.adds:
        then = activation.elementwise(op.activation) if op.activation is not None else None
        behind = merge.add(Add(), (y, y), (y,), then)
    else:
        assert op.activation is not None
        behind = activation.activation(op.activation, (y,), (y,))

    def make(inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Kernel:
        one = first.make(inputs[:own], outputs)
        other = behind.make((y,) * (1 + op.adds), (y,))

        def bind(*arrays: Array) -> Callable[[], None]:
            values, addend = arrays[:own], arrays[own : len(inputs)]
            results = arrays[len(inputs) : len(inputs) + len(outputs)]
            scratch = arrays[-1:]
            return in_turn(
                one.bind(*values, *results, *scratch * bool(one.workspace)),
                other.bind(results[0], *addend, results[0], *scratch * bool(other.workspace)),
            )

        return Composed(
            may_alias=tuple((out, place) for out, place in one.may_alias if place < own),
            workspace=max(one.workspace, other.workspace),
            implementation=one.implementation,
            binder=bind,
        )

    return Choice((*first.inputs, *(y.layout,) * op.adds), first.outputs, make)


CHOOSERS: Choosers = {Epilogue: epilogue}
