"""As much of CuPy and of cuDNN's plans as the GPU engine uses, on NumPy's arrays.

What the engine does with a GPU is so executed where there is none, with the rules of a stream that
is captured: what is launched is recorded, nothing else may happen, and a launched graph does again
what was recorded. Kernels run in the simulator, plans by the reference engine. A test may let any
of it fail.
"""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Callable, Sequence
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np

from cnndsl.backends.cuda import simulated, simulator
from cnndsl.backends.cuda.cudnn import Description, operands
from cnndsl.backends.cuda.launch import Addresses


class CUDARuntimeError(RuntimeError):
    """What CUDA's runtime reports: the error's name, a colon, and words."""


class CUDADriverError(RuntimeError):
    """What the driver reports, likewise."""


class OutOfMemoryError(MemoryError):
    pass


class CompileException(Exception):
    pass


class Array(np.ndarray):
    """An array of the device: what is written from outside is not part of a captured step."""

    @property
    def data(self) -> Any:
        return SimpleNamespace(ptr=self.ctypes.data)

    def __setitem__(self, index: Any, value: Any) -> None:
        not_captured()
        super().__setitem__(index, value)


class Graph:
    """What was recorded."""

    def __init__(self, calls: list[Callable[[], None]]) -> None:
        self.calls = calls
        self.uploaded = False

    def upload(self, stream: Stream) -> None:
        self.uploaded = True

    def launch(self, stream: Stream) -> None:
        not_captured()
        assert self.uploaded
        perhaps("launch")
        launched.append(len(self.calls))
        for call in self.calls:
            call()


class Stream:
    ptr = 7

    def __init__(self, non_blocking: bool = False) -> None:
        assert non_blocking, "the default stream waits for others"

    def __enter__(self) -> Stream:
        entered.append(self)
        return self

    def __exit__(self, *_: object) -> None:
        entered.pop()

    def begin_capture(self) -> None:
        assert entered
        assert not recording
        recording.append([])

    def end_capture(self) -> Graph:
        return Graph(recording.pop())

    def synchronize(self) -> None:
        not_captured()

    def wait_event(self, event: Event) -> None:
        not_captured()


class Event:
    count = 0

    def __init__(self, disable_timing: bool = False) -> None:
        pass

    def record(self, stream: Stream) -> None:
        not_captured()
        Event.count += 1
        self.when = Event.count

    def synchronize(self) -> None:
        not_captured()


class RawModule:
    def __init__(self, *, code: str, options: tuple[str, ...], backend: str) -> None:
        assert backend == "nvrtc"
        assert all(isinstance(option, str) for option in options)
        self.code = code

    def get_function(self, name: str) -> Callable[..., None]:
        perhaps("load")
        kernel = simulator.compiled(self.code, name)

        def launch(grid: tuple[int, ...], block: tuple[int, ...], given: Sequence[Any]) -> None:
            perhaps("launch")
            assert entered, "a kernel on the default stream"
            assert all(isinstance(each, Array | np.int64) for each in given)
            arguments = [int(e) if isinstance(e, np.int64) else pointed(e) for e in given]
            do(lambda: simulator.run(kernel, grid, block, 0, arguments))

        return launch


class Plan:
    """A plan that the reference engine executes."""

    workspace = 64
    name = "reference"
    #: Of a plan with an addend, and of any other.
    seconds_added, seconds_plain = 1e-3, 1e-3

    @property
    def seconds(self) -> float:
        adds = getattr(self.description, "add", False)
        return Plan.seconds_added if adds else Plan.seconds_plain

    def __init__(self, description: Description) -> None:
        self.description = description

    def run(self, pointers: Sequence[int], workspace: int, stream: int) -> None:
        assert workspace
        assert stream == Stream.ptr
        perhaps("execute")
        arrays = []
        for pointer, each in zip(pointers, operands(self.description), strict=True):
            span = 1 + sum((n - 1) * s for n, s in zip(each.shape, each.strides, strict=True))
            size = span * np.dtype(each.dtype).itemsize
            memory = (ctypes.c_uint8 * size).from_address(pointer)
            arrays.append(np.frombuffer(memory, np.uint8).view(each.dtype))
        do(lambda: simulated.compute(self.description, arrays))


class Plans:
    """Plans that are tuned once each."""

    def __init__(self) -> None:
        self.tuned: dict[Description, Plan] = {}

    def knows(self, description: Description) -> bool:
        return description in self.tuned

    def plan(self, description: Description) -> Plan:
        return self.tuned.get(description) or Plan(description)

    def tune(
        self,
        description: Description,
        pointers: Sequence[int],
        workspace: int,
        limit: int,
        *,
        most: int,
    ) -> Plan:
        assert len(pointers) == len(operands(description))
        assert workspace
        assert limit
        assert most
        self.tuned[description] = Plan(description)
        return self.tuned[description]


#: Bytes of the device that nobody has.
FREE = 10**9
#: The device, as CUDA's runtime describes it.
PROPERTIES = {"name": b"NVIDIA H200", "major": 9, "minor": 0}

#: What is raised instead of something, and how often that still works.
failing: dict[str, Exception] = {}
working: dict[str, int] = {}
allocated: list[weakref.ref[np.ndarray]] = []
entered: list[Stream] = []
recording: list[list[Callable[[], None]]] = []
launched: list[int] = []


def do(call: Callable[[], None]) -> None:
    """Execute a call, or record it while a stream is captured."""
    if recording:
        recording[-1].append(call)
    else:
        call()


def fail(what: str, reason: Exception, after: int = 0) -> None:
    """Let "launch", "execute", "load", "allocate", "upload", "download", "count" or "free" fail
    when it was done so often."""
    failing[what], working[what] = reason, after


def perhaps(what: str) -> None:
    """Fail, if a test wants it."""
    if what not in failing:
        return
    if working[what] == 0:
        raise failing[what]
    working[what] -= 1


def answer(what: str, value: Any) -> Any:
    perhaps(what)
    return value


def not_captured() -> None:
    assert not recording, "a captured stream does nothing but what it records"


def empty(shape: Any, dtype: str) -> np.ndarray:
    perhaps("allocate")
    return device_array(np.full(shape, 0xFF, dtype))


def zeros(shape: Any, dtype: str) -> np.ndarray:
    perhaps("allocate")
    return device_array(np.zeros(shape, dtype))


def asarray(array: np.ndarray) -> np.ndarray:
    perhaps("upload")
    return device_array(array)


def device_array(array: np.ndarray) -> np.ndarray:
    not_captured()
    memory = np.array(array)
    allocated.append(weakref.ref(memory))
    return memory.view(Array)


def pointed(array: Array) -> np.ndarray | Addresses:
    """An array as the simulator takes it; one of addresses leads to what was allocated there."""
    if array.dtype == np.int64 and array.any():
        arrays = [memory_at(each) if each else None for each in array.ravel().tolist()]
        if sum(each is not None for each in arrays) == np.count_nonzero(array):
            return Addresses(tuple(arrays))
    return array.view(np.ndarray)


def memory_at(address: int) -> np.ndarray | None:
    """The bytes from an address to the end of what was allocated with it; None if nothing was."""
    for reference in allocated:
        memory = reference()
        if memory is not None and 0 <= address - memory.ctypes.data < memory.nbytes:
            return memory.reshape(-1).view(np.uint8)[address - memory.ctypes.data :]
    return None


def asnumpy(array: np.ndarray, stream: Stream, order: str) -> np.ndarray:
    not_captured()
    perhaps("download")
    return np.array(array.view(np.ndarray), order=order)


def memcpy(target: int, source: int, size: int, kind: int, stream: int) -> None:
    not_captured()
    perhaps("upload")
    ctypes.memmove(target, source, size)


def module() -> ModuleType:
    """What `import cupy` is to give."""
    cupy = ModuleType("cupy")
    failing.clear()
    cupy.__dict__.update(
        zeros=zeros,
        empty=empty,
        asarray=asarray,
        asnumpy=asnumpy,
        RawModule=RawModule,
        get_default_memory_pool=lambda: SimpleNamespace(free_bytes=lambda: 0),
        arange=lambda count, dtype: device_array(np.arange(count, dtype=dtype)),
        sin=lambda array: device_array(np.sin(array)),
        cuda=SimpleNamespace(
            Stream=Stream,
            Event=Event,
            get_elapsed_time=lambda start, end: float(end.when - start.when),
            get_current_stream=lambda: Stream(non_blocking=True),
            alloc_pinned_memory=bytearray,
            runtime=SimpleNamespace(
                memcpyHostToDevice=1,
                memcpyDeviceToDevice=3,
                memcpyAsync=memcpy,
                getDevice=lambda: 0,
                getDeviceCount=lambda: answer("count", 1),
                getDeviceProperties=lambda number: PROPERTIES,
                memGetInfo=lambda: answer("free", (FREE, 2 * FREE)),
                CUDARuntimeError=CUDARuntimeError,
            ),
            driver=SimpleNamespace(CUDADriverError=CUDADriverError),
            memory=SimpleNamespace(OutOfMemoryError=OutOfMemoryError),
            compiler=SimpleNamespace(CompileException=CompileException),
        ),
    )
    return cupy
