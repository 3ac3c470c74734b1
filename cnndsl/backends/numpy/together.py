"""Kernels of one operation on many sets of operands: one set after the other."""

from __future__ import annotations

from cnndsl.backends.numpy import cast, norm, optimizer, scaling
from cnndsl.graph.types import Type
from cnndsl.ops.together import Together
from cnndsl.runtime.kernel import Array, Builders, Kernel

#: Kernels of what may be done together.
EACH: Builders = {**cast.KERNELS, **norm.KERNELS, **optimizer.KERNELS, **scaling.KERNELS}


def together(op: Together, inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Kernel:
    build = EACH[type(op.each)]
    pairs = zip(op.sets(inputs), op.sets(outputs), strict=True)
    kernels = [build(op.each, own, results) for own, results in pairs]
    takes, gives = len(inputs) // op.count, len(outputs) // op.count

    def run(*arrays: Array) -> None:
        operands = op.sets(arrays[: len(inputs)])
        results = op.sets(arrays[len(inputs) : len(inputs) + len(outputs)])
        scratch = arrays[len(inputs) + len(outputs) :]
        for kernel, own, made in zip(kernels, operands, results, strict=True):
            more = (scratch[0][: kernel.workspace],) if kernel.workspace else ()
            kernel.run(*own, *made, *more)

    may_alias = tuple(
        (number * gives + output, number * takes + slot)
        for number, kernel in enumerate(kernels)
        for output, slot in kernel.may_alias
    )
    return Kernel(run, may_alias, max(kernel.workspace for kernel in kernels))


KERNELS: Builders = {Together: together}
