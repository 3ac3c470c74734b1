"""How wide text is, from a table that suits the usual sans-serif fonts."""

from __future__ import annotations

from typing import Final

#: Hundredths of the font size by character, those of DejaVu Sans; Arial and Helvetica are narrower.
_WIDTHS: Final = {
    27: "'",
    28: "ijl",
    30: "IJ",
    32: " ,.",
    34: "/:;\\|f·",
    37: "-",
    40: "()[]t!r",
    48: '"*_`',
    52: "sz?c",
    57: "LFk",
    60: "PTYaovxye",
    64: "ES$0123456789{}bdghnpqu",
    69: "ABCKRVXZ",
    76: "DGHNU",
    80: "&OQw",
    84: "#+<=>^~×→",
    100: "M%Wm@…",
}
_WIDTH: Final = {character: width for width, group in _WIDTHS.items() for character in group}
_UNKNOWN: Final = 100
_BOLD: Final = 1.11


def width(text: str, size: float, bold: bool = False) -> float:
    """The width of a line of text, rather too much than too little."""
    hundredths = sum(_WIDTH.get(character, _UNKNOWN) for character in text)
    return hundredths * size / 100 * (_BOLD if bold else 1)


def wrap(text: str, size: float, widest: float, bold: bool = False) -> list[str]:
    """A text as lines that are broken after commas where it is too wide."""
    lines = [""]
    for part in text.replace(", ", ",\0").split("\0"):
        if lines[-1] and width(f"{lines[-1]} {part}", size, bold) > widest:
            lines.append(part)
        else:
            lines[-1] = f"{lines[-1]} {part}".strip()
    return lines


def short_number(number: int) -> str:
    """A count with three digits at most: 512, 70.4k, 25.6M."""
    value, unit = float(number), ""
    for larger in ("k", "M", "G", "T"):
        if value < 999.5:
            break
        value, unit = value / 1000, larger
    if not unit or value >= 99.95:
        return f"{value:.0f}{unit}"
    return f"{value:.1f}{unit}" if value >= 9.995 else f"{value:.2f}{unit}"
