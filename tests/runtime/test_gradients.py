"""The gradient of whole networks, against central differences in float64."""

from __future__ import annotations

import numpy as np
import pytest

from cnndsl.backends import get_backend
from cnndsl.compile import elaborate_text
from cnndsl.graph.autodiff import add_gradients
from cnndsl.graph.check import verify
from cnndsl.ops.loss import CrossEntropy
from cnndsl.passes.training import add_loss, for_training
from cnndsl.runtime.lower import lower
from cnndsl.training.initialise import Initialisation, initial_states

NETWORKS = {
    "chain": "input 8x8x2 -> conv 3, 3x3 -> tanh -> avgpool 2x2, /2 -> fc 5 -> tanh -> fc 3",
    "residual": """input 8x8x2 -> conv 4, 3x3 -> bn -> silu
        residual project { conv 6, 3x3, /2 -> bn -> tanh -> conv 6, 3x3 -> bn }
        residual pad { conv 8, 3x3, /2 -> bn }
        avgpool global -> fc 3""",
    "inception": """input 7x7x3
        concat { | conv 2, 1x1 -> tanh | conv 2, 3x3 -> gelu -> conv 2, 3x3 | avgpool 3x3, /1, pad=1
        }
        gate { avgpool global -> conv 2, 1x1 -> silu -> conv 7, 1x1 -> sigmoid }
        lrn 3 -> fc 3""",
    "dense": """input 6x6x2 -> conv 4, 3x3
        dense 2 { bn -> silu -> conv 2, 3x3, bias=false }
        shuffle 2 -> groupnorm 2 -> slice 0..6 -> dwconv 3x3 -> layernorm -> scale
        avgpool global -> fc 3""",
    "heads": """input 6x6x2 -> conv 4, 3x3 -> silu
        aux 0.3 { avgpool global -> fc 3 }
        identity as a
        add { | from a | conv 4, 3x3 -> tanh | mul { | from a | from a } }
        fc 3""",
    "shared": "input 4x4x2 -> conv 2, 3x3 -> silu as a -> add { | from a | from a } -> fc 3",
}


@pytest.mark.parametrize("name", NETWORKS)
def test_gradients_agree_with_central_differences(name: str) -> None:
    graph = elaborate_text(f"model m {{\n{NETWORKS[name]}\n}}", dtype="float64")
    for_training(graph)
    loss = add_loss(graph, CrossEntropy(label_smoothing=0.1))
    gradients = add_gradients(graph, loss)
    for node, value in gradients.items():
        graph.outputs["gradient of " + graph.name(node)] = value
    graph.prune()
    verify(graph, "autodiff")
    batch = 3
    program = lower(graph, get_backend("numpy"), batch)
    names = [graph.name(node) for node in gradients]
    generator = np.random.default_rng(0)
    states = initial_states(graph, Initialisation(), 3)
    for key in states:
        if key in names:
            states[key] = states[key] + 0.1 * generator.standard_normal(states[key].shape)
        program.write(key, states[key])
    program.write("image", generator.standard_normal(program.inputs["image"].type.concrete()))
    program.write("labels", generator.integers(0, 3, batch))
    program.run()
    found = {key: program.read("gradient of " + key) for key in names}
    for _ in range(3):
        direction = {key: generator.standard_normal(states[key].shape) for key in names}
        losses = []
        for sign in (1, -1):
            for key in names:
                program.write(key, states[key] + sign * 1e-5 * direction[key])
            program.run()
            losses.append(float(program.read("loss")))
        expected = (losses[0] - losses[1]) / 2e-5
        actual = sum(float((found[key] * direction[key]).sum()) for key in names)
        assert actual == pytest.approx(expected, rel=1e-6, abs=1e-8)
