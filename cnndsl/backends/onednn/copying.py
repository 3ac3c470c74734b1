"""Copies from one layout to another."""

from __future__ import annotations

import numpy as np

from cnndsl.backends.onednn.api import Argument, Handle, engine
from cnndsl.backends.onednn.primitive import Description, attributes
from cnndsl.runtime.kernel import Array


def copy(source: Handle, target: Handle) -> Description:
    """The primitive that copies a memory of one descriptor to one of another."""
    return Description("reorder", source, engine(), target, engine(), attributes())


def copy_array(source: Array, here: Handle, target: Array, there: Handle) -> None:
    """Copy the memory of one descriptor to that of another, at once."""
    description = copy(here, there)
    scratch = np.empty(description.scratch_bytes, np.uint8)
    memories = (Argument.SOURCE, here, source), (Argument.RESULT, there, target)
    description.on(memories, scratch)()
