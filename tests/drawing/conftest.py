"""Lets these tests draw the random programs of the tests of the language."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "language"))
