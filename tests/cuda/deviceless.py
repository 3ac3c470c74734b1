"""Plans of cuDNN for devices that are not there, made in a process of their own.

The stub that stands in for NVIDIA's driver must be loaded before cuDNN is, and whatever else in a
process asks for the driver finds the stub from then on: so it is kept out of the tests' process.
"""

from __future__ import annotations

import ctypes
import importlib.util
import json
import multiprocessing
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from cnndsl.backends.cuda.cudnn import Description
from cnndsl.backends.cuda.cudnn_library import unavailable
from cnndsl.backends.cuda.cudnn_plans import Plans

STUB = Path(__file__).with_name("driver_stub.c")

#: All that cuDNN wants to know of a device; an H200's, from its data sheet and CUDA's tables.
H200 = {
    "deviceName": "NVIDIA H200",
    "deviceVer": 900,
    "cudaDeviceId": 0,
    "pciDeviceId": 0,
    "driverVer": 13000,
    "isTccDriver": 0,
    "supportCoopLaunch": 1,
    "multiProcessorCount": 132,
    "warpSize": 32,
    "maxGridSize": [2147483647, 65535, 65535],
    "maxBlockSize": [1024, 1024, 64],
    "maxThreadsPerBlock": 1024,
    "maxThreadsPerSM": 2048,
    "maxCtasPerSM": 32,
    "regsPerBlock": 65536,
    "maxRegistersPerSM": 65536,
    "maxSharedMemoryPerBlock": 49152,
    "maxSharedMemoryPerBlockOptin": 232448,
    "reservedSharedMemoryPerBlock": 1024,
    "smClockRateKHz": 1980000,
    "memClockRateKHz": 3201000,
    "memoryBusWidth": 6144,
    "l2CacheSize": 62914560,
    "totalGlobalMem": 150754820096,
}

A100 = H200 | {
    "deviceName": "NVIDIA A100-SXM4-80GB",
    "deviceVer": 800,
    "multiProcessorCount": 108,
    "maxSharedMemoryPerBlockOptin": 166912,
    "smClockRateKHz": 1410000,
    "memClockRateKHz": 1593000,
    "memoryBusWidth": 5120,
    "l2CacheSize": 41943040,
    "totalGlobalMem": 85899345920,
}

B200 = H200 | {
    "deviceName": "NVIDIA B200",
    "deviceVer": 1000,
    "multiProcessorCount": 148,
    "smClockRateKHz": 1965000,
    "memClockRateKHz": 3996000,
    "memoryBusWidth": 7680,
    "l2CacheSize": 132120576,
    "totalGlobalMem": 191503007744,
}

DEVICES = {"sm_80": A100, "sm_90": H200, "sm_100": B200}


@dataclass(frozen=True)
class Planned:
    """What is known of a plan outside the process that made it."""

    name: str
    workspace: int
    candidates: int


class Planner:
    """Runs functions where the stub is loaded."""

    def __init__(self, pool: ProcessPoolExecutor) -> None:
        self._pool = pool

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """What a function of a module returns there, or raises."""
        return self._pool.submit(function, *arguments).result(timeout=120)

    def plan(self, device: str, description: Description) -> Planned:
        """The first plan for a device of `DEVICES`.

        Raises:
            Unsupported: there is none.
        """
        planned: Planned = self.call(_plan, device, description)
        return planned


def missing() -> str | None:
    """Why nothing can be planned here without a device; None if it can, as far as one sees."""
    if sys.platform != "linux":
        return "the driver's stub is for Linux"
    if _compiler() is None:
        return "no C compiler to build the driver's stub"
    if importlib.util.find_spec("cudnn") is None:
        return "cuDNN's frontend is not installed (nvidia-cudnn-frontend)"
    return None


@contextmanager
def planner(folder: Path) -> Iterator[Planner]:
    """A process with the stub built in `folder` and loaded; its folder for caches is in there."""
    stub = folder / "libcuda.so.1"
    command = [str(_compiler()), "-shared", "-fPIC", "-Wl,-soname,libcuda.so.1", "-o", str(stub)]
    subprocess.run([*command, str(STUB)], check=True)
    fresh = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, fresh, _load, (stub, folder / "cache")) as pool:
        yield Planner(pool)


def properties(device: str) -> str:
    """A device's properties as cuDNN reads them."""
    return json.dumps(DEVICES[device])


def why_not() -> str | None:
    """What is missing where the stub is loaded."""
    return unavailable()


def _compiler() -> str | None:
    return next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)


def _load(stub: Path, folder: Path) -> None:
    os.environ["CNNDSL_CACHE"] = str(folder)
    ctypes.CDLL(str(stub), mode=ctypes.RTLD_GLOBAL)


@cache
def _plans(device: str) -> Plans:
    return Plans(properties(device))


def _plan(device: str, description: Description) -> Planned:
    plan = _plans(device).plan(description)
    return Planned(plan.name, plan.workspace, plan.candidates)
