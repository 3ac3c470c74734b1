"""Writes the pages that come from docstrings: `python docs/write.py`."""

from __future__ import annotations

from pathlib import Path

from cnndsl.files import write_whole
from cnndsl.reference import markdown, rewrites

HERE = Path(__file__).parent

if __name__ == "__main__":
    write_whole(HERE / "layers.md", markdown())
    for name, text in rewrites().items():
        write_whole(HERE / "rewrites" / name, text)
