"""A process that plans for devices that are not there, one for each module of tests."""

from __future__ import annotations

from collections.abc import Iterator

import deviceless
import pytest
from deviceless import Planner


@pytest.fixture(scope="module")
def planner(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Planner]:
    if reason := deviceless.missing():
        pytest.skip(reason)
    with deviceless.planner(tmp_path_factory.mktemp("deviceless")) as ready:
        if reason := ready.call(deviceless.why_not):
            pytest.skip(reason)
        yield ready
