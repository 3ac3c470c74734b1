"""Images that lie apart: a value is a part of another's channels, in one piece for each image."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from cnndsl.backends.onednn.memory import Layout, by_blocks
from cnndsl.backends.onednn.shape import reorder
from cnndsl.graph.leaves import Reorder
from cnndsl.graph.op import Op
from cnndsl.graph.types import Type
from cnndsl.ops.activation import Relu
from cnndsl.ops.epilogue import Epilogue
from cnndsl.ops.merge import Concat
from cnndsl.ops.norm import BatchNorm
from cnndsl.ops.shape import Identity, Slice
from cnndsl.runtime.kernel import Array, Composed, Kernel, in_turn

#: What makes a kernel for types whose images are not apart.
Maker = Callable[[Op, tuple[Type, ...], tuple[Type, ...]], Kernel]


def are_apart(type: Type) -> bool:
    """Whether the images of a value do not follow each other at once."""
    return type.is_map and isinstance(type.layout, Layout) and type.layout.apart


def are_written_by(op: Op) -> bool:
    """Whether an operation copies its result to where it is wanted, or leaves it where it is."""
    return isinstance(op, (Concat, Identity, Slice))


def are_read_by(op: Op) -> bool:
    """Whether an operation is done for each image by itself at no loss."""
    if isinstance(op, Epilogue) and not op.adds and isinstance(op.activation, Relu):
        op = op.first
    return isinstance(op, (BatchNorm, Relu, Slice, Identity))


def one_by_one(op: Op, inputs: tuple[Type, ...], outputs: tuple[Type, ...], maker: Maker) -> Kernel:
    """The kernel of an operation that works on one image after another; a copy needs not."""
    if isinstance(op, Identity):
        choice = reorder(Reorder(outputs[0].layout), inputs, outputs)
        return choice.make(inputs, outputs)
    count = inputs[0].concrete()[0]
    kernel = maker(op, tuple(map(_single, inputs)), tuple(map(_single, outputs)))

    def bind(*arrays: Array) -> Callable[[], None]:
        types = (*inputs, *outputs)
        scratch = arrays[len(types) :]
        calls = []
        for image in range(count):
            own = (_image(a, t, image) for a, t in zip(arrays, types, strict=False))
            calls.append(kernel.bind(*own, *scratch))
        return in_turn(*calls)

    return Composed(workspace=kernel.workspace, implementation=kernel.implementation, binder=bind)


def _stride(type: Type) -> int:
    """Elements from one image of a map to the next."""
    assert isinstance(type.layout, Layout)
    return type.layout.axes[0][0][1]


def _single(type: Type) -> Type:
    """The type of one image."""
    if not type.batched:
        return type
    one = replace(type.at(1), layout=None)
    if not isinstance(type.layout, Layout):
        return one
    inner = type.layout.axes[1][1:]
    return replace(one, layout=by_blocks(one, inner[-1][0])) if inner else one


def _image(array: Array, type: Type, image: int) -> Array:
    """The part of a value's array that is one image of it."""
    if array is None or not type.batched:
        return array
    if not isinstance(type.layout, Layout):
        return array[image : image + 1]
    single = _single(type)
    own = array[image * _stride(type) :][: single.elements]
    return own if isinstance(single.layout, Layout) else own.reshape(single.concrete())
