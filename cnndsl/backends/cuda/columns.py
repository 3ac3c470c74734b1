"""Sums over images and positions, a channel each: two kernels, deterministic."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from cnndsl.backends.cuda.launch import (
    THREADS,
    Argument,
    Launch,
    Pitch,
    Rows,
    Scratch,
    Source,
    aligned,
    c_type,
    pack_of,
)
from cnndsl.graph.types import Type

#: Blocks of rows times blocks of channels: enough for a large GPU.
BLOCKS = 512
#: Rows that a thread adds up at least.
FEWEST_ROWS = 8


@dataclass(frozen=True)
class Columns:
    """Sums of a channel over the rows of values of one shape, and what is made of them.

    The rows are all, or with `items` those of as many equal parts, each by itself. `terms` are
    expressions over v0, v1, … (the numbers of `whole`, element by element), and over the arrays
    w0, w1, … of `vectors`, float, at the channel `c` (or the `row`), and over what `before`
    defines: one sum each. `finish` are
    statements that set results, r0, r1, … of the type `result` of CUDA C, at `at`, which is c but
    for items, from `total[0]`, …; they may read `x0` too.
    """

    whole: tuple[Type, ...]
    terms: tuple[str, ...]
    finish: tuple[str, ...]
    vectors: int = 0
    items: int = 1
    result: str = "float"
    before: tuple[str, ...] = ()

    @property
    def channels(self) -> int:
        return self.whole[0].channels

    @property
    def rows(self) -> int:
        return math.prod(self.whole[0].concrete()[:-1]) // self.items

    @property
    def parts(self) -> int:
        """Blocks of rows."""
        pack, lanes = self._shape()
        across = -(-self.channels // (pack * lanes))
        depth = THREADS // lanes
        return max(1, min(BLOCKS // (across * self.items), -(-self.rows // (depth * FEWEST_ROWS))))

    @property
    def nbytes(self) -> int:
        """Bytes of scratch for partial sums."""
        return 4 * len(self.terms) * self.parts * self.channels * self.items

    def launches(
        self,
        arguments: Sequence[Argument],
        results: Sequence[Argument],
        offset: int = 0,
    ) -> tuple[Launch, Launch]:
        """Both kernels, given `whole`, `vectors`, the results and where in the
        workspace partial sums are to be."""
        partial = Scratch(offset, self.nbytes)
        pack, lanes = self._shape()
        sizes = (
            f"constexpr int CHANNELS = {self.channels};",
            f"constexpr int SUMS = {len(self.terms)};",
            f"constexpr int PARTS = {self.parts};",
        )
        parameters = [f"const {c_type(t)} *x{place}" for place, t in enumerate(self.whole)]
        parameters += [f"const float *w{place}" for place in range(self.vectors)]
        loads, more, pitches = [], [], []
        for place, type in enumerate(self.whole):
            at = "first"
            if isinstance(type.layout, Rows):
                at = f"row * pitch{place} + channel"
                more.append(f"long long pitch{place}")
                pitches.append(Pitch(_place(arguments[place])))
            loads.append(
                f"const Pack<{c_type(type)}, PACK> p{place} = load<PACK>(x{place} + {at});"
            )
        terms = [f"const float v{p} = number(p{p}.at[k]);" for p in range(len(self.whole))]
        terms += self.before
        terms += [f"sum[{s}][k] += {term};" for s, term in enumerate(self.terms)]
        first = Source(
            "columns.cu",
            "columns",
            (
                *sizes,
                f"constexpr long long ROWS = {self.rows};",
                f"constexpr int PACK = {pack};",
                f"constexpr int LANES = {lanes};",
                f"#define PARAMETERS {', '.join([*parameters, *more])}",
                f"#define LOAD {' '.join(loads)}",
                f"#define TERMS {' '.join(terms)}",
            ),
        )
        outputs = [f"{self.result} *r{place}" for place in range(len(results))]
        second = Source(
            "column_totals.cu",
            "column_totals",
            (
                *sizes,
                f"#define PARAMETERS {', '.join(parameters)}",
                f"#define RESULTS {', '.join(outputs)}",
                f"#define FINISH {' '.join(self.finish)}",
            ),
        )
        across = -(-self.channels // (pack * lanes))
        below = -(-self.channels // 32)
        return (
            Launch(
                first,
                (across, self.parts, self.items),
                (THREADS, 1, 1),
                (*arguments, *pitches, partial),
            ),
            Launch(second, (below, 1, self.items), (32, 32, 1), (*arguments, partial, *results)),
        )

    def _shape(self) -> tuple[int, int]:
        """The channels of a thread, and threads side by side: a power of two, at most a warp."""
        pack = pack_of([t.dtype for t in self.whole], self.channels, *aligned(*self.whole))
        lanes = 1
        while lanes < 32 and lanes * pack < self.channels:
            lanes *= 2
        return pack, lanes


def _place(argument: Argument) -> int:
    """The place of an array that is no scratch."""
    assert isinstance(argument, int)
    return argument
