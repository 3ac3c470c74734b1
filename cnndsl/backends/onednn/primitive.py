"""Primitives: how they are described, made once and executed on the arrays they are bound to."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

from cnndsl.backends.onednn.api import (
    SCRATCHPAD_OF_USER,
    Algorithm,
    Argument,
    ExecutionArgument,
    Failure,
    Handle,
    Query,
    descriptor_query,
    function,
    stream,
)
from cnndsl.backends.onednn.memory import descriptor, memory, nbytes_of
from cnndsl.graph.op import Op
from cnndsl.graph.types import Type
from cnndsl.runtime.kernel import Array, Composed, Kernel


@dataclass(frozen=True)
class Elementwise:
    """A function of each element, after a primitive."""

    algorithm: Algorithm
    alpha: float = 0.0
    beta: float = 0.0


@dataclass(frozen=True)
class Sum:
    """What the result's memory holds is added."""


@dataclass(frozen=True)
class Binary:
    """The sum or the product with a value of a type."""

    algorithm: Algorithm
    type: Type


PostOperation = Elementwise | Sum | Binary


def attributes(post_operations: Sequence[PostOperation] = ()) -> Handle:
    """What a primitive does after its own work, in order; its scratchpad is the caller's."""
    made = Handle("primitive_attr_destroy", "primitive_attr_create")
    function("primitive_attr_set_scratchpad_mode")(made, SCRATCHPAD_OF_USER)
    if post_operations:
        chain = Handle("post_ops_destroy", "post_ops_create")
        for each in post_operations:
            if isinstance(each, Elementwise):
                append = function("post_ops_append_eltwise")
                append(chain, each.algorithm, each.alpha, each.beta)
            elif isinstance(each, Sum):
                function("post_ops_append_sum")(chain, 1.0, 0, 0)
            else:
                append = function("post_ops_append_binary")
                append(chain, each.algorithm, descriptor(each.type))
        function("primitive_attr_set_post_ops")(made, chain)
    return made


class Description:
    """A primitive's descriptor: what it does, how, and in which layouts."""

    def __init__(self, creator: str, *arguments: Any) -> None:
        """Apply a creator, named without `dnnl_` and `_primitive_desc_create`.

        Raises:
            Failure: the library cannot do this.
        """
        name = f"{creator}_primitive_desc_create"
        kept = [each for each in arguments if isinstance(each, Handle)]
        self.handle = Handle("primitive_desc_destroy", name, *arguments, keeps=kept)

    @cached_property
    def implementation(self) -> str:
        """Which of the library's implementations it is: `jit:avx2`, `ref:any`."""
        text = ctypes.c_char_p()
        query = function("primitive_desc_query")
        query(self.handle, Query.IMPLEMENTATION, 0, ctypes.byref(text))
        return (text.value or b"").decode()

    def layout(self, what: Query) -> Handle | None:
        """A copy of the descriptor of one of its memories; None if it has no such."""
        return _descriptor_of(self.handle, what)

    @cached_property
    def scratch_bytes(self) -> int:
        found = self.layout(Query.SCRATCHPAD)
        return nbytes_of(found) if found is not None else 0

    @cached_property
    def primitive(self) -> Handle:
        return Handle("primitive_destroy", "primitive_create", self.handle)

    def on(
        self, memories: Sequence[tuple[int, Handle, Array]], scratch: Array | None = None
    ) -> Callable[[], None]:
        """What executes the primitive on arrays: each with its role and its descriptor."""
        given = [(role, memory(handle, address(array))) for role, handle, array in memories]
        pad = self.layout(Query.SCRATCHPAD)
        if pad is not None and nbytes_of(pad):
            assert scratch is not None
            given.append((Argument.SCRATCHPAD, memory(pad, address(scratch))))
        table = (ExecutionArgument * len(given))(
            *(ExecutionArgument(role, each.address) for role, each in given)
        )
        call = partial(
            function("primitive_execute"),
            self.primitive.address,
            stream().address,
            len(given),
            ctypes.addressof(table),
        )
        call.__dict__["keeps"] = (self, table, given, [array for *_, array in memories])
        return call


def _descriptor_of(handle: Handle, what: Query) -> Handle | None:
    pointer = descriptor_query()(handle, what, 0)
    if not pointer:
        return None
    copied = Handle("memory_desc_destroy", "memory_desc_clone", pointer)
    return copied if nbytes_of(copied) else None


def address(array: Array) -> int:
    """Where an array of NumPy begins."""
    place: int = array.ctypes.data
    return place


#: What a memory is to a primitive, and its descriptor; no role: it is not given to it.
Role = tuple[int | None, Handle]


def kernel(
    description: Description, *values: Role, may_alias: tuple[tuple[int, int], ...] = ()
) -> Composed:
    """The kernel of a primitive, given the role and the descriptor of each input and output."""

    def bind(*arrays: Array) -> Callable[[], None]:
        memories = [
            (role, handle, array)
            for (role, handle), array in zip(values, arrays, strict=False)
            if role is not None and array is not None
        ]
        return description.on(memories, arrays[-1] if description.scratch_bytes else None)

    return Composed(
        may_alias=may_alias,
        workspace=description.scratch_bytes,
        implementation=description.implementation,
        binder=bind,
    )


def best(candidates: Iterator[Description]) -> Description:
    """The first candidate whose implementation is fast by its name; else the least slow one.

    Raises:
        Failure: there is none.
    """
    found: list[Description] = []
    for candidate in candidates:
        if _rank(candidate) == 0:
            return candidate
        found.append(candidate)
    if not found:
        raise Failure("oneDNN has no implementation")
    return min(found, key=_rank)


def tried(creator: str, *choices: Sequence[Any]) -> Iterator[Description]:
    """The descriptions that the library has, of a creator and each of some arguments."""
    for arguments in choices:
        with suppress(Failure):
            yield Description(creator, *arguments)


def is_slow(implementation: str) -> bool:
    """Whether an implementation is the library's reference."""
    return implementation.startswith("ref")


def _rank(description: Description) -> int:
    name = description.implementation
    return 2 if is_slow(name) else 1 if "gemm" in name else 0


@dataclass(frozen=True)
class Choice:
    """How an operation is done: the layouts of inputs and outputs, and what makes the kernel.

    `make` takes the types of inputs and outputs in just these layouts. `implementation` is the
    library's, where it may be one that is written for clarity alone.
    """

    inputs: tuple[Hashable | None, ...]
    outputs: tuple[Hashable | None, ...]
    make: Callable[[tuple[Type, ...], tuple[Type, ...]], Kernel]
    implementation: str = ""


#: How operations are done, by their class: each takes it and the types of inputs and outputs.
Chooser = Callable[[Any, tuple[Type, ...], tuple[Type, ...]], Choice]
Choosers = dict[type[Op], Chooser]
