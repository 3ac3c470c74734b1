"""The examples are right, and every rewrite has something to do in the zoo or in one of them."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest
from rewriting import EXAMPLES, ZOO, shrunken

from cnndsl.compile import Objective, check, inference_graph, training_graph
from cnndsl.diagnostics import Source, render_all
from cnndsl.frontend.format import format_source
from cnndsl.frontend.library import load_file
from cnndsl.graph.rewrite import Event, Rewrite
from cnndsl.passes import FOR_INFERENCE, FOR_TRAINING

FILES = sorted(EXAMPLES.glob("*.cnn"))
REWRITES = {rewrite.name: rewrite for rewrite in (*FOR_TRAINING, *FOR_INFERENCE)}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_an_example_says_what_it_shows_and_is_right(path: Path) -> None:
    assert path.read_text().startswith("# ")
    diagnostics, networks = check(load_file(path))
    assert not diagnostics, render_all(diagnostics)
    assert networks


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_an_example_is_formatted(path: Path) -> None:
    text = path.read_text()
    assert format_source(Source(path.name, text)) == text


def test_every_example_is_among_the_small_networks() -> None:
    assert {path.stem for path in FILES} <= {reference.split(":")[0] for reference in ZOO}


@cache
def where_it_fires() -> dict[str, set[str]]:
    """For each rewrite the networks in which it fires, in inference or in training."""
    found: dict[str, set[str]] = {}
    for name in ZOO:
        events: list[Event] = []
        inference_graph(shrunken(name), events=events)
        training_graph(shrunken(name), Objective(), events=events)
        for event in events:
            if event.declined is None:
                found.setdefault(event.rewrite, set()).add(name)
    return found


@pytest.mark.parametrize("rewrite", REWRITES.values(), ids=REWRITES)
def test_a_rewrite_fires_in_a_network_that_somebody_would_write(rewrite: Rewrite) -> None:
    assert where_it_fires().get(rewrite.name)
