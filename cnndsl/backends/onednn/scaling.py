"""What watches over steps: where it is elementwise, on values in whatever layout they are."""

from __future__ import annotations

from dataclasses import replace

from cnndsl.backends import numpy
from cnndsl.backends.onednn.optimizer import optimizer
from cnndsl.backends.onednn.primitive import Choice, Choosers
from cnndsl.graph.types import Type
from cnndsl.ops.scaling import AllFinite, Clipping, Guarded
from cnndsl.runtime.kernel import Kernel


def of_all(op: AllFinite | Clipping, inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Choice:
    def make(inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Kernel:
        plain = tuple(replace(type, layout=None) for type in inputs)
        return numpy.kernel_of(op, plain, outputs)

    return Choice(tuple(type.layout for type in inputs), (None,), make)


CHOOSERS: Choosers = {AllFinite: of_all, Clipping: of_all, Guarded: optimizer}
