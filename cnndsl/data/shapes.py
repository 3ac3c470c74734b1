"""Shapes and textures as functions of coordinates: what synthetic images are drawn from."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

#: Signed distance at (x right, y down), about: below zero inside, and the shape fits -1..1.
Shape = Callable[[np.ndarray, np.ndarray], np.ndarray]

#: Brightness, 0 or 1 with soft edges, at (x, y) in the pattern's periods.
Texture = Callable[[np.ndarray, np.ndarray], np.ndarray]


def _circle(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.hypot(x, y) - 0.9


def _square(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.maximum(np.abs(x), np.abs(y)) - 0.78


def _triangle(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.maximum(y - 0.65, 0.866 * np.abs(x) - 0.5 * y - 0.45)


def _diamond(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return (np.abs(x) + np.abs(y) - 1.0) * 0.707


def _cross(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    x, y = np.abs(x), np.abs(y)
    return np.minimum(np.maximum(x - 0.95, y - 0.3), np.maximum(x - 0.3, y - 0.95))


def _ring(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.abs(np.hypot(x, y) - 0.7) - 0.24


def _star(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.hypot(x, y) - 0.62 - 0.36 * np.cos(5 * np.arctan2(x, -y))


def _bar(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.maximum(np.abs(x) - 0.97, np.abs(y) - 0.32)


def _crescent(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.maximum(np.hypot(x, y) - 0.9, 0.72 - np.hypot(x - 0.5, y))


def _corner(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.maximum(_square(x, y), np.minimum(x + 0.15, 0.15 - y))


SHAPES: dict[str, Shape] = {
    "circle": _circle,
    "square": _square,
    "triangle": _triangle,
    "diamond": _diamond,
    "cross": _cross,
    "ring": _ring,
    "star": _star,
    "bar": _bar,
    "crescent": _crescent,
    "corner": _corner,
}


def _soft(wave: np.ndarray) -> np.ndarray:
    """A wave of -1..1 made nearly square, 0..1."""
    return np.clip(0.5 + 1.2 * wave, 0, 1)


def _turn(angle: float) -> Texture:
    """Stripes whose normal stands at `angle` (fractions of a half turn) to the right."""
    across, down = np.float32(np.cos(np.pi * angle)), np.float32(np.sin(np.pi * angle))
    return lambda x, y: _soft(np.sin(2 * np.pi * (across * x + down * y)))


def _solid(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.ones_like(x + y)


def _checked(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return _soft(2 * np.sin(np.pi * 1.2 * x) * np.sin(np.pi * 1.2 * y))


def _dotted(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return _soft(np.sin(np.pi * 2 * x) + np.sin(np.pi * 2 * y) - 0.6)


#: By name: how many patterns fit where one coarse one does, and the pattern.
TEXTURES: dict[str, tuple[float, Texture]] = {
    "solid": (1, _solid),
    "striped": (1, _turn(0.5)),
    "barred": (1, _turn(0)),
    "checked": (1, _checked),
    "slashed": (1, _turn(0.25)),
    "dotted": (1, _dotted),
    "backslashed": (1, _turn(0.75)),
    "finely striped": (2, _turn(0.5)),
    "finely barred": (2, _turn(0)),
    "finely checked": (2, _checked),
    "finely slashed": (2, _turn(0.25)),
    "finely backslashed": (2, _turn(0.75)),
}
