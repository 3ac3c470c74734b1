"""The reference engine: every kernel in NumPy, right in float64, usable in float32."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
from threadpoolctl import ThreadpoolController, threadpool_limits

from cnndsl.backends.numpy import (
    activation,
    cast,
    chain,
    conv,
    dense,
    derived,
    dropout,
    epilogue,
    leaves,
    loss,
    merge,
    norm,
    optimizer,
    parts,
    pool,
    prepare,
    scaling,
    shape,
    together,
)
from cnndsl.backends.numpy.cast import kernel_from
from cnndsl.graph.op import Op, View
from cnndsl.graph.rewrite import Rewrite
from cnndsl.graph.types import Type
from cnndsl.passes.epilogues import EPILOGUES
from cnndsl.runtime.kernel import (
    STRIDED,
    Array,
    Builder,
    Canonical,
    Kernel,
    MissingKernel,
    Peaks,
    free_on_host,
    in_one_piece,
    seconds_on_host,
)
from cnndsl.runtime.memory import ALIGNMENT

FAMILIES = (
    activation,
    cast,
    chain,
    conv,
    dense,
    derived,
    dropout,
    epilogue,
    leaves,
    loss,
    merge,
    norm,
    optimizer,
    parts,
    pool,
    prepare,
    scaling,
    shape,
    together,
)

KERNELS: dict[type[Op], Builder] = {
    kind: builder for family in FAMILIES for kind, builder in family.KERNELS.items()
}


@cache
def _blas() -> ThreadpoolController:
    return ThreadpoolController()


def kernel_of(op: Op, inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Kernel:
    """The kernel of an operation.

    Raises:
        MissingKernel: there is none.
    """
    builder = KERNELS.get(type(op))
    if builder is None:
        raise MissingKernel(op, Engine.name)
    return kernel_from(builder, op, inputs, outputs)


class Engine(Canonical):
    """Arrays are `numpy.ndarray` views of one aligned buffer."""

    name = "numpy"
    fusions: tuple[Rewrite, ...] = EPILOGUES
    strides = True
    spared = 0.0
    prepares = False

    def unavailable(self) -> str | None:
        return None

    def __init__(self) -> None:
        self._threads = 1

    def use_threads(self, count: int) -> None:
        self._threads = count

    def threads(self) -> int:
        return self._threads

    def kernel(self, op: Op, inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Kernel:
        return kernel_of(op, inputs, outputs)

    def part(
        self, whole: Type, part: Type, index: View, writer: Op, readers: Collection[Op]
    ) -> tuple[View, Type] | None:
        """Everywhere; in the layout `STRIDED` where that is not in one piece."""
        strided = whole.layout == STRIDED or not in_one_piece(index)
        return index, replace(part, layout=STRIDED) if strided else part

    def peaks(self) -> Peaks:
        """Of a matrix product in float32 on as many threads as programs work on, and of a copy."""
        matrix = np.ones((1536, 1536), np.float32)
        big = np.ones(2**25, np.float32)
        other = np.empty_like(big)
        with threadpool_limits(self.threads(), user_api="blas"):
            product = min(seconds_on_host(lambda: np.matmul(matrix, matrix)) for _ in range(4))
        copy = min(seconds_on_host(lambda: np.copyto(other, big)) for _ in range(3))
        return Peaks(2 * 1536**3 / product, 2 * big.nbytes / copy)

    def free_bytes(self) -> int | None:
        return free_on_host()

    def running(self) -> AbstractContextManager[object]:
        """BLAS on one thread unless more are asked for: its threads spin, and on a busy machine
        wait for each other."""
        limit: AbstractContextManager[object] = _blas().limit(limits=self._threads, user_api="blas")
        return limit

    def allocate(self, nbytes: int) -> Array:
        raw = np.zeros(nbytes + ALIGNMENT, np.uint8)
        start = -raw.ctypes.data % ALIGNMENT
        return raw[start : start + nbytes]

    def view(self, buffer: Array, offset: int, type: Type) -> Array:
        part = buffer[offset : offset + type.total_bytes]
        return part.view(type.dtype).reshape(type.concrete())

    def upload(self, target: Array, type: Type, source: Any) -> None:
        source = np.asarray(source)
        if source.shape != target.shape:
            raise ValueError(f"an array of shape {target.shape} is wanted, this is {source.shape}")
        target[...] = source

    def download(self, source: Array, type: Type) -> Any:
        return source.copy()
