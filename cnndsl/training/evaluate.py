"""Evaluation: the loss and accuracy of a program's logits over a split."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from cnndsl.data.loader import Loader
from cnndsl.runtime.program import Program


@dataclass(frozen=True, slots=True)
class Score:
    """Cross-entropy and the part of images whose largest logit is the label's (top-1, top-5)."""

    loss: float
    accuracy: float
    top5: float
    images: int


def log_softmax(logits: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Logarithms of probabilities, in float64, of logits (N, classes)."""
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    result: np.ndarray[Any, Any] = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return result


def evaluate(program: Program, loader: Loader) -> Score:
    """Run the program over every image of the loader; a padded last batch counts what is valid."""
    loss, hits, hits5, images = 0.0, 0, 0, 0
    program.refresh()
    for *batch, labels, valid in loader.evaluate():
        for name, array in zip(loader.feed.names, batch, strict=True):
            program.write(name, array)
        program.run()
        logits = program.read("logits").reshape(program.batch, -1)[:valid]
        labels = labels[:valid]
        logarithms = log_softmax(logits)
        of_label = logarithms[np.arange(valid), labels]
        loss -= float(of_label.sum())
        rank = (logarithms > of_label[:, None]).sum(axis=1)
        hits += int((logits.argmax(axis=1) == labels).sum())
        hits5 += int((rank < 5).sum())
        images += valid
    count = max(1, images)
    return Score(loss / count, hits / count, hits5 / count, images)
