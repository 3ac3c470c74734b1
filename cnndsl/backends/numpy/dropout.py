"""Kernels of dropout: NumPy's own Philox makes the masks."""

from __future__ import annotations

import math

import numpy as np

from cnndsl.backends.numpy.blocks import Blocks
from cnndsl.backends.numpy.shape import identity
from cnndsl.graph.types import Type
from cnndsl.ops.dropout import Dropout, DropoutTraining, DropPath
from cnndsl.runtime.kernel import Array, Builders, Kernel

_WORD = (1 << 64) - 1


def bits(seed: int, key: int, step: int) -> np.random.Philox:
    """The generator of a mask; it counts before it encrypts, so the first block's number is 1."""
    return np.random.Philox(
        counter=np.array([0, step & _WORD, 0, 0], np.uint64),
        key=np.array([seed & _WORD, key & _WORD], np.uint64),
    )


def halves(generator: np.random.Philox, count: int) -> Array:
    """The next `count` words of 32 bits; an odd count loses the half that is left."""
    return generator.random_raw(-(-count // 2)).astype("<u8", copy=False).view("<u4")[:count]


def dropout_training(
    op: DropoutTraining, inputs: tuple[Type, ...], outputs: tuple[Type, ...]
) -> Kernel:
    images = inputs[0].concrete()[0]
    # A block has an even number of elements, so that no half of a word is lost between blocks.
    blocks = Blocks.of(inputs[0])
    threshold = math.ceil(op.rate * 2**32)
    grow = 1 - op.rate

    def run(x: Array, seed: Array, step: Array, y: Array) -> None:
        generator = bits(int(seed), op.key, int(step))
        if op.per_image:
            dropped = halves(generator, images) < threshold
            np.divide(x, grow, out=y)
            y[dropped] = 0
            return
        if not (x.flags.c_contiguous and y.flags.c_contiguous):
            np.divide(x, grow, out=y)
            y[(halves(generator, x.size) < threshold).reshape(x.shape)] = 0
            return
        for source, target in blocks.parts((), x, y):
            dropped = halves(generator, len(source)) < threshold
            np.divide(source, grow, out=target)
            np.copyto(target, 0, where=dropped)

    return Kernel(run, may_alias=((0, 0),))


KERNELS: Builders = {
    Dropout: identity,
    DropPath: identity,
    DropoutTraining: dropout_training,
}
