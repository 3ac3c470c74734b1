"""What trains a network in PyTorch as our recipes mean it: the loss and the optimiser."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional as F

from cnndsl.graph.graph import Graph
from cnndsl.graph.leaves import Parameter


def loss_of(results: Any, labels: torch.Tensor, shares: tuple[float, ...]) -> torch.Tensor:
    """The cross-entropy of the logits, and that of each side head by its share."""
    several = results if isinstance(results, tuple) else (results,)
    losses = [F.cross_entropy(logits.flatten(1), labels) for logits in several]
    return sum(share * loss for share, loss in zip(shares[1:], losses[1:], strict=True)) + losses[0]


def sgd(network: Any, graph: Graph, rate: float, momentum: float, decay: float = 0.0) -> Any:
    """SGD as our recipes mean it: weight decay spares biases and norms."""
    decays = {graph.name(n): graph.op(n).decays for n in graph.of(Parameter)}
    groups = [
        {
            "params": [p for name, p in network.leaves.items() if decays[name] is which],
            "weight_decay": decay if which else 0.0,
        }
        for which in (True, False)
    ]
    groups = [group for group in groups if group["params"]]
    return torch.optim.SGD(groups, lr=rate, momentum=momentum, fused=True)
