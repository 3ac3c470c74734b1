"""Every code: importing this imports all of cnndsl, so that each module registers its own."""

from __future__ import annotations

import importlib
import pkgutil

import cnndsl
from cnndsl.diagnostics import CODES

for _module in pkgutil.walk_packages(cnndsl.__path__, "cnndsl."):
    if not _module.name.endswith("__main__"):
        importlib.import_module(_module.name)

__all__ = ["CODES"]
