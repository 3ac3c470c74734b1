"""Training with the rewrites is training without them: the same losses, step by step."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from rewriting import ENGINE, PATHS, shrunken

from cnndsl.compile import Objective, training_graph
from cnndsl.graph.graph import Graph
from cnndsl.graph.rewrite import Event, Rewrite
from cnndsl.passes import FOR_TRAINING, FUSIONS
from cnndsl.runtime.lower import lower
from cnndsl.training.initialise import Initialisation, initial_states

STEPS, IMAGES, RATE = 50, 4, 0.005

#: Networks in which every rewrite for training fires somewhere.
NETWORKS = (
    "cells:cells",
    "densenet:cifar_densenet",
    "fully_convolutional:fully_convolutional",
    "inception:inception",
    "norms:norms",
    "ported:ported",
    PATHS,
    "resnext:beside50",
)


def losses(
    graph: Graph,
    rewrites: Sequence[Rewrite],
    fusions: Sequence[Rewrite],
    events: list[Event],
) -> list[float]:
    """The loss of every step of training on random images, a new batch each time."""
    step = training_graph(graph, Objective(), rewrites, fusions, events)
    program = lower(step, ENGINE, IMAGES)
    states = initial_states(graph, Initialisation(), 1)
    for name, slot in program.states.items():
        program.write(name, states.get(name, np.zeros(slot.type.concrete())))
    program.write("learning_rate", RATE)
    generator = np.random.default_rng(2)
    curve = []
    for number in range(STEPS):
        if "step" in program.states:
            program.write("step", number)
        program.write("image", generator.standard_normal(program.inputs["image"].array.shape))
        program.write("labels", generator.integers(0, 10, IMAGES))
        program.run()
        curve.append(float(program.read("loss")))
    return curve


def test_rewrites_leave_loss_curves_as_they_are() -> None:
    events: list[Event] = []
    for name in NETWORKS:
        first, second = (
            losses(shrunken(name), *lists, events) for lists in (((), ()), (FOR_TRAINING, FUSIONS))
        )
        np.testing.assert_allclose(first, second, rtol=1e-9, err_msg=name)
        assert len(set(first)) == STEPS
    fired = {event.rewrite for event in events if event.declined is None}
    assert fired == {rewrite.name for rewrite in (*FOR_TRAINING, *FUSIONS)}
