"""What cnndsl says about a mutant, and whether that is where the mistake was made."""

from __future__ import annotations

import re
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from edits import Mutant

from cnndsl.cli.check import diagnose
from cnndsl.diagnostics import CnndslError, Diagnostic, Source
from cnndsl.frontend.library import load_text

#: Seconds of processor time after which a mutant counts as one that does not end. A program that
#: reaches the limit of nodes takes about 2 on a slow machine; this is no measure of speed.
LIMIT = 20.0


@dataclass(frozen=True)
class Verdict:
    """`kind` is "right", "expectation", "first", "named", "elsewhere", "traceback" or "slow".

    - right: there is no mistake; the mutant is not counted.
    - expectation: another network, which is in order but for a total that its `expect` section
      states, such as its number of parameters. No message can know which number is wrong.
    - first: the first report stands in a struck line.
    - named: the first report names a struck line: by a further label, a call or its trace.
    - elsewhere: it does not.
    """

    kind: str
    mutant: Mutant
    told: tuple[Diagnostic, ...] = ()
    note: str = ""


def judge(mutant: Mutant) -> Verdict:
    """Check a mutant as `cnndsl check` does."""
    began = time.process_time()
    try:
        told = tuple(_diagnosed(mutant))
    except Exception:  # whatever it is, it must not have come so far
        return Verdict("traceback", mutant, note=traceback.format_exc())
    seconds = time.process_time() - began
    if seconds > LIMIT:
        return Verdict("slow", mutant, told, f"{seconds:.1f} s")
    if not told:
        return Verdict("right", mutant)
    first = told[0]
    if first.span is not None and first.span.line in mutant.struck:
        return Verdict("first", mutant, told)
    if all(d.code == "E0501" for d in told) and mutant.operator != "break_a_proof":
        return Verdict("expectation", mutant, told)
    named = mutant.struck & set(lines_named(first, mutant.program.name))
    return Verdict("named" if named else "elsewhere", mutant, told)


def _diagnosed(mutant: Mutant) -> list[Diagnostic]:
    try:
        return diagnose(load_text(Source(mutant.program.name, mutant.text)))[0]
    except CnndslError as failure:
        return list(failure.diagnostics)


def lines_named(diagnostic: Diagnostic, file: str) -> Iterator[int]:
    """Every line of the file that a report names."""
    for label in (diagnostic.label, *diagnostic.secondary):
        if label is not None:
            yield label.span.line
    labels = [label.text for label in diagnostic.secondary]
    for line in (*labels, *diagnostic.calls, *diagnostic.trace):
        for found in re.finditer(rf"(?:{re.escape(file)}:|\bline )(\d+)", line):
            yield int(found[1])


@dataclass
class Tally:
    """Verdicts by operator."""

    counts: dict[str, Counter[str]] = field(default_factory=dict)
    bad: list[Verdict] = field(default_factory=list)

    def add(self, verdict: Verdict) -> None:
        self.counts.setdefault(verdict.mutant.operator, Counter())[verdict.kind] += 1
        if verdict.kind in ("elsewhere", "traceback", "slow"):
            self.bad.append(verdict)

    def merge(self, other: Tally) -> None:
        for name, counts in other.counts.items():
            self.counts.setdefault(name, Counter()).update(counts)
        self.bad += other.bad

    @property
    def total(self) -> Counter[str]:
        return sum(self.counts.values(), Counter())

    def table(self) -> str:
        """The report by operator."""
        head = f"{'operator':28}{'mutants':>8}{'right':>7}{'totals':>8}{'first':>7}{'named':>7}"
        head += f"{'missed':>8}{'first %':>9}{'struck %':>10}"
        lines = [head, "-" * len(head)]
        for name, counts in [*sorted(self.counts.items()), ("all", self.total)]:
            first, all_ = shares(counts)
            lines.append(
                f"{name:28}{sum(counts.values()):8}{counts['right']:7}{counts['expectation']:8}"
                f"{counts['first']:7}{counts['named']:7}{counts['elsewhere']:8}"
                f"{first:9.1%}{all_:10.1%}"
            )
        lines.append(f"tracebacks {self.total['traceback']}, over the limit {self.total['slow']}")
        return "\n".join(lines)


def shares(counts: Counter[str]) -> tuple[float, float]:
    """The part of the located mistakes whose first report stands in, or names, a struck line."""
    located = counts["first"] + counts["named"] + counts["elsewhere"]
    if not located:
        return 1.0, 1.0
    return counts["first"] / located, (counts["first"] + counts["named"]) / located


def shown(verdict: Verdict) -> str:
    """A verdict for a person: what was changed, and what was told."""
    from cnndsl.diagnostics import render

    mutant = verdict.mutant
    name = Path(mutant.program.name).name
    struck = sorted(mutant.struck)
    lines = mutant.text.split("\n")
    changed = "\n".join(f"    {n}: {lines[n - 1]}" for n in struck if n <= len(lines))
    told = render(verdict.told[0]) if verdict.told else verdict.note
    return f"{verdict.kind} {mutant.operator} {name}\n{changed}\n{told}\n{verdict.note[:300]}"
