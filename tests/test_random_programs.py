"""Random networks compute the same, and learn the same, after all rewrites."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from random_programs import programs
from rewriting import assert_same, close, gradients, inference, model

from cnndsl import passes
from cnndsl.passes import FOR_INFERENCE, FOR_TRAINING
from cnndsl.passes.chains import CHAINS

FUSIONS = (*passes.FUSIONS, *CHAINS)

NIGHTLY = settings.get_current_profile_name() == "nightly"
random_networks = settings(
    max_examples=1000 if NIGHTLY else 50,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)


@random_networks
@given(programs())
def test_rewrites_of_inference_change_no_number(text: str) -> None:
    graph = model(text)
    assert close(inference(graph, ()), inference(graph, FOR_INFERENCE, FUSIONS))


@random_networks
@given(programs())
def test_rewrites_of_training_change_no_gradient(text: str) -> None:
    graph = model(text)
    assert_same(gradients(graph, ()), gradients(graph, FOR_TRAINING, FUSIONS))
