"""Draws the pictures of the documentation: `python docs/pictures.py`."""

from __future__ import annotations

import re
from html import escape
from pathlib import Path

from cnndsl.compile import check
from cnndsl.diagnostics import Source, render_all
from cnndsl.files import write_whole
from cnndsl.frontend.library import load_text

HERE = Path(__file__).parent

WRONG = """\
block basic(width, stride = 1) {
    residual {
        conv width, 3x3, /stride -> bn -> relu
        conv width, 3x3          -> bn
    }
    relu
}

model resnet(classes = 10) {
    input 56x56x64
    for i, width in [64, 128] {
        basic width, stride = i + 1
    }
    avgpool global -> fc clases
}
"""

WIDTH, LINE, LEFT, TOP = 8.4, 20, 18, 26
COLOURS = [
    (r"^error\[\w+\]", "#e5534b"),
    (r"\^+.*$", "#e5534b"),
    (r"--+(?!>).*$", "#539bf5"),
    (r"-->.*$", "#768390"),
    (r"= help:.*$", "#57ab5a"),
]


def colour(line: str) -> list[tuple[int, int, str]]:
    """The coloured stretches of a line of a report."""
    for pattern, fill in COLOURS:
        found = re.search(pattern, line)
        if found:
            return [(found.start(), found.end(), fill)]
    return []


def picture(text: str) -> str:
    """A terminal's picture of a text, as SVG."""
    lines = text.splitlines()
    width = LEFT * 2 + WIDTH * max(map(len, lines))
    height = TOP + LINE * len(lines)
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height}" '
        f'viewBox="0 0 {width:.0f} {height}">',
        f'<rect width="{width:.0f}" height="{height}" rx="8" fill="#1c2128"/>',
        '<g font-family="ui-monospace, Menlo, Consolas, DejaVu Sans Mono, monospace" '
        'font-size="14" fill="#cdd9e5">',
    ]
    for row, line in enumerate(lines):
        y = TOP + row * LINE
        places = colour(line)
        parts, at = [], 0
        for start, end, fill in places:
            parts += [(at, line[at:start], None), (start, line[start:end], fill)]
            at = end
        parts.append((at, line[at:], None))
        for start, part, fill in parts:
            if part.strip():
                shade = f' fill="{fill}"' if fill else ""
                x = LEFT + start * WIDTH
                length = f'textLength="{len(part) * WIDTH:.1f}" lengthAdjust="spacingAndGlyphs"'
                shown = escape(part).replace(" ", "\N{NO-BREAK SPACE}")
                out.append(f'<text x="{x:.1f}" y="{y}" {length}{shade}>{shown}</text>')
    return "\n".join([*out, "</g>", "</svg>"]) + "\n"


if __name__ == "__main__":
    diagnostics, _ = check(load_text(Source("resnet.cnn", WRONG)))
    write_whole(HERE / "error.svg", picture(render_all(diagnostics)))
