"""A process that plans for devices that are not there, one for each module of tests; and the engine
`cuda` on a device that is not there."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import deviceless
import fake_cupy
import pytest
from deviceless import Planner

from cnndsl.backends.cuda import cudnn_library, gpu


@pytest.fixture(scope="module")
def planner(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Planner]:
    if reason := deviceless.missing():
        pytest.skip(reason)
    with deviceless.planner(tmp_path_factory.mktemp("deviceless")) as ready:
        if reason := ready.call(deviceless.why_not):
            pytest.skip(reason)
        yield ready


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> gpu.Engine:
    """With stand-ins for CuPy and cuDNN."""
    monkeypatch.setitem(sys.modules, "cupy", fake_cupy.module())
    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)
    monkeypatch.setattr(gpu, "Plans", fake_cupy.Plans)
    monkeypatch.setattr(gpu, "MOST_SCRATCH", 4096)
    monkeypatch.setattr(cudnn_library, "unavailable", lambda: None)
    for noted in (fake_cupy.launched, fake_cupy.entered, fake_cupy.recording):
        noted.clear()
    made = gpu.Engine()
    assert made.unavailable() is None
    return made
