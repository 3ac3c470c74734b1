"""Every engine against the reference: operations, gradients, networks, layouts."""

from __future__ import annotations

import numpy as np
import pytest
from engines import ENGINES, agree, both, images, single

from cnndsl.backends import get_backend
from cnndsl.compile import elaborate_text
from cnndsl.graph.op import OPS

EXAMPLES = [text for kind in OPS.values() for text in kind.examples]
#: Maps of whole blocks of channels, which engines lay out in their own way.
BLOCKS = (
    "input 8x8x32 -> conv 64, 3x3",
)
