"""Finds `grammar/` and `zoo/`: inside the package in a wheel, beside it in a checkout."""

from __future__ import annotations

from pathlib import Path


def resource(folder: str) -> Path:
    """The folder `grammar` or `zoo`, wherever this installation keeps it."""
    package = Path(__file__).resolve().parent
    for place in (package / folder, package.parent / folder):
        if place.is_dir():
            return place
    raise FileNotFoundError(f"this installation of cnndsl has no folder {folder!r}")
