"""Sources, spans and diagnostics: where a mistake is, what it is, and how it is printed."""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

#: Every code that cnndsl can report, with what it means in one line. `docs/errors.md` has no other
#: source, and every code has a golden file under `tests/errors/`.
CODES: dict[str, str] = {}


def register(codes: dict[str, str]) -> None:
    """Add diagnostic codes to the registry; a code has one meaning for ever."""
    for code, meaning in codes.items():
        if code in CODES:
            raise ValueError(f"diagnostic code {code} is registered twice")
        CODES[code] = meaning


@dataclass(frozen=True)
class Source:
    """The text of one file, and the name that messages call it by."""

    name: str
    text: str

    @cached_property
    def _starts(self) -> list[int]:
        return [0] + [i + 1 for i, c in enumerate(self.text) if c == "\n"]

    def position(self, offset: int) -> tuple[int, int]:
        """Line and column of a character offset, both counted from one."""
        line = bisect.bisect_right(self._starts, offset)
        return line, offset - self._starts[line - 1] + 1

    def line(self, number: int) -> str:
        """The text of a line (counted from one), without its newline."""
        start = self._starts[number - 1]
        end = self._starts[number] - 1 if number < len(self._starts) else len(self.text)
        return self.text[start:end].rstrip("\r")

    def __hash__(self) -> int:
        return id(self)

    def __eq__(self, other: object) -> bool:
        return self is other


@dataclass(frozen=True, slots=True)
class Span:
    """Characters `start` to `end` (exclusive) of a source."""

    source: Source = field(repr=False)
    start: int
    end: int

    @property
    def line(self) -> int:
        return self.source.position(self.start)[0]

    @property
    def column(self) -> int:
        return self.source.position(self.start)[1]

    @property
    def text(self) -> str:
        return self.source.text[self.start : self.end]

    def until(self, other: Span) -> Span:
        """From the start of this span to the end of another in the same source."""
        return Span(self.source, self.start, other.end)

    def __str__(self) -> str:
        return f"{self.source.name}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True)
class Label:
    """A remark on a span: what is seen there."""

    span: Span
    text: str = ""


@dataclass(frozen=True)
class Diagnostic:
    """One mistake: a code, a sentence, the place, what else to see, and the fix if known.

    `calls` are the block calls that led to the place, innermost first; `trace` are lines of shapes
    that show how the values came to be what they are.
    """

    code: str
    message: str
    label: Label | None = None
    secondary: tuple[Label, ...] = ()
    calls: tuple[str, ...] = ()
    trace: tuple[str, ...] = ()
    help: str | None = None
    severity: str = "error"

    def __post_init__(self) -> None:
        if self.code not in CODES:
            raise ValueError(f"diagnostic code {self.code} is not registered")

    @property
    def span(self) -> Span | None:
        return self.label.span if self.label else None

    def as_json(self) -> dict[str, object]:
        """The stable machine-readable form: code, message, file, line, column, help and more."""
        span = self.span
        return {
            "code": self.code,
            "severity": self.severity,
            "message": self.message,
            "file": span.source.name if span else None,
            "line": span.line if span else None,
            "column": span.column if span else None,
            "end_line": span.source.position(max(span.start, span.end - 1))[0] if span else None,
            "label": self.label.text if self.label else None,
            "secondary": [
                {
                    "file": s.span.source.name,
                    "line": s.span.line,
                    "column": s.span.column,
                    "text": s.text,
                }
                for s in self.secondary
            ],
            "calls": list(self.calls),
            "trace": list(self.trace),
            "help": self.help,
        }


class CnndslError(Exception):
    """A user's mistake or mistakes, ready to print. `status` is the process's exit status."""

    def __init__(self, *diagnostics: Diagnostic, status: int = 1) -> None:
        super().__init__("\n".join(f"{d.code}: {d.message}" for d in diagnostics))
        self.diagnostics: tuple[Diagnostic, ...] = diagnostics
        self.status = status


def error(code: str, message: str, *, help: str | None = None, status: int = 1) -> CnndslError:
    """A mistake that has no place in a file: a path, a data set, a weight file."""
    return CnndslError(Diagnostic(code, message, help=help), status=status)


def suggest(word: str, known: Iterable[str]) -> str | None:
    """The known word most like `word`, or None."""
    import difflib

    close = difflib.get_close_matches(word, sorted(set(known)), n=1, cutoff=0.6)
    return close[0] if close else None


def did_you_mean(word: str, known: Iterable[str]) -> str | None:
    """A help sentence that names the known word most like `word`."""
    close = suggest(word, known)
    return f"did you mean `{close}`?" if close else None


def _expand(text: str, column: int) -> tuple[str, int]:
    """The line with tabs as four spaces, and the column moved along."""
    return text.replace("\t", "    "), column + 3 * text[: column - 1].count("\t")


def _excerpt(labels: Sequence[tuple[Label, bool]]) -> list[str]:
    """The source lines that the labels stand on, with carets (`^`, secondary `-`) below."""
    by_line: dict[int, list[tuple[Label, bool]]] = {}
    for label, primary in labels:
        by_line.setdefault(label.span.line, []).append((label, primary))
    width = len(str(max(by_line)))
    out = [" " * width + " |"]
    previous = None
    for number in sorted(by_line):
        if previous is not None and number > previous + 1:
            if number == previous + 2:
                text = labels[0][0].span.source.line(previous + 1).replace("\t", "    ")
                out.append(f"{previous + 1:>{width}} | {text}".rstrip())
            else:
                out.append("...")
        raw = labels[0][0].span.source.line(number)
        out.append(f"{number:>{width}} | {raw.replace(chr(9), '    ')}".rstrip())
        for label, primary in sorted(by_line[number], key=lambda item: item[0].span.column):
            span = label.span
            text, start = _expand(raw, span.column)
            stop = span.source.position(span.end)
            last = _expand(raw, stop[1])[1] if stop[0] == number else len(text) + 1
            mark = ("^" if primary else "-") * max(1, last - start)
            out.append(f"{' ' * width} | {' ' * (start - 1)}{mark} {label.text}".rstrip())
        previous = number
    out.append(" " * width + " |")
    return out


def render(diagnostic: Diagnostic) -> str:
    """The report a person reads: message, place, excerpt with carets, calls, trace and help."""
    head = f"{diagnostic.severity}[{diagnostic.code}]: {diagnostic.message}"
    lines = [head]
    label = diagnostic.label
    margin = " "
    if label is not None:
        here = [s for s in diagnostic.secondary if s.span.source is label.span.source]
        shown = [(label, True), *((s, False) for s in here)]
        width = len(str(max(s.span.line for s, _ in shown)))
        margin = " " * width
        lines.append(f"{margin}--> {label.span}")
        lines += _excerpt(shown)
        for other in diagnostic.secondary:
            if other.span.source is not label.span.source:
                lines.append(f"{margin} = {other.span}: {other.text}")
    lines += [f"{margin} = {call}" for call in diagnostic.calls]
    if diagnostic.trace:
        lines.append(f"{margin} = the values on the way:")
        lines += [f"{margin}     {step}" for step in diagnostic.trace]
    if diagnostic.help:
        lines.append(f"{margin} = help: {diagnostic.help}")
    return "\n".join(lines)


def render_all(diagnostics: Sequence[Diagnostic]) -> str:
    """All reports, a blank line between them, in the order of the file."""
    return "\n\n".join(render(d) for d in diagnostics)


def to_json(diagnostics: Sequence[Diagnostic]) -> str:
    """All reports as a JSON list."""
    import json

    return json.dumps([d.as_json() for d in diagnostics], indent=2)


register(
    {
        "C0101": "a file that cannot be read",
        "C0102": "a file or folder that cannot be written",
        "C0103": "a word that is in no reference",
    }
)
