"""Loss scaling: what is elementwise, on values in whatever layout they are."""

from __future__ import annotations

from dataclasses import replace

from cnndsl.backends import numpy
from cnndsl.backends.onednn.optimizer import optimizer
from cnndsl.backends.onednn.primitive import Choice, Choosers
from cnndsl.graph.types import Type
from cnndsl.ops.scaling import AllFinite, Guarded
from cnndsl.runtime.kernel import Kernel


def all_finite(op: AllFinite, inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Choice:
    def make(inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Kernel:
        plain = tuple(replace(type, layout=None) for type in inputs)
        return numpy.kernel_of(op, plain, outputs)

    return Choice(tuple(type.layout for type in inputs), (None,), make)


CHOOSERS: Choosers = {AllFinite: all_finite, Guarded: optimizer}
