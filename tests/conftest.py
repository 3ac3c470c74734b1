"""Options of the test suite."""

from __future__ import annotations

import os

# Workers share the cores: threads of one would wait for those of another.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
from hypothesis import settings

settings.register_profile("nightly", max_examples=1000, deadline=None)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-golden",
        action="store_true",
        help="write the golden files anew instead of comparing with them",
    )
    parser.addoption(
        "--mutants",
        type=int,
        default=300,
        help="how many mutants of the zoo to try (default: 300)",
    )
    parser.addoption("--profile", help="a profile of Hypothesis: `nightly` tries 1,000 examples")


def pytest_configure(config: pytest.Config) -> None:
    if profile := config.getoption("--profile"):
        settings.load_profile(profile)
