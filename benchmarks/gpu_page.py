"""The page `docs/gpu_results.md`, made from `results/gpu.json` alone, and the figures on it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from cpu_page import Entry, fastest, gaps, ran, seconds, spread, table
from cpu_pairs import ratio

from cnndsl.files import write_whole

#: Peers by how their modes begin.
PEERS = {"torch": "PyTorch", "ort": "ONNX Runtime"}
#: How many times as fast as PyTorch's fastest mode we want to be, how much of its memory we want to
#: take, and how much of what the device can do at best a step is to reach.
FASTER, FASTER_THAN_ALL = {"resnet:resnet20": 1.5}, 1.2
SMALLER = 0.7
REACHED = {"resnet:resnet50": 0.6}
#: How often the parameters are in memory: weights, gradients and momenta; or weights.
KEPT = {"train": 3, "infer": 1}

HEAD = """# Results on a GPU

Measured by `python benchmarks/gpu.py`, whose `--what write` makes this page from
`benchmarks/results/gpu.json`. Every side is a process of its own. Ours and one mode of a peer take
turns on the same device, weights, images and labels; steps are enqueued without waiting, and shown
is the median over the turns of the time of a step. A ratio is the peer's median ÷ ours, from the
turns that both took beside each other, of the peer's fastest mode: above 1 we are faster. Its 95 %
interval is a bootstrap over the rounds. PyTorch's networks are made of its ordinary layers, with
channels last and autocast for bf16; its modes are eager execution, `torch.compile`, and that with
CUDA graphs. ONNX Runtime has the file that `cnndsl export` writes. In parentheses is what was
wanted, and **bold** what reaches it.

Memory is the most that ours takes ÷ the most that the same mode of PyTorch takes, both beyond the
parameters (in training three times them: weights, gradients and momenta). The roofline is the time
in which the device could move what our kernels read and write, or multiply what they multiply,
whichever is longer, by its measured peaks; shown is that time ÷ ours.
"""
TITLES = {"train": "## Training steps\n", "infer": "## Forward passes\n"}


def figures(
    pair: dict[str, Any], what: str, batch: int, peaks: dict[str, Any] | None
) -> dict[str, Any]:
    """What follows from a pair: images a second of both sides, ours ÷ the peer's memory beyond the
    parameters, and the share of the roofline that ours reaches; None where something is unknown."""
    own, peer = pair["ours"], pair["peer"]
    share = memory = None
    if peaks is not None:
        moving = own["moved_bytes"] / peaks["copy_bytes_per_second"]
        multiplying = own["operations"] / peaks["bf16_operations_per_second"]
        share = max(moving, multiplying) / seconds(pair, "ours")
    if peer.get("bytes_peak") is not None:
        kept = KEPT[what] * own["parameter_bytes"]
        memory = (own["bytes_peak"] - kept) / (peer["bytes_peak"] - kept)
    return {
        "images_per_second": {side: batch / seconds(pair, side) for side in ("ours", "peer")},
        "memory_ratio": memory,
        "roofline_share": share,
    }


def peaks_of(content: dict[str, Any]) -> dict[str, Any] | None:
    """The device's peaks, if they were measured."""
    peaks = content.get("peaks", {}).get("result", {})
    return peaks if "copy_bytes_per_second" in peaks else None


def write(results: Path, folder: Path) -> str:
    """Write the page into a folder if there are results; a sentence on what was done."""
    if not results.exists():
        return f"there is no {results}: nothing was measured on a GPU, so no page is written"
    folder.mkdir(parents=True, exist_ok=True)
    page = folder / "gpu_results.md"
    write_whole(page, markdown(json.loads(results.read_text())))
    return f"wrote {page}"


def markdown(content: dict[str, Any]) -> str:
    """The page."""
    peaks, machine = peaks_of(content), content["machine"]
    every = entries(content)
    parts = [HEAD]
    about = f"{machine['processor']}, {machine['cores']} cores; Python {machine['python']}"
    if peaks is not None:
        about = (
            f"{peaks['device']}, which copies {peaks['copy_bytes_per_second'] / 1e9:,.0f} GB/s and "
            f"multiplies {peaks['bf16_operations_per_second'] / 1e12:,.1f} TFLOP/s in bf16, "
            f"measured; with {about}"
        )
    versions = sorted({p[s]["version"] for e in every for p in ran(e).values() for s in SIDES})
    parts.append(f"The machine: {about}; {', '.join([*versions, content['date']])}.\n")
    parts += checks(content)
    for what, title in TITLES.items():
        for precision in dict.fromkeys(entry["precision"] for entry in every):
            of_kind = [e for e in every if (e["what"], e["precision"]) == (what, precision)]
            if of_kind:
                parts += [title, f"In {precision}.\n", table(*rows(of_kind, peaks)), *gaps(of_kind)]
    return "\n".join(parts)


SIDES = ("ours", "peer")


def entries(content: dict[str, Any]) -> list[Entry]:
    """The comparisons, those of a network, a batch and a precision together."""
    found: dict[tuple[str, ...], Entry] = {}
    for name, piece in content.items():
        what, *rest = name.split()
        if what not in TITLES:
            continue
        network, batch, precision, mode = rest
        entry = found.setdefault(
            (what, network, batch, precision),
            {
                "what": what,
                "network": network,
                "batch": int(batch),
                "precision": precision,
                "pairs": {},
            },
        )
        result = piece["result"]
        entry["pairs"][mode] = {"skipped": result["error"]} if "error" in result else result
    return list(found.values())


def checks(content: dict[str, Any]) -> list[str]:
    """The section on checks: how many of each kind, and which failed."""
    lines = []
    for name, piece in content.items():
        if name.startswith("check ") and "checks" in piece["result"]:
            result = piece["result"]
            failed = ", ".join(line["check"] for line in result["failed"]) or "none"
            lines.append([name.removeprefix("check "), str(result["checks"]), failed])
    return ["## Checks\n", table(("against the reference", "checks", "failed"), lines)] * bool(
        lines
    )


def rows(of_kind: list[Entry], peaks: dict[str, Any] | None) -> tuple[list[str], list[list[str]]]:
    """The table of training steps or of forward passes: milliseconds, ratios, memory, roofline."""
    modes = list(dict.fromkeys(mode for entry in of_kind for mode in ran(entry)))
    peers = [peer for peer in PEERS if any(fastest(entry, peer) for entry in of_kind)]
    head = ["", "batch", "ours, ms", "images/s", *(f"{mode}, ms" for mode in modes)]
    for peer in peers:
        head += [f"{PEERS[peer]} ÷ ours", "95 %"]
    head += ["memory", "of the roofline"]
    found = []
    for entry in of_kind:
        best = {peer: fastest(entry, peer) for peer in peers}
        measured = [pair for pair in best.values() if pair]
        if not measured:
            continue
        network, batch = entry["network"], entry["batch"]
        known = figures(measured[0], entry["what"], batch, peaks)
        row = [f"`{network}`", str(batch), f"{1e3 * seconds(measured[0], 'ours'):,.3f}"]
        row.append(f"{known['images_per_second']['ours']:,.0f}")
        for mode in modes:
            pair = ran(entry).get(mode)
            row.append(f"{1e3 * seconds(pair, 'peer'):,.3f}" if pair else "–")
        for peer, pair in best.items():
            wanted = FASTER.get(network, FASTER_THAN_ALL) if peer == "torch" else None
            row += [beside(ratio(pair), wanted), spread(pair)] if pair else ["–", "–"]
        wanted = SMALLER if entry["what"] == "train" else None
        row.append(beside(known["memory_ratio"], wanted, below=True))
        wanted = REACHED.get(network) if entry["what"] == "train" else None
        row.append(beside(known["roofline_share"], wanted, form=".0%"))
        found.append(row)
    return head, found


def beside(
    value: float | None, wanted: float | None, *, below: bool = False, form: str = ".2f"
) -> str:
    """A number, and what it was wanted to be; bold if it is."""
    if value is None:
        return "–"
    if wanted is None:
        return f"{value:{form}}"
    reached = value <= wanted if below else value >= wanted
    return f"{f'**{value:{form}}**' if reached else f'{value:{form}}'} ({wanted:{form}})"
