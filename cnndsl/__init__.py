"""cnndsl: a language and compiler for convolutional networks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cnndsl.diagnostics import CnndslError

if TYPE_CHECKING:
    from cnndsl.model import Compiled, Model, load, loads, train

__version__ = "0.1.0"
__all__ = ["CnndslError", "Compiled", "Model", "__version__", "load", "loads", "train"]


def __getattr__(name: str) -> Any:
    """The library's verbs load NumPy and networkx when they are first asked for."""
    if name in __all__:
        from cnndsl import model

        return getattr(model, name)
    raise AttributeError(f"module 'cnndsl' has no attribute {name!r}")
