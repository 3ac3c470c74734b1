"""The page `docs/benchmarks.md` and its chart, made from `results/cpu.json` alone."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import Any

from cpu_pairs import BF16, MODES, interval, ratio

from cnndsl.files import write_whole

Entry = dict[str, Any]
PEERS = {"torch": "PyTorch", "onnxruntime": "ONNX Runtime"}

HEAD = """# Benchmarks on the CPU

Measured by `python benchmarks/cpu.py`, which writes this page from `benchmarks/results/cpu.json`.
Every side is a process of its own. Ours and one mode of a peer take turns of one or several steps,
and the median step of a turn counts; shown are medians over the turns. A ratio is
the peer's median ÷ ours, from the turns that both took beside each other: above 1 we are faster. It
is that of the peer's fastest mode in float32; its 95 % interval is a bootstrap over the rounds.

All sides have the same weights, images and labels, and their first results agree (but for dropout,
whose masks are each side's own). A training step is the forward pass, the loss (side heads
included), the backward pass and the update by SGD with momentum 0.9, in PyTorch the fused one.
PyTorch's networks are made of its ordinary layers; its modes are eager execution, `channels_last`,
`torch.compile` and both; for inference a traced network that is frozen and optimised
(`channels_last`), and Inductor with frozen weights. Compiling and warming up do not count; a table
shows the modes that were measured. What ours counts includes copying the images in.
"""
TRAINING = """## Training steps

Milliseconds a step, float32. A mode marked * was so far behind that it had one turn.
"""
INFERENCE = """## Forward passes

Milliseconds a batch, float32. A mode marked * was so far behind that it had one turn.
"""
PRECISION = """The same with bfloat16 between layers, in PyTorch by its autocast (`channels_last`).
Processors without AVX-512 have no arithmetic for it: ours computes in float32 and rounds.
"""
MEMORY = """## Memory of a training step

Megabytes that a process holds at most while it trains, beyond what it held with its libraries
loaded, before it built the network, and beyond 3 × the parameters (weights, gradients and momenta).
"""
START = """## The time to the first step

Seconds. Of `cnndsl run` to the beginning and to the end of the first step, the drawing of a
synthetic data set included; of each side's process here, from its start to the end of the first
step on images that are there. What PyTorch compiles it finds in its cache from the second run on.
"""


def write(results: Path, folder: Path) -> list[Path]:
    """Write the page and the chart into a folder; their paths."""
    content = json.loads(results.read_text())
    page, chart = folder / "benchmarks.md", folder / "benchmarks.svg"
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(chart, bars(content["measured"]["entries"].values()))
    write_whole(page, markdown(content))
    return [page, chart]


def markdown(content: dict[str, Any]) -> str:
    """The page."""
    measured, machine = content["measured"], content["machine"]
    entries, peaks = list(measured["entries"].values()), measured["peaks"]
    versions = sorted(
        {
            pair[side]["version"]
            for entry in entries
            for pair in entry.get("pairs", {}).values()
            if "skipped" not in pair
            for side in ("ours", "peer")
        }
    )
    busiest = max((e["busy_before"] for e in entries if e["busy_before"] is not None), default=0)
    parts = [
        HEAD,
        "![How many times as fast as each peer's fastest mode](benchmarks.svg)\n",
        f"The machine: {machine['processor']}, {machine['cores']} cores, "
        f"{machine['memory_mib']:,} MiB; {machine['system']}; Python {machine['python']}, "
        f"{', '.join(versions)}; {content['date']}. Its peaks, measured: "
        f"{peaks['multiply_adds_per_second'] / 1e9:.1f} G multiply-adds/s (a product of large "
        f"float32 matrices on all cores) and {peaks['bytes_per_second'] / 1e9:.1f} GB/s (copying a "
        "large array). Percentages are of these; multiply-adds are those of the network as it is "
        "written, whatever a side computes, and bytes those that our kernels read and write. "
        f"Before each network, with all sides idle, the machine was busy {busiest:.0%} of the time "
        "at most.\n",
    ]
    for what, text in (("train", TRAINING), ("infer", INFERENCE)):
        of_kind = [e for e in entries if e["what"] == what]
        if of_kind:
            parts += [text, table(*times(of_kind, what, peaks)), *gaps(of_kind)]
            short = [e for e in of_kind if BF16 in ran(e)]
            parts += [PRECISION, table(*in_bf16(short))] if short else []
    for what, text, unit in (("memory", MEMORY, held), ("start", START, started)):
        of_kind = [e for e in entries if e["what"] == what]
        if of_kind:
            parts += [text, table(*sides(of_kind, unit))]
    return "\n".join(parts)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of Markdown: the first column to the left, numbers to the right."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def ran(entry: Entry) -> dict[str, Any]:
    """The pairs of an entry that were measured, by the peer's mode."""
    return {mode: pair for mode, pair in entry["pairs"].items() if "skipped" not in pair}


def fastest(entry: Entry, peer: str) -> dict[str, Any] | None:
    """The pair with a peer's fastest mode in float32."""
    pairs = [
        pair for mode, pair in ran(entry).items() if mode.partition(":")[0] == peer and mode != BF16
    ]
    return min(pairs, key=lambda pair: seconds(pair, "peer"), default=None)


def seconds(pair: dict[str, Any], side: str) -> float:
    """The median seconds a step of a side."""
    return statistics.median(pair[side]["seconds"])


def times(
    entries: list[Entry], what: str, peaks: dict[str, float]
) -> tuple[list[str], list[list[str]]]:
    """The table of training steps or of forward passes."""
    modes = [m for m in MODES[what] if m != BF16 and any(m in ran(entry) for entry in entries)]
    peers = [peer for peer in PEERS if any(fastest(entry, peer) for entry in entries)]
    head = ["", "batch", "ours", *(mode.removeprefix("torch:") for mode in modes)]
    for peer in peers:
        head += [f"{PEERS[peer]} ÷ ours", "95 %"]
    head += ["% of FMA peak", *(f"{PEERS[peer]}'s" for peer in peers), "% of bandwidth"]
    rows = []
    for entry in entries:
        best = {peer: fastest(entry, peer) for peer in peers}
        measured = [pair for pair in best.values() if pair] or list(ran(entry).values())
        if not measured:
            continue
        own = statistics.median(seconds(pair, "ours") for pair in measured)
        row = [f"`{entry['network']}`", str(entry["batch"]), f"{1e3 * own:,.1f}"]
        for mode in modes:
            pair = ran(entry).get(mode)
            few = "*" if pair and len(pair["peer"]["seconds"]) == 1 else ""
            row.append(f"{1e3 * seconds(pair, 'peer'):,.1f}{few}" if pair else "–")
        for pair in best.values():
            row += [f"**{ratio(pair):.2f}**", spread(pair)] if pair else ["–", "–"]
        adds = entry["multiply_adds"] * entry["batch"] / peaks["multiply_adds_per_second"]
        row.append(f"{adds / own:.0%}")
        row += [f"{adds / seconds(pair, 'peer'):.0%}" if pair else "–" for pair in best.values()]
        moved = measured[0]["ours"]["moved_bytes"]
        row.append(f"{moved / own / peaks['bytes_per_second']:.0%}")
        rows.append(row)
    return head, rows


def in_bf16(entries: list[Entry]) -> tuple[list[str], list[list[str]]]:
    """The table of the same in bfloat16: ours, PyTorch's autocast, and ours in float32."""
    rows = []
    for entry in entries:
        pair = ran(entry)[BF16]
        exact = fastest(entry, "torch")
        own, peer = seconds(pair, "ours"), seconds(pair, "peer")
        few = "*" if len(pair["peer"]["seconds"]) == 1 else ""
        row = [f"`{entry['network']}`", str(entry["batch"]), f"{1e3 * own:,.1f}"]
        row += [f"{1e3 * peer:,.1f}{few}", f"**{ratio(pair):.2f}**", spread(pair)]
        rows.append([*row, f"{own / seconds(exact, 'ours'):.2f}" if exact else "–"])
    head = ["", "batch", "ours", "PyTorch", "PyTorch ÷ ours", "95 %", "ours ÷ ours in float32"]
    return head, rows


def spread(pair: dict[str, Any]) -> str:
    """The interval of a ratio, if there were rounds to draw from."""
    if len(pair["peer"]["seconds"]) == 1:
        return "–"
    low, high = interval(pair)
    return f"{low:.2f}–{high:.2f}"


def gaps(entries: list[Entry]) -> list[str]:
    """What was not measured, and why: a line a reason."""
    reasons: dict[str, set[str]] = {}
    for entry in entries:
        for mode, pair in entry["pairs"].items():
            if "skipped" in pair:
                reasons.setdefault(f"{mode}: {pair['skipped']}", set()).add(entry["network"])
    return [f"Not measured: {reason} ({', '.join(sorted(n))}).\n" for reason, n in reasons.items()]


def held(side: dict[str, Any], entry: Entry) -> str:
    """Megabytes beyond the libraries and three times the parameters."""
    if side.get("bytes_before") is None:
        return "–"
    beyond = side["bytes_peak"] - side["bytes_before"] - 3 * 4 * entry["parameters"]
    return f"{beyond / 1e6:,.0f}"


def started(side: dict[str, Any], entry: Entry) -> str:
    """Seconds to the end of the first step, where it is known also to its beginning."""
    begins = f"{statistics.median(side['begins']):.2f} to " if "begins" in side else ""
    return f"{begins}{statistics.median(side['ends']):.2f}"


def sides(entries: list[Entry], unit: Any) -> tuple[list[str], list[list[str]]]:
    """A table of one number a side."""
    names = list(dict.fromkeys(name for entry in entries for name in entry["sides"]))
    rows = []
    for entry in entries:
        row = [f"`{entry['network']}`", str(entry["batch"])]
        for name in names:
            side = entry["sides"].get(name, {"skipped": "not measured"})
            row.append("–" if "skipped" in side else unit(side, entry))
        rows.append(row)
    return ["", "batch", *(name.removeprefix("torch:") for name in names)], rows


# The chart ---------------------------------------------------------------------------------------

LABEL, SPAN, LINE, TOP = 250, 470, 22, 34
FILLS = {"torch": "#ee6c4d", "onnxruntime": "#3d5a80"}
WORDS = {"train": "step", "infer": "forward"}


def label(entry: Entry) -> str:
    return f"{entry['network'].partition(':')[2]}, {WORDS[entry['what']]} of {entry['batch']}"


def bars(entries: Iterable[Entry]) -> str:
    """A bar a network and peer: how many times as fast we are, with its interval, as SVG."""
    rows = [
        (label(entry), peer, ratio(pair), *interval(pair))
        for entry in entries
        if entry["what"] in WORDS
        for peer in PEERS
        if (pair := fastest(entry, peer)) is not None
    ]
    scale = SPAN / max([1.5, *(1.1 * row[-1] for row in rows)])
    width, height = LABEL + SPAN + 60, TOP + LINE * len(rows) + 16
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12">',
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
    ]
    for number, peer in enumerate(p for p in PEERS if any(row[1] == p for row in rows)):
        x = LABEL + 190 * number
        out.append(f'<rect x="{x}" y="10" width="12" height="12" fill="{FILLS[peer]}"/>')
        out.append(f'<text x="{x + 18}" y="20">times as fast as {PEERS[peer]}</text>')
    for number, (text, peer, value, low, high) in enumerate(rows):
        y = TOP + LINE * number
        end, middle = LABEL + scale * value, y + LINE / 2 - 2
        out += [
            f'<text x="{LABEL - 8}" y="{y + 14}" text-anchor="end">{escape(text)}</text>',
            f'<rect x="{LABEL}" y="{y + 2}" width="{scale * value:.1f}" height="{LINE - 6}" '
            f'fill="{FILLS[peer]}"/>',
            f'<path d="M{LABEL + scale * low:.1f} {middle}H{LABEL + scale * high:.1f}" '
            'stroke="#222222" stroke-width="1.5"/>',
            f'<text x="{max(end, LABEL + scale * high) + 6:.1f}" y="{y + 14}">{value:.2f}</text>',
        ]
    one = LABEL + scale
    out += [
        f'<path d="M{one:.1f} {TOP - 4}V{height - 12}" stroke="#222222" stroke-dasharray="4 3"/>',
        "</svg>",
    ]
    return "\n".join(out) + "\n"
