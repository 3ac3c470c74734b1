"""What is done to a result while it is in the cache: bias, addend, activation."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from cnndsl.backends.numpy.activation import DIRECT, FORWARD
from cnndsl.backends.numpy.blocks import Blocks
from cnndsl.backends.numpy.channels import LONG_ROW
from cnndsl.graph.types import Type
from cnndsl.ops.activation import Activation
from cnndsl.runtime.kernel import STRIDED, Array


@dataclass(frozen=True)
class Finish:
    """`activation(y + bias + addend)` for a part of y, in place; each of the three may be missing.

    A part is of whole rows of the map. Its scratch is the last `workspace` bytes of a kernel's.
    """

    y: Type
    adds: bool = False
    activation: Activation | None = None
    strided: bool = False
    blocks: Blocks = field(init=False)

    def __post_init__(self) -> None:
        width = self.y.extent[1]
        channels = self.y.channels
        most = 1 if self.strided or self.y.layout == STRIDED else max(1, LONG_ROW // channels)
        repeat = next(n for n in range(min(width, most), 0, -1) if width % n == 0)
        direct = self.activation is None or isinstance(self.activation, DIRECT)
        temporaries = 0 if direct else 2
        blocks = Blocks.of(self.y, temporaries, row=repeat * channels)
        object.__setattr__(self, "blocks", blocks)

    @property
    def workspace(self) -> int:
        return self.blocks.workspace

    def along(self, bias: Array | None) -> Array | None:
        """The bias for a whole row, once for all parts."""
        return None if bias is None else np.tile(bias, self.blocks.row // self.y.channels)

    def __call__(self, y: Array, bias: Array | None, addend: Array | None, scratch: Array) -> None:
        """`bias` is what `along` gives."""
        if bias is None and addend is None and self.activation is None:
            return
        spare = scratch[len(scratch) - self.workspace :]
        arrays = (y,) if addend is None else (y, addend)
        for part in self.blocks.parts((spare,), *arrays):
            if bias is not None:
                rows = part[0].reshape(-1, self.blocks.row)
                np.add(rows, bias, out=rows)
            if addend is not None:
                np.add(part[0], part[1], out=part[0])
            if self.activation is not None:
                function = FORWARD[type(self.activation)]
                temporaries = part[-2:] if self.blocks.temporaries else (part[0], part[0])
                function(self.activation, part[0], part[0], *temporaries)
