"""Makes mutants and reports, by operator, where their mistakes are told.

python tests/mutants/run.py 10000 --processes 2 --show 20
"""

from __future__ import annotations

import argparse
import random
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from edits import mutate
from judge import Tally, judge, shown
from operators import OPERATORS
from originals import Program, light, whole

MEASURED = Path(__file__).parent / "measured.txt"


def trial(count: int, seed: int, programs: list[Program]) -> Tally:
    """Judge so many mutants, the operators in turn, the programs at random."""
    rng = random.Random(seed)
    tally = Tally()
    names = sorted(OPERATORS)
    made = turn = 0
    while made < count:
        mutant = mutate(rng.choice(programs), names[turn % len(names)], rng)
        turn += 1
        if mutant is not None:
            tally.add(judge(mutant))
            made += 1
    return tally


def _part(count: int, seed: int, only_light: bool) -> Tally:
    return trial(count, seed, light() if only_light else whole())


def main() -> None:
    parser = argparse.ArgumentParser(description="Mutants of the zoo.")
    parser.add_argument("count", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--light", action="store_true", help="fewer variants of each network")
    parser.add_argument("--show", type=int, default=0, help="so many of the missed ones")
    parser.add_argument("--write", action="store_true", help="keep the table for docs/errors.md")
    options = parser.parse_args()
    parts = max(1, options.count // 250)
    counts = [options.count // parts + (i < options.count % parts) for i in range(parts)]
    seeds = [1000 * options.seed + i for i in range(parts)]
    tally = Tally()
    with ProcessPoolExecutor(options.processes) as pool:
        for part in pool.map(_part, counts, seeds, [options.light] * parts):
            tally.merge(part)
    for verdict in tally.bad[: options.show]:
        print(shown(verdict), end="\n\n")
    print(tally.table())
    if options.write:
        MEASURED.write_text(tally.table() + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
