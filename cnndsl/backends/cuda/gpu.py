"""The engine `cuda`: kernels compiled by NVRTC and launched by CuPy, convolutions by cuDNN.

Where cuDNN is missing, or has no plan, a kernel of our own does them: slower, and right.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from importlib import import_module
from typing import Any

import numpy as np

from cnndsl.backends.cuda import cudnn, cudnn_library, depthwise
from cnndsl.backends.cuda.apart import apart, follows, moved_apart
from cnndsl.backends.cuda.cudnn_plans import REPEATS, Plan, Plans, current_device
from cnndsl.backends.cuda.engine import CudaEngine
from cnndsl.backends.cuda.failures import in_words
from cnndsl.backends.cuda.launch import (
    Addresses,
    Constant,
    Given,
    Launch,
    LibraryCall,
    Source,
    Task,
)
from cnndsl.backends.cuda.nvrtc import options
from cnndsl.backends.cuda.shape import are_filters, in_memory_order, physical
from cnndsl.backends.cuda.staging import Staging
from cnndsl.graph.types import Type
from cnndsl.runtime.kernel import Array, Peaks

#: Element types of CuPy's arrays where they are not those of values.
STORED_AS = {"bfloat16": "uint16"}
#: Bytes that a candidate of cuDNN may take of scratch.
MOST_SCRATCH = 512 * 2**20
#: Candidates of cuDNN that are timed: it ranks them, and one may take half a second to compile.
CANDIDATES = 4
#: Rows of the matrices, and bytes of the copy, by which peaks are measured.
PEAK_SIZE, PEAK_BYTES = 8192, 2**28
#: The oldest GPUs that have bfloat16 and tf32, as 80 for sm_80.
OLDEST = 80
HOW = "pip install 'cnndsl[cuda]'"


class Engine(CudaEngine):
    """Arrays are CuPy's; all work is on one stream, and steps are captured as one graph."""

    name = "cuda"

    def __init__(self) -> None:
        self._kernels: dict[Source, Any] = {}
        self._tuned: dict[cudnn.Description, Plan] = {}
        self._by_hand: dict[cudnn.Description, bool] = {}

    def unavailable(self) -> str | None:
        try:
            cupy = import_module("cupy")
        except ImportError:
            return f"CuPy is not installed: {HOW}"
        try:
            if cupy.cuda.runtime.getDeviceCount() == 0:
                return "there is no GPU"
            name, version = current_device()
        except cupy.cuda.runtime.CUDARuntimeError as reason:
            return _no_device(str(reason))
        if version < OLDEST:
            return f"the {name} is of sm_{version}, and kernels are for sm_{OLDEST} and later"
        return None

    def note(self) -> str | None:
        reason = cudnn_library.unavailable()
        slower = "convolutions and matrix products run on slower kernels of our own"
        return f"without cuDNN {slower}: {reason}" if reason is not None else None

    def is_in_library(self, description: cudnn.Description) -> bool:
        """Whether cuDNN is here and has a plan."""
        if cudnn_library.unavailable() is not None:
            return False
        try:
            self._plan(description)
        except cudnn.Unsupported:
            return False
        return True

    @in_words()
    def is_slower(self, whole: cudnn.Description, plain: cudnn.Description) -> bool:
        """By what tuning measured; a kernel of ours takes as long as a copy of its bytes."""
        seconds, behind = self._plan(whole).seconds, self._seconds_apart(whole, plain)
        return seconds is not None and behind is not None and seconds > behind

    @in_words()
    def is_faster_by_hand(self, description: cudnn.Convolution) -> bool:
        """By time, measured once; where cuDNN has no plan, or none that was timed, it is ours."""
        if description not in self._by_hand:
            library = self._library_seconds(description)
            ours = self._seconds_by_hand(description) if library is not None else None
            self._by_hand[description] = library is None or ours is None or ours < library
        return self._by_hand[description]

    def _library_seconds(self, description: cudnn.Convolution) -> float | None:
        """How long cuDNN's way takes, in one or with a kernel of ours behind; None if unknown."""
        call = LibraryCall(description, tuple(range(len(cudnn.operands(description)))))
        split, found = apart(call), []
        if together := self.is_in_library(description):
            found.append(self._plan(description).seconds)
        if split is not None and (any(follows(description)) or not together):
            plain = split[0].description
            if self.is_in_library(plain):
                found.append(self._seconds_apart(description, plain))
        return min((each for each in found if each is not None), default=None)

    def _seconds_apart(self, whole: cudnn.Description, plain: cudnn.Description) -> float | None:
        """How long cuDNN's plan and a copy of the bytes of what follows it take."""
        seconds = self._plan(plain).seconds
        if seconds is None:
            return None
        return seconds + moved_apart(whole) / self._copied_bytes_per_second

    def _seconds_by_hand(self, description: cudnn.Convolution) -> float | None:
        """How long our kernels take, several runs in a graph as plans are timed; None without room
        to try."""
        *inputs, result = range(len(cudnn.operands(description)))
        recipe = depthwise.recipe(description, (*inputs, result))
        try:
            with self._stream:
                arrays = [_numbers(self._cupy, each) for each in cudnn.operands(description)]
                arrays.append(self._cupy.empty(max(recipe.workspace, 1), "uint8"))
        except self._cupy.cuda.memory.OutOfMemoryError:
            return None
        run = self.sequence([self.bound(recipe, len(inputs), arrays)] * REPEATS)
        self.seconds(run)
        return min(self.seconds(run) for _ in range(5)) / REPEATS

    def bind(
        self, task: Task, arguments: Sequence[Given], scratch: Array | None
    ) -> Callable[[], None]:
        if isinstance(task, LibraryCall):
            plan = self._plan(task.description)
            pointers = [array.data.ptr for array in arguments]  # type: ignore[union-attr]
            workspace = scratch.data.ptr if scratch is not None else 0
            stream = self._stream.ptr
            return lambda: plan.run(pointers, workspace, stream)
        kernel = self._kernel(task)
        given = tuple(map(self._given, arguments))
        return lambda: kernel(task.grid, task.block, given)

    def library_bytes(self, task: Task) -> int:
        return self._plan(task.description).workspace if isinstance(task, LibraryCall) else 0

    def sequence(self, calls: Sequence[Callable[[], None]]) -> Callable[[], None]:
        """The calls one by one at first, which loads what they need; then as one captured graph."""
        return Captured(calls, self._stream)

    @in_words()
    def seconds(self, run: Callable[[], None]) -> float:
        """By events on the stream, so that launching does not count."""
        events = [self._cupy.cuda.Event() for _ in range(2)]
        with self._stream:
            events[0].record(self._stream)
            run()
            events[1].record(self._stream)
            events[1].synchronize()
        return float(self._cupy.cuda.get_elapsed_time(*events)) / 1000

    @in_words()
    def peaks(self) -> Peaks:
        """Of cuDNN's matrix product in bfloat16, and of a large copy."""
        size = PEAK_SIZE
        product = cudnn.Product(size, size, size, "bfloat16", "bfloat16")
        arrays = [_numbers(self._cupy, operand) for operand in cudnn.operands(product)]
        plan = self._plan(product)
        with self._stream:
            scratch = self._cupy.empty(max(plan.workspace, 1), "uint8")

        def multiply() -> None:
            pointers = [array.data.ptr for array in arrays]
            plan.run(pointers, scratch.data.ptr, self._stream.ptr)

        best = min(self.seconds(multiply) for _ in range(5))
        return Peaks(2 * size**3 / best, self._copied_bytes_per_second)

    @cached_property
    def _copied_bytes_per_second(self) -> float:
        """Bytes read and written by a large copy."""
        with self._stream:
            source = self._cupy.zeros(PEAK_BYTES, "uint8")
            target = self._cupy.zeros(PEAK_BYTES, "uint8")

        def copy() -> None:
            target[...] = source

        return 2 * PEAK_BYTES / min(self.seconds(copy) for _ in range(5))

    @in_words()
    def free_bytes(self) -> int | None:
        """What the device has, and what CuPy holds of it for later."""
        free, _ = self._cupy.cuda.runtime.memGetInfo()
        kept = self._cupy.get_default_memory_pool().free_bytes()
        return int(free) + int(kept)

    @contextmanager
    def running(self) -> Iterator[None]:
        with in_words(), self._stream:
            yield

    @in_words()
    def allocate(self, nbytes: int) -> Array:
        with self._stream:
            return self._cupy.zeros(max(nbytes, 1), "uint8")

    def view(self, buffer: Array, offset: int, type: Type) -> Array:
        part = buffer[offset : offset + type.total_bytes]
        array = part.view(STORED_AS.get(type.dtype, type.dtype)).reshape(physical(type))
        return array.transpose(0, 3, 1, 2) if are_filters(type) else array

    @in_words()
    def upload(self, target: Array, type: Type, source: Any) -> None:
        source = np.ascontiguousarray(source, type.dtype).reshape(np.shape(source))
        if source.shape != target.shape:
            raise ValueError(f"an array of shape {target.shape} is wanted, this is {source.shape}")
        place, content = in_memory_order(target, type), in_memory_order(source, type)
        if place.flags.c_contiguous:
            self._staging.upload(place.data.ptr, np.ascontiguousarray(content))
            return
        with self._stream:
            target[...] = self._cupy.asarray(source.view(STORED_AS.get(type.dtype, type.dtype)))

    @in_words()
    def download(self, source: Array, type: Type) -> Any:
        with self._stream:
            found = self._cupy.asnumpy(source, stream=self._stream, order="C")
        return found.view(type.dtype)

    @cached_property
    def _cupy(self) -> Any:
        return import_module("cupy")

    @cached_property
    def _stream(self) -> Any:
        return self._cupy.cuda.Stream(non_blocking=True)

    @cached_property
    def _staging(self) -> Staging:
        return Staging(self._cupy, self._stream)

    @cached_property
    def _plans(self) -> Plans:
        return Plans()

    def _given(self, argument: Given) -> Any:
        """An argument as CuPy takes it; what a recipe brings along is on the device from now on."""
        if argument is None or isinstance(argument, int):
            return np.int64(argument or 0)
        if isinstance(argument, Addresses):
            pointers = [0 if array is None else array.data.ptr for array in argument.arrays]
            return self._uploaded(np.array(pointers, np.int64))
        if isinstance(argument, Constant):
            return self._uploaded(np.array(argument.values, np.int32))
        return argument

    @in_words()
    def _uploaded(self, source: Any) -> Array:
        with self._stream:
            return self._cupy.asarray(source)

    @in_words()
    def _kernel(self, task: Launch) -> Any:
        """The kernel of a launch, compiled once; CuPy keeps it on disk too."""
        source = task.source
        if source not in self._kernels:
            module = self._cupy.RawModule(code=source.text, options=options(), backend="nvrtc")
            self._kernels[source] = module.get_function(source.entry)
        return self._kernels[source]

    @in_words()
    def _plan(self, description: cudnn.Description) -> Plan:
        """cuDNN's fastest plan on this device, found by timing where no file knows it."""
        if description not in self._tuned:
            self._tuned[description] = self._fastest(description)
        return self._tuned[description]

    def _fastest(self, description: cudnn.Description) -> Plan:
        if self._plans.knows(description):
            return self._plans.plan(description)
        try:
            arrays = [_numbers(self._cupy, operand) for operand in cudnn.operands(description)]
            scratch = self._cupy.empty(MOST_SCRATCH, "uint8")
        except self._cupy.cuda.memory.OutOfMemoryError:  # no room to time it: cuDNN's guess
            return self._plans.plan(description)
        pointers = [array.data.ptr for array in arrays]
        self._cupy.cuda.get_current_stream().synchronize()
        return self._plans.tune(
            description, pointers, scratch.data.ptr, MOST_SCRATCH, most=CANDIDATES
        )


class Captured:
    """Calls that are executed one by one at first, and from then on as one captured graph."""

    def __init__(self, calls: Sequence[Callable[[], None]], stream: Any) -> None:
        self._calls = tuple(calls)
        self._stream = stream
        self._loaded = False
        self._graph: Any = None

    def __call__(self) -> None:
        if not self._loaded:
            for call in self._calls:
                call()
            self._loaded = True
            return
        if self._graph is None:
            self._stream.begin_capture()
            try:
                for call in self._calls:
                    call()
            finally:
                self._graph = self._stream.end_capture()
            self._graph.upload(self._stream)
        self._graph.launch(self._stream)


def _numbers(cupy: Any, operand: cudnn.Operand) -> Array:
    """Numbers of both signs for an operand: zeros would be multiplied faster."""
    count = 1 + sum((n - 1) * s for n, s in zip(operand.shape, operand.strides, strict=True))
    numbers = cupy.sin(cupy.arange(count, dtype="float32"))
    if operand.dtype == "bfloat16":
        return (numbers.view("uint32") >> 16).astype("uint16")
    return numbers.astype(operand.dtype)


def _no_device(reason: str) -> str:
    """Why CUDA's runtime finds no device, in a sentence."""
    if "InsufficientDriver" in reason:
        return "NVIDIA's driver is missing, or older than CuPy needs"
    if "NoDevice" in reason:
        return "there is no GPU"
    return f"CUDA says {reason}"
