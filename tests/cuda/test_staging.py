"""Uploads arrive whole and in order, whenever a device gets round to its queues."""

from __future__ import annotations

import ctypes
import random
from collections import deque
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from cnndsl.backends.cuda import staging
from cnndsl.backends.cuda.staging import Staging

#: A step of a queue: does something and says whether it could.
Step = Callable[[], bool]


def memory(address: int, size: int) -> np.ndarray:
    """The bytes at an address."""
    return np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(address))


class Device:
    """Streams whose work is done late, in any order that the events between them allow."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.queues: dict[int, deque[Step]] = {}
        self.kept: list[np.ndarray] = []
        runtime = SimpleNamespace(
            memcpyHostToDevice=1, memcpyDeviceToDevice=3, memcpyAsync=self.memcpy
        )
        device = self

        class Stream:
            def __init__(self, non_blocking: bool) -> None:
                assert non_blocking
                self.ptr = len(device.queues)
                device.queues[self.ptr] = deque()

            def wait_event(self, event: Event) -> None:
                wanted = event.recorded
                device.queues[self.ptr].append(lambda: event.done >= wanted)

            def __enter__(self) -> None:
                pass

            def __exit__(self, *_: object) -> None:
                pass

        class Event:
            def __init__(self, disable_timing: bool) -> None:
                self.recorded = self.done = 0

            def record(self, stream: Stream) -> None:
                self.recorded += 1
                device.queues[stream.ptr].append(self.happen)

            def happen(self) -> bool:
                self.done += 1
                return True

            def synchronize(self) -> None:
                device.run(lambda: self.done == self.recorded)

        cuda = SimpleNamespace(
            runtime=runtime, Stream=Stream, Event=Event, alloc_pinned_memory=bytearray
        )
        self.cupy = SimpleNamespace(cuda=cuda, empty=self.empty)
        self.stream = Stream(non_blocking=True)

    def empty(self, size: int, dtype: str) -> Any:
        self.kept.append(np.zeros(size, dtype))
        return SimpleNamespace(data=SimpleNamespace(ptr=self.kept[-1].ctypes.data))

    def memcpy(self, target: int, source: int, size: int, kind: int, stream: int) -> None:
        """What is small and in memory that the system may move is read before this returns."""
        queued = kind == 1 and stream == self.stream.ptr
        taken = memory(source, size).copy() if queued else memory(source, size)

        def copy() -> bool:
            memory(target, size)[...] = taken
            return True

        self.queues[stream].append(copy)

    def run(self, until: Callable[[], bool]) -> None:
        """Do what is queued, a step of any stream at a time."""
        while not until():
            ready = [queue for queue in self.queues.values() if queue]
            self.random.shuffle(ready)
            assert any(self.step(queue) for queue in ready), "every stream waits for another"

    @staticmethod
    def step(queue: deque[Step]) -> bool:
        if not queue[0]():
            return False
        queue.popleft()
        return True


@pytest.mark.parametrize("seed", range(20))
def test_arrays_arrive_in_order_and_may_be_changed_at_once(seed, monkeypatch) -> None:
    monkeypatch.setattr(staging, "SMALL", 16)
    monkeypatch.setattr(staging, "PIECE", 64)
    device = Device(seed)
    uploads = Staging(device.cupy, device.stream)
    large, small = np.zeros(300, np.float32), np.zeros(4, np.float32)
    seen: list[tuple[np.ndarray, np.ndarray]] = []
    expected = []

    def read() -> bool:
        """What the work of a step reads."""
        seen.append((large.copy(), small.copy()))
        return True

    source = np.zeros(300, np.float32)
    for step in range(6):
        source[...] = np.arange(300) + 1000 * step
        uploads.upload(large.ctypes.data, source)
        uploads.upload(small.ctypes.data, source[:4])
        expected.append((source.copy(), source[:4].copy()))
        source[...] = -1
        device.queues[device.stream.ptr].append(read)
    device.run(lambda: len(seen) == 6)
    for (large_seen, small_seen), (large_sent, small_sent) in zip(seen, expected, strict=True):
        np.testing.assert_array_equal(large_seen, large_sent)
        np.testing.assert_array_equal(small_seen, small_sent)
