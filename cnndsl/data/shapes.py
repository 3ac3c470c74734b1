"""Shapes and textures as functions of coordinates: what synthetic images are drawn from."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

#: Signed distance at (x right, y down), about: below zero inside, and the shape fits -1..1.
Shape = Callable[[np.ndarray, np.ndarray], np.ndarray]

#: Brightness, 0 or 1 with soft edges, at (x, y) in the pattern's periods.
Texture = Callable[[np.ndarray, np.ndarray], np.ndarray]

SHAPES: dict[str, Shape] = {
    "circle": lambda x, y: np.hypot(x, y) - 0.9,
    "square": lambda x, y: np.maximum(abs(x), abs(y)) - 0.78,
    "triangle": lambda x, y: np.maximum(y - 0.65, 0.866 * abs(x) - 0.5 * y - 0.45),
    "diamond": lambda x, y: (abs(x) + abs(y) - 1) * 0.707,
    "cross": lambda x, y: np.minimum(_box(x, y, 0.95, 0.3), _box(x, y, 0.3, 0.95)),
    "ring": lambda x, y: abs(np.hypot(x, y) - 0.7) - 0.24,
    "star": lambda x, y: np.hypot(x, y) - 0.62 - 0.36 * np.cos(5 * np.arctan2(x, -y)),
    "bar": lambda x, y: _box(x, y, 0.97, 0.32),
    "crescent": lambda x, y: np.maximum(np.hypot(x, y) - 0.9, 0.72 - np.hypot(x - 0.5, y)),
    "corner": lambda x, y: np.maximum(_box(x, y, 0.78, 0.78), np.minimum(x + 0.15, 0.15 - y)),
}


def _box(x: np.ndarray, y: np.ndarray, width: float, height: float) -> np.ndarray:
    """An upright rectangle about the origin, given half its width and half its height."""
    distance: np.ndarray = np.maximum(abs(x) - width, abs(y) - height)
    return distance


def _soft(wave: np.ndarray) -> np.ndarray:
    """A wave of -1..1 made nearly square, 0..1."""
    return np.clip(0.5 + 1.2 * wave, 0, 1)


def _stripes(angle: float) -> Texture:
    """Stripes whose normal stands at `angle` (a half turn is 1) from rightwards to downwards."""
    across, down = 2 * np.pi * np.cos(np.pi * angle), 2 * np.pi * np.sin(np.pi * angle)
    return lambda x, y: _soft(np.sin(float(across) * x + float(down) * y))


def _checked(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return _soft(2 * np.sin(np.pi * 1.2 * x) * np.sin(np.pi * 1.2 * y))


def _dotted(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return _soft(np.sin(np.pi * 2 * x) + np.sin(np.pi * 2 * y) - 0.6)


#: By name: how many patterns fit where one coarse one does, and the pattern.
TEXTURES: dict[str, tuple[float, Texture]] = {
    "solid": (1, lambda x, y: np.ones_like(x + y)),
    "striped": (1, _stripes(0.5)),
    "barred": (1, _stripes(0)),
    "checked": (1, _checked),
    "slashed": (1, _stripes(0.25)),
    "dotted": (1, _dotted),
    "backslashed": (1, _stripes(0.75)),
    "finely striped": (2, _stripes(0.5)),
    "finely barred": (2, _stripes(0)),
    "finely checked": (2, _checked),
    "finely slashed": (2, _stripes(0.25)),
    "finely backslashed": (2, _stripes(0.75)),
}
