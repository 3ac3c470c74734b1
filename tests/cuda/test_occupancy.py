"""Occupancy, by what NVIDIA's calculator of it says."""

from __future__ import annotations

import pytest

from cnndsl.backends.cuda.nvrtc import Compiled
from cnndsl.backends.cuda.occupancy import occupancy


@pytest.mark.parametrize(
    ("registers", "shared", "threads", "architecture", "share"),
    [
        (32, 0, 256, "sm_90", 1.0),
        (33, 0, 256, "sm_90", 0.75),
        (40, 0, 256, "sm_90", 0.75),
        (64, 0, 256, "sm_90", 0.5),
        (65, 0, 256, "sm_90", 0.375),
        (255, 0, 256, "sm_90", 0.125),
        (33, 0, 1024, "sm_90", 0.5),
        (32, 0, 32, "sm_90", 0.5),
        (32, 0, 48, "sm_90", 1.0),
        (32, 48 * 1024, 256, "sm_90", 0.5),
        (32, 48 * 1024, 256, "sm_80", 0.375),
        (32, 48 * 1024, 256, "sm_100", 0.5),
        (32, 0, 256, "sm_86", 1.0),
        (32, 0, 1024, "sm_86", 32 / 48),
    ],
)
def test_the_scarcest_of_what_blocks_share_decides(
    registers: int, shared: int, threads: int, architecture: str, share: float
) -> None:
    assert occupancy(Compiled(registers, 0, shared), threads, architecture) == share


def test_a_block_that_no_multiprocessor_has_room_for_has_none() -> None:
    assert occupancy(Compiled(255, 0, 0), 1024, "sm_90") == 0
