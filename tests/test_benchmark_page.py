"""The page of benchmarks is made from results alone: here from small ones that are made up."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from cpu_page import fastest, write
from cpu_pairs import interval, ratio


def pair(ours: list[float], peer: list[float]) -> dict[str, Any]:
    return {
        "ours": {"seconds": ours, "version": "cnndsl", "moved_bytes": 10**6},
        "peer": {"seconds": peer, "version": "PyTorch"},
    }


def entry(what: str, **parts: Any) -> dict[str, Any]:
    facts = {"what": what, "network": "resnet:resnet20", "batch": 8, "input": "32x32x3"}
    return {
        **facts,
        "parameters": 1000,
        "multiply_adds": 10**6,
        "busy_before": 0.0,
        "date": "2026-01-01",
        **parts,
    }


STEADY = pair([0.1, 0.1, 0.1], [0.2, 0.2, 0.2])
NOISY = pair([0.1, 0.12, 0.1, 0.11], [0.15, 0.2, 0.3, 0.25])
TRAINED = entry(
    "train",
    pairs={
        "torch:eager": NOISY,
        "torch:compile": STEADY,
        "torch:bf16": pair([0.1], [0.05]),
        "torch:channels_last": {"skipped": "there is none"},
    },
)
HELD = {"bytes_before": 10**6, "bytes_peak": 4 * 10**6}
RESULTS = {
    "machine": {
        "processor": "a processor",
        "cores": 2,
        "memory_mib": 1000,
        "system": "a system",
        "python": "3.11",
    },
    "date": "2026-01-01",
    "measured": {
        "peaks": {"multiply_adds_per_second": 1e9, "bytes_per_second": 1e10},
        "entries": {
            "1": TRAINED,
            "2": entry("memory", sides={"ours": HELD, "torch:eager": {"skipped": "no"}}),
            "3": entry("start", sides={"cnndsl run": {"begins": [1.0], "ends": [1.5]}}),
        },
    },
}


def test_a_ratio_lies_within_its_interval() -> None:
    assert (ratio(STEADY), interval(STEADY)) == (2.0, (2.0, 2.0))
    low, high = interval(NOISY)
    assert low < ratio(NOISY) < high


def test_the_fastest_mode_is_in_float32() -> None:
    assert fastest(TRAINED, "torch") is STEADY
    assert fastest(TRAINED, "onnxruntime") is None


def test_page_and_chart(tmp_path: Path) -> None:
    results = tmp_path / "cpu.json"
    results.write_text(json.dumps(RESULTS))
    page, chart = write(results, tmp_path / "docs")
    lines = page.read_text().splitlines()
    rows = [line for line in lines if line.startswith("| `resnet:resnet20` | 8 | 100.0 |")]
    exact, short = ([cell.strip() for cell in row.strip("|").split("|")][3:] for row in rows)
    assert exact == ["225.0", "200.0", "**2.00**", "2.00–2.00", "8%", "4%", "0%"]
    assert short == ["50.0*", "**0.50**", "–", "1.00"]
    assert "Not measured: torch:channels_last: there is none (resnet:resnet20)." in lines
    assert "| `resnet:resnet20` | 8 | 3 | – |" in lines
    assert "| `resnet:resnet20` | 8 | 1.00 to 1.50 |" in lines
    texts = [node.text for node in ElementTree.parse(chart).getroot().iter() if node.text]
    assert "resnet20, step of 8" in texts
    assert "2.00" in texts


def test_results_without_numbers_make_a_page(tmp_path: Path) -> None:
    results = tmp_path / "cpu.json"
    skipped = entry("train", pairs={"torch:eager": {"skipped": "not installed"}})
    measured = {**RESULTS["measured"], "entries": {"1": skipped}}
    results.write_text(json.dumps({**RESULTS, "measured": measured}))
    page, _ = write(results, tmp_path)
    assert "not installed" in page.read_text()


@pytest.mark.parametrize("what", ["train", "infer"])
def test_work_of_a_step_is_less_than_three_forward_passes(what: str) -> None:
    from cpu import work

    from cnndsl.compile import elaborate_text

    graph = elaborate_text("model m { input 8x8x3 -> conv 4, 3x3 -> relu -> conv 5, 1x1 -> fc 2 }")
    first, second, third = 64 * 27 * 4, 64 * 4 * 5, 64 * 5 * 2
    forward = first + second + third
    assert work(graph, what) == (forward if what == "infer" else 3 * forward - first)
