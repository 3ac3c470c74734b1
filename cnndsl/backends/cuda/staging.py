"""Copies from the host to a device that nobody waits for."""

from __future__ import annotations

import itertools
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Bytes of an array that the driver takes into its queue at once.
SMALL = 64 * 2**10
#: Bytes of a buffer, of which there are two: while one is filled the other is copied.
PIECE = 16 * 2**20


class Staging:
    """Uploads for a stream of work.

    What is small is queued between the stream's work. Large arrays go piece by piece into
    page-locked memory and from there to the device on a stream of their own, while work goes on;
    the stream of work waits for them on the device alone, and has then only to copy within it.
    """

    def __init__(self, cupy: Any, work: Any) -> None:
        self._cupy = cupy
        self._work = work

    def upload(self, target: int, source: NDArray[Any]) -> None:
        """Copy an array, as it is in memory, to an address; it may be changed afterwards."""
        runtime = self._cupy.cuda.runtime
        if source.nbytes <= SMALL:
            kind = runtime.memcpyHostToDevice
            runtime.memcpyAsync(target, source.ctypes.data, source.nbytes, kind, self._work.ptr)
            return
        content = source.reshape(-1).view(np.uint8)
        for start in range(0, content.size, PIECE):
            next(self._buffers).copy(target + start, content[start : start + PIECE])

    @cached_property
    def _buffers(self) -> itertools.cycle[_Buffer]:
        copies = self._cupy.cuda.Stream(non_blocking=True)
        return itertools.cycle([_Buffer(self._cupy, copies, self._work) for _ in range(2)])


class _Buffer:
    """Memory on both sides, and when it is free again."""

    def __init__(self, cupy: Any, copies: Any, work: Any) -> None:
        self._runtime = cupy.cuda.runtime
        self._copies, self._work = copies, work
        pinned = cupy.cuda.alloc_pinned_memory(PIECE)
        self._host = np.frombuffer(pinned, np.uint8, PIECE)
        with work:
            self._device = cupy.empty(PIECE, "uint8")
        self._arrived, self._free = (cupy.cuda.Event(disable_timing=True) for _ in range(2))

    def copy(self, target: int, piece: NDArray[np.uint8]) -> None:
        """Copy a piece to an address, when what was copied before is there."""
        runtime, device = self._runtime, self._device.data.ptr
        self._free.synchronize()
        self._host[: piece.size] = piece
        kind = runtime.memcpyHostToDevice
        runtime.memcpyAsync(device, self._host.ctypes.data, piece.size, kind, self._copies.ptr)
        self._arrived.record(self._copies)
        self._work.wait_event(self._arrived)
        kind = runtime.memcpyDeviceToDevice
        runtime.memcpyAsync(target, device, piece.size, kind, self._work.ptr)
        self._free.record(self._work)
