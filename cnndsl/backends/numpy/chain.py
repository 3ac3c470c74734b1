"""Kernels of chains: those of their steps, one after another."""

from __future__ import annotations

from collections.abc import Callable

from cnndsl.backends.numpy import (
    activation,
    cast,
    dropout,
    epilogue,
    leaves,
    loss,
    merge,
    norm,
    shape,
)
from cnndsl.backends.numpy.cast import kernel_from
from cnndsl.graph.types import Type
from cnndsl.ops.chain import Chain
from cnndsl.runtime.kernel import Array, Builders, Composed, Kernel, in_turn
from cnndsl.runtime.memory import Lifetime, plan

FAMILIES = (activation, cast, dropout, epilogue, leaves, loss, merge, norm, shape)

STEPS: Builders = {kind: builder for family in FAMILIES for kind, builder in family.KERNELS.items()}


def chain(op: Chain, inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Kernel:
    """What steps leave is in scratch, rounded to its type as if nothing were fused."""
    applied = list(op.applied(inputs))
    kernels = [
        kernel_from(STEPS[type(step.op)], step.op, types, (y,)) for step, types, y in applied
    ]
    between = [y for *_, y in applied[:-1]]
    last = {p: here for here, step in enumerate(op.steps) for p in step.operands}
    waits = [Lifetime(y.total_bytes, i, last[len(inputs) + i]) for i, y in enumerate(between)]
    layout = plan(waits)

    def bind(*arrays: Array) -> Callable[[], None]:
        given, result, scratch = arrays[: len(inputs)], arrays[len(inputs)], arrays[-1]
        made = (
            scratch[offset : offset + y.total_bytes].view(y.dtype).reshape(y.concrete())
            for offset, y in zip(layout.offsets, between, strict=True)
        )
        values = (*given, *made, result)
        calls = []
        for here, (step, kernel) in enumerate(zip(op.steps, kernels, strict=True)):
            operands = (values[place] for place in step.operands)
            own = (scratch[layout.nbytes :],) if kernel.workspace else ()
            calls.append(kernel.bind(*operands, values[len(inputs) + here], *own))
        return in_turn(*calls)

    more = max(kernel.workspace for kernel in kernels)
    return Composed(workspace=layout.nbytes + more, binder=bind)


KERNELS: Builders = {Chain: chain}
