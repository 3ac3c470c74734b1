"""How much of a GPU's multiprocessor the warps of a kernel can fill."""

from __future__ import annotations

from dataclasses import dataclass

from cnndsl.backends.cuda.nvrtc import Compiled

#: Threads of a warp.
WARP = 32
#: Registers of a multiprocessor, which four quarters have among them, and how many a warp takes at
#: least and then more of.
REGISTERS, QUARTERS, REGISTER_UNIT = 65_536, 4, 256
#: Bytes of shared memory that a block takes beside its own, and of which its own is a multiple.
RESERVED, SHARED_UNIT = 1024, 128


@dataclass(frozen=True)
class Multiprocessor:
    """How many warps, blocks and bytes of shared memory are there at once."""

    warps: int
    blocks: int
    shared: int


#: By architecture. Source: CUDA C++ Programming Guide 13, Compute Capabilities.
MULTIPROCESSORS = {
    "sm_80": Multiprocessor(64, 32, 164 * 1024),
    "sm_86": Multiprocessor(48, 16, 100 * 1024),
    "sm_89": Multiprocessor(48, 24, 100 * 1024),
    "sm_90": Multiprocessor(64, 32, 228 * 1024),
    "sm_100": Multiprocessor(64, 32, 228 * 1024),
    "sm_120": Multiprocessor(48, 24, 100 * 1024),
}


def occupancy(kernel: Compiled, threads: int, architecture: str) -> float:
    """The share of a multiprocessor's warps that blocks of so many threads can be, at most 1.

    What waits for memory is hidden by other warps, so there have to be some.
    """
    there = MULTIPROCESSORS[architecture]
    warps = -(-threads // WARP)
    registers = _multiple(max(kernel.registers, 1) * WARP, REGISTER_UNIT)
    shared = _multiple(kernel.shared, SHARED_UNIT) + RESERVED
    blocks = min(
        there.warps // warps,
        there.blocks,
        REGISTERS // QUARTERS // registers * QUARTERS // warps,
        there.shared // shared,
    )
    return blocks * warps / there.warps


def _multiple(count: int, unit: int) -> int:
    return -(-count // unit) * unit
