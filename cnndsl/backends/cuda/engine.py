"""What all engines of CUDA kernels share, whatever executes them."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from cnndsl.backends import numpy as reference
from cnndsl.backends.cuda import (
    apart,
    chain,
    conv,
    dense,
    depthwise,
    epilogue,
    gemm,
    image_norm,
    loss,
    norm,
    pointwise,
    pool,
    prepare,
    response,
    scaling,
    shape,
    together,
)
from cnndsl.backends.cuda.cudnn import Convolution, Description
from cnndsl.backends.cuda.launch import (
    ACCESS,
    SIZES,
    Addresses,
    Argument,
    Builders,
    Constant,
    Given,
    LibraryCall,
    Number,
    Pitch,
    Recipe,
    Rows,
    Scratch,
    Table,
    Task,
)
from cnndsl.graph.op import Op, View
from cnndsl.graph.rewrite import Rewrite
from cnndsl.graph.types import Type
from cnndsl.ops import derived
from cnndsl.ops.epilogue import Epilogue
from cnndsl.ops.merge import Concat
from cnndsl.ops.shape import Slice
from cnndsl.passes.chains import CHAINS
from cnndsl.passes.gpu import ON_A_GPU
from cnndsl.passes.together import TOGETHER
from cnndsl.runtime.kernel import (
    Array,
    Canonical,
    Composed,
    Kernel,
    MissingKernel,
    Peaks,
    in_one_piece,
    in_turn,
)
from cnndsl.runtime.memory import round_up

FAMILIES = (
    chain,
    conv,
    dense,
    epilogue,
    image_norm,
    loss,
    norm,
    pointwise,
    pool,
    prepare,
    response,
    scaling,
    shape,
    together,
)

BUILDERS: Builders = {
    kind: builder for family in FAMILIES for kind, builder in family.BUILDERS.items()
}

#: What is derived from weights once, before anything else runs: the reference engine does it.
ON_THE_HOST = (
    derived.ScaleFilters,
    derived.NormalScale,
    derived.NormalShift,
    derived.ScaleInputs,
    derived.PassShift,
    derived.ComposeFilters,
    derived.EmbedFilters,
    derived.DiagonalFilters,
)


@dataclass(frozen=True)
class CudaKernel(Composed):
    """A kernel that is a recipe."""

    recipe: Recipe = field(default=Recipe(()), repr=False)


class CudaEngine(Canonical, ABC):
    """An engine whose kernels are recipes.

    Maps are NHWC; filters (O, I, H, W) are stored in the order O, H, W, I, and their arrays have
    the canonical axes with the strides of that.
    """

    name: str
    fusions: tuple[Rewrite, ...] = (*ON_A_GPU, *CHAINS, *TOGETHER)
    strides = False
    spared = 0.0
    prepares = True
    _threads = 1

    @abstractmethod
    def unavailable(self) -> str | None:
        """Why this engine cannot run here, in words; None if it can."""

    @abstractmethod
    def bind(
        self, task: Task, arguments: Sequence[Given], scratch: Array | None
    ) -> Callable[[], None]:
        """What executes a task on its arguments, whose arrays are known.

        The scratch is of `library_bytes`.
        """

    def is_in_library(self, description: Description) -> bool:
        """Whether a library does a convolution or a product."""
        return True

    def is_slower(self, whole: Description, plain: Description) -> bool:
        """Whether a library is slower with what follows than without, and a kernel for that."""
        return False

    def is_faster_by_hand(self, description: Convolution) -> bool:
        """Whether kernels of our own do a depthwise convolution faster than a library."""
        return True

    def library_bytes(self, task: Task) -> int:
        """How much scratch a library takes for a task."""
        return 0

    @abstractmethod
    def allocate(self, nbytes: int) -> Array:
        """A buffer of bytes, all zero, aligned to 64."""

    @abstractmethod
    def view(self, buffer: Array, offset: int, type: Type) -> Array:
        """The part of a buffer that holds a value of a type."""

    @abstractmethod
    def upload(self, target: Array, type: Type, source: Any) -> None:
        """Copy an array of the host into a view of a type."""

    @abstractmethod
    def download(self, source: Array, type: Type) -> Any:
        """A copy of a view of a type as an array of the host."""

    @abstractmethod
    def peaks(self) -> Peaks:
        """What the device can do at best."""

    @abstractmethod
    def free_bytes(self) -> int | None:
        """How much memory the device has left."""

    def use_threads(self, count: int) -> None:
        """Threads of the host, which do nothing here but load data."""
        self._threads = count

    def threads(self) -> int:
        return self._threads

    def use_tf32(self) -> bool:
        self.tf32 = True
        return True

    def kernel(self, op: Op, inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Kernel:
        if isinstance(op, ON_THE_HOST):
            return self._on_the_host(op, inputs, outputs)
        if type(op) not in BUILDERS:
            raise MissingKernel(op, self.name)
        recipe = self._executable(BUILDERS[type(op)](op, inputs, outputs))
        more = max((self.library_bytes(task) for task in recipe.tasks), default=0)

        def binder(*arrays: Array) -> Callable[[], None]:
            return self.bound(recipe, len(inputs), arrays)

        return CudaKernel(
            may_alias=recipe.may_alias,
            workspace=round_up(recipe.workspace) + more if more else recipe.workspace,
            implementation=recipe.implementation,
            binder=binder,
            recipe=recipe,
        )

    def _executable(self, recipe: Recipe) -> Recipe:
        """The recipe in this engine's precision, in the way that this engine does its tasks."""
        behind = round_up(recipe.workspace)
        ways = [self._way(task, behind) for task in recipe.tasks]
        return replace(
            recipe,
            tasks=tuple(task for way in ways for task in way.tasks),
            workspace=max([recipe.workspace, *(way.workspace for way in ways)]),
        )

    def _way(self, task: Task, behind: int) -> Recipe:
        """A task, or those that do it: what the library has no plan for is done apart from what
        follows it, or by a kernel of our own; and apart where that is faster. Depthwise
        convolutions are done by kernels of our own where these are faster, whose scratch begins
        `behind` the recipe's."""
        if not isinstance(task, LibraryCall):
            return Recipe((task,))
        rounds = self.tf32 and task.description.dtype == "float32"
        call = replace(task, description=replace(task.description, tensor_cores=rounds))
        if depthwise.is_depthwise(call.description) and self.is_faster_by_hand(call.description):
            return depthwise.recipe(call.description, call.arguments, behind)
        split = apart.apart(call)
        together = self.is_in_library(call.description)
        if split is not None and (any(apart.follows(call.description)) or not together):
            plain = split[0].description
            if self.is_in_library(plain) and not (
                together and not self.is_slower(call.description, plain)
            ):
                return Recipe(split)
        return Recipe((call if together else gemm.launch(call.description, call.arguments),))

    def bound(self, recipe: Recipe, inputs: int, arrays: Sequence[Array]) -> Callable[[], None]:
        """What executes a recipe on operands, so many of them, results and scratch."""
        calls = []
        for task in recipe.tasks:
            given = [_argument(argument, arrays) for argument in task.arguments]
            more = arrays[-1][round_up(recipe.workspace) :] if self.library_bytes(task) else None
            calls.append(self.bind(task, given, more))
        return in_turn(*calls)

    def _on_the_host(self, op: Op, inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Kernel:
        kernel = reference.kernel_of(op, inputs, outputs)
        results = [np.empty(type.concrete(), type.dtype) for type in outputs]
        scratch = [np.empty(kernel.workspace, np.uint8)] if kernel.workspace else []

        def run(*arrays: Array) -> None:
            pairs = zip(arrays, inputs, strict=False)
            kernel.run(*(self.download(a, type) for a, type in pairs), *results, *scratch)
            for array, type, result in zip(arrays[len(inputs) :], outputs, results, strict=True):
                self.upload(array, type, result)

        return Kernel(run, implementation="numpy")

    def part(
        self, whole: Type, part: Type, index: View, writer: Op, readers: Collection[Op]
    ) -> tuple[View, Type] | None:
        """In one piece where accesses are aligned; channels for kernels that take parts of rows."""
        if in_one_piece(index):
            assert not isinstance(whole.layout, Rows), "views are read by those who take no rows"
            row = whole.total_bytes // whole.concrete()[0] if whole.shape else SIZES[whole.dtype]
            return None if _start(index[:1]) * row % ACCESS else (index, part)
        writes = _takes_rows(writer) or isinstance(writer, (Concat, Slice))
        if not (_are_channels(whole, index) and writes and all(map(_takes_rows, readers))):
            return None
        within = whole.layout.pack if isinstance(whole.layout, Rows) else whole.channels
        return index, replace(part, layout=Rows(math.gcd(_start(index[-1:]), within)))

    def running(self) -> AbstractContextManager[object]:
        return nullcontext()


def _start(index: View) -> int:
    """Where a slice of one axis, or of none, begins."""
    taken = index[0] if index else None
    return (taken.start if isinstance(taken, slice) else taken) or 0


def _are_channels(whole: Type, index: View) -> bool:
    """Whether an index takes neighbouring channels of all rows."""
    *others, last = index
    return whole.batched and isinstance(last, slice) and all(o == slice(None) for o in others)


def _takes_rows(op: Op) -> bool:
    """Whether the kernels of an operation take rows that are parts of wider ones."""
    kind = type(op.first) if isinstance(op, Epilogue) else type(op)
    return any(kind in family.BUILDERS for family in (pointwise, norm, chain))


def _argument(argument: Argument, arrays: Sequence[Array | None]) -> Given:
    if isinstance(argument, Table):
        return Addresses(tuple(_argument(place, arrays) for row in argument.rows for place in row))
    if isinstance(argument, Constant):
        return argument
    if isinstance(argument, Number):
        return argument.value
    if isinstance(argument, Pitch):
        array = arrays[argument.place]
        return 0 if array is None else array.strides[-2] // array.itemsize
    if isinstance(argument, Scratch):
        buffer = arrays[-1]
        assert buffer is not None
        return buffer[argument.offset : argument.offset + argument.nbytes]
    return arrays[argument]
