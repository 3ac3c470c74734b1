"""Dropout: random zeros in training, nothing elsewhere."""

from __future__ import annotations

from collections.abc import Sequence

from cnndsl.graph.graph import Value, apply
from cnndsl.graph.op import Mismatch, Op, op
from cnndsl.graph.types import Type


class Dropping(Op):
    """What `dropout` and `drop_path` share: outside training they are the identity."""

    rate: float

    def infer(self, x: Type) -> Type:
        if not 0 <= self.rate < 1:
            raise Mismatch(
                f"the rate of `{self.name}` is at least 0 and less than 1, this is {self.rate:g}"
            )
        return x

    def gradient(
        self, inputs: Sequence[Value], outputs: Sequence[Value], grads: Sequence[Value | None]
    ) -> Sequence[Value | None]:
        return grads

    def elementwise(self, *inputs: Type) -> tuple[int, ...]:
        return (0,)

    def flops(self, outputs: Sequence[Type], *inputs: Type) -> int:
        return 0


@op("dropout")
class Dropout(Dropping):
    """In training each element is dropped with probability `rate`, and the others grow to match.

    What is kept is divided by `1 − rate`, so that the expectation stays; outside training the value
    passes as it is.

    Source: Srivastava et al., Dropout, 2014.
    """

    rate: float = 0.5

    examples = ("input 7 -> dropout", "input 4x3x2 -> dropout 0.2", "input 7 -> dropout 0.0")


@op("drop_path")
class DropPath(Dropping):
    """Stochastic depth: in training an image's whole value is dropped with probability `rate`.

    What is kept is divided by `1 − rate`; outside training the value passes as it is. It stands at
    the end of a residual's body; `residual …, drop=` puts it there.

    Source: Huang et al., Deep networks with stochastic depth, 2016.
    """

    rate: float

    examples = ("input 4x3x2 -> drop_path 0.2", "input 7 -> drop_path 0.5")


@op("dropout_training", registry=None)
class DropoutTraining(Op):
    """Dropout with a mask that seed, key and step determine, alike on every engine.

    Inputs: x, seed and step (int64 scalars). `y = x / (1 − rate)` where the mask keeps, else 0. The
    gradient is this operation on the output's gradient: the mask is computed again, not stored.

    The mask: Philox4x64-10 with the key (seed, key), both modulo 2^64, lowest word first. Block b =
    1, 2, 3, … encrypts the counter (b, step, 0, 0), lowest word first, and gives four words of 64
    bits. The words of all blocks in order, each cut into two of 32 bits, the low half first, are
    u₀, u₁, u₂, … Element i, in the order image, row, column, channel, is kept if and only if
    `uᵢ ≥ rate · 2^32`. With `per_image` i is the image's number in the batch, and the decision
    holds for all of its elements.

    Source: Salmon et al., Parallel random numbers: as easy as 1, 2, 3, 2011.
    """

    rate: float
    key: int
    per_image: bool = False

    def infer(self, x: Type, seed: Type, step: Type) -> Type:
        return x

    def gradient(
        self, inputs: Sequence[Value], outputs: Sequence[Value], grads: Sequence[Value | None]
    ) -> Sequence[Value | None]:
        x, seed, step = inputs
        (dy,) = grads
        assert dy is not None
        return [apply(self, dy, seed, step, like=x), None, None]

    def elementwise(self, *inputs: Type) -> tuple[int, ...]:
        return (0,)

    def flops(self, outputs: Sequence[Type], *inputs: Type) -> int:
        return outputs[0].elements
