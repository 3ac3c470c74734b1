"""Writes docs/errors.md from the codes, the golden files and the last full run of the mutants.

python tests/errors/write_docs.py
"""

from __future__ import annotations

import re
from pathlib import Path

from codes import CODES
from golden import COMMANDS, FILES, HERE

ROOT = HERE.parents[1]
PAGE = ROOT / "docs" / "errors.md"
MEASURED = ROOT / "tests" / "mutants" / "measured.txt"

PARTS = {
    "E01": "Syntax",
    "E02": "Shapes",
    "E03": "Names and files",
    "E04": "Arguments, values and bodies",
    "E05": "Expectations",
    "E06": "Limits",
    "E07": "Recipes",
    "W01": "Allowed, and probably not meant (`check --lint`)",
    "C01": "Files and words on the command line",
    "C02": "Engines",
    "C03": "Export",
    "D04": "Data",
    "T01": "Training",
    "T02": "Checkpoints",
}

#: Mistakes that other tools take in silence or tell without a place, by the golden file of ours.
ELSEWHERE = [
    ("a convolution's input channels do not fit: its groups do not divide them", "E0201_groups"),
    ("the two sides of a residual have different channels", "E0203_channels"),
    ("one side of a residual is 1x1: it would broadcast", "E0203_one_side_is_1x1"),
    ("one operand of a sum has one channel: it would broadcast", "E0202_add"),
    ("the branches of a concatenation differ in extent", "E0202_concat"),
    ("a map meets a vector, for want of a flatten", "E0202_concat_of_map_and_vector"),
    ("the number of features after a flatten is not what it was thought to be", "E0210_flattened"),
    ("a pool or a convolution leaves rows unread", "W0101_rows_unread"),
    ("a layer that does not exist", "E0301_layers"),
    ("an activation that does not exist", "E0302_unknown_activation"),
    ("an argument that does not exist", "E0401_arguments"),
    ("an argument given twice: the last would win", "E0404_twice"),
    ("an argument missing", "E0402_missing"),
    ("an argument of the wrong type", "E0405_layers"),
    ("a row of a table that has a column too few", "E0409_row"),
    ("a setting of the recipe that does not exist", "E0701_settings"),
    ("a schedule that does not exist: a constant rate would be taken", "E0702_words"),
    ("code of another language in an expression", "E0306_functions"),
]

#: Where another file than that of the shortest report shows more.
SHOWN = {"E0203": "E0203_stride", "E0210": "E0210_in_a_block", "E0302": "E0302_renamed"}

HEAD = """\
# Errors

This page is written by `tests/errors/write_docs.py` from the messages that the tests hold fast.

A wrong file gets one report a mistake, all mistakes of a stage together. The stages are syntax;
definitions (`use`, names of blocks and models); elaboration, model by model; expectations and the
recipe. A report has

- a code, which means the same for ever, and a sentence;
- the place, `file:line:column`, with the text there, `^` under what is wrong and `-` under what has
  to do with it: the first of two, where a block is defined, what gave a name its value;
- the calls of blocks that led there, the innermost first, with the loops around them;
- the values on the way: how the value came to have its shape, a line a layer;
- help, where the repair can be guessed.

After a mistake elaboration goes on. A broken step leaves a value that nothing further is said
about, unless the step claims a shape (`: 27x27x96`): then what follows is checked as if the claim
were so. Where a claim fails, later ones that fail by the same difference are not reported.

The exit status is 0; 1 where the network or the data is wrong; 2 where the command line is; 130
after Ctrl-C. `cnndsl check --format json` prints a list of objects with `code`, `severity`,
`message`, `file`, `line`, `column`, `end_line`, `label`, `secondary` (each with `file`, `line`,
`column`, `text`), `calls`, `trace` and `help`; `file`, `line` and `column` are null where there is
no place.
"""

ABOUT_MUTANTS = """\
## Is the place right?

`tests/mutants` makes one mistake at random in a network of the zoo, by operators that know which
line they struck, and asks `check` about it. The last full run:

```
{table}```

- *right*: still a right program; it is not counted.
- *totals*: another network, in order but for a total that its `expect` section states, such as the
  number of parameters. The report stands at the expectation, for nothing shows which number of the
  text is wrong. These are not counted either; counted as missed they would make it {with_totals}.
- *first*: the first report stands in the struck line. *named*: it stands elsewhere, where the
  mistake comes to light, and names the struck line by a further label, a call, or the values on the
  way. A layer that leaves too many channels comes to light at the next claim, for instance.
- *missed*: it does neither.
- Some operators strike more than one line: a bracket that is dropped or doubled strikes its own
  line and its partner's; an `input` that is removed its line, the next step and the model's head; a
  setting that is repeated both of its lines; a definition that is renamed, by whichever operator,
  its own line and those of its uses, which then stand for nothing.
"""


def page() -> str:
    """The text of docs/errors.md."""
    parts = [HEAD, _elsewhere(), _mutants()]
    for prefix, title in PARTS.items():
        parts.append(f"## {title}\n")
        parts += [_entry(code) for code in sorted(CODES) if code.startswith(prefix)]
    return "\n".join(parts)


def _elsewhere() -> str:
    lines = [
        "## Mistakes that others pass over\n",
        "What other tools take in silence, or tell without saying where, is reported here:\n",
        "| mistake | code |",
        "|---|---|",
    ]
    for mistake, name in ELSEWHERE:
        assert (HERE / f"{name}.cnn").exists(), name
        code = name[:5]
        lines.append(f"| {mistake} | [{code}](#{code.lower()}) |")
    return "\n".join(lines) + "\n"


def _mutants() -> str:
    if not MEASURED.exists():
        return ""
    table = MEASURED.read_text(encoding="utf-8")
    found = re.search(r"^all +\d+ +\d+ +(\d+) +(\d+) +(\d+) +(\d+)", table, re.MULTILINE)
    assert found is not None
    totals, first, named, missed = map(int, found.groups())
    share = (first + named) / (totals + first + named + missed)
    return ABOUT_MUTANTS.format(table=table, with_totals=f"{share:.1%}")


def _entry(code: str) -> str:
    return f"### {code}\n\n{_sentence(CODES[code])}\n\n```\n{_example(code)}\n```\n"


def _sentence(meaning: str) -> str:
    return f"{meaning[0].upper()}{meaning[1:]}."


def _example(code: str) -> str:
    """The shortest report of a code among the golden files, those of its own name first."""
    own = [path for path in FILES if path.stem.startswith(SHOWN.get(code, code))]
    own = [path.with_suffix(".txt") for path in own]
    commands = [path for path in COMMANDS if path.name.startswith(code)]
    reports = [r for path in own for r in _reports(path) if f"[{code}]" in r]
    if not reports:
        reports = [r for path in commands or COMMANDS for r in _reports(path) if f"[{code}]" in r]
    return min(reports, key=_preference)


def _preference(report: str) -> tuple[bool, int]:
    """Short ones, but not so short that they show neither help nor a second place."""
    lines = report.count("\n")
    return (lines < 8 and "= help" not in report, lines)


def _reports(path: Path) -> list[str]:
    """The reports of a golden file; those of a command with the command."""
    text = path.read_text(encoding="utf-8").rstrip("\n")
    starts = r"(?=^\$ )" if text.startswith("$ ") else r"(?=^(?:error|warning)\[)"
    return [part.strip("\n") for part in re.split(starts, text, flags=re.MULTILINE) if part]


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
