"""The page of results on a GPU is made from results alone: here from ones that are made up."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gpu_page
import pytest
from gpu_page import beside, entries, figures, markdown, write

PEAKS = {
    "device": "NVIDIA H200",
    "torch": "2.13",
    "copy_bytes_per_second": 4e12,
    "bf16_operations_per_second": 8e14,
}
OURS = {
    "version": "cnndsl 0.1.0, cuda",
    "bytes_peak": 10 * 10**9,
    "parameter_bytes": 10**9,
    "moved_bytes": 4 * 10**9,
    "operations": 4 * 10**11,
}


def pair(ours: float, peer: float, peak: int | None = 13 * 10**9) -> dict[str, Any]:
    return {
        "ours": {"seconds": [ours] * 3, **OURS},
        "peer": {"seconds": [peer] * 3, "version": "PyTorch 2.13", "bytes_peak": peak},
    }


def piece(result: dict[str, Any]) -> dict[str, Any]:
    return {"took_seconds": 1.0, "result": result}


CONTENT = {
    "check layers": piece({"checks": 90, "failed": [{"check": "conv"}], "all": []}),
    "check networks": piece({"error": "TimeoutError: it took too long"}),
    "peaks": piece(PEAKS),
    "train resnet:resnet50 256 bf16 torch:eager": piece(pair(0.002, 0.004)),
    "train resnet:resnet50 256 bf16 torch:graphs": piece(pair(0.002, 0.003)),
    "train resnet:resnet50 256 bf16 torch:compile": piece({"error": "RuntimeError: no"}),
    "train resnet:resnet20 512 bf16 torch:eager": piece(pair(0.002, 0.0028)),
    "infer resnet:resnet50 1 bf16 torch:eager": piece(pair(0.002, 0.001, None)),
    "infer resnet:resnet50 1 bf16 ort": piece({"skipped": "ONNX Runtime is not installed"}),
    "machine": {"processor": "a processor", "cores": 16, "python": "3.12"},
    "date": "2026-01-01",
}


def test_figures_follow_from_a_pair() -> None:
    known = figures(pair(0.002, 0.004), "train", 256, PEAKS)
    assert known["images_per_second"] == {"ours": 128_000, "peer": 64_000}
    assert known["memory_ratio"] == pytest.approx((10 - 3) / (13 - 3))
    assert known["roofline_share"] == pytest.approx(0.5), "moving takes longer than multiplying"
    slow = {**PEAKS, "bf16_operations_per_second": 2.5e14}
    known = figures(pair(0.002, 0.004), "infer", 256, slow)
    assert known["memory_ratio"] == pytest.approx((10 - 1) / (13 - 1))
    assert known["roofline_share"] == pytest.approx(0.8), "now multiplying does"
    unknown = figures(pair(0.002, 0.004, None), "train", 256, None)
    assert unknown["memory_ratio"] is unknown["roofline_share"] is None


def test_what_reaches_what_was_wanted_is_bold() -> None:
    assert beside(1.3, 1.2) == "**1.30** (1.20)"
    assert beside(1.1, 1.2) == "1.10 (1.20)"
    assert beside(0.6, 0.7, below=True) == "**0.60** (0.70)"
    assert beside(0.8, 0.7, below=True) == "0.80 (0.70)"
    assert beside(0.61, 0.6, form=".0%") == "**61%** (60%)"
    assert beside(0.5, None) == "0.50"
    assert beside(None, 0.5) == "–"


def test_a_network_of_one_precision_and_batch_is_one_entry() -> None:
    found = entries(CONTENT)
    assert [(e["what"], e["network"], e["batch"], len(e["pairs"])) for e in found] == [
        ("train", "resnet:resnet50", 256, 3),
        ("train", "resnet:resnet20", 512, 1),
        ("infer", "resnet:resnet50", 1, 2),
    ]


def test_the_page_is_that_of_the_fastest_mode() -> None:
    lines = markdown(CONTENT).splitlines()
    trained = [line for line in lines if line.startswith("| `resnet:resnet50` | 256 |")]
    (row,) = ([cell.strip() for cell in line.strip("|").split("|")] for line in trained)
    assert row[2:6] == ["2.000", "128,000", "4.000", "3.000"]
    assert row[6:] == ["**1.50** (1.20)", "1.50–1.50", "**0.70** (0.70)", "50% (60%)"]
    assert any("1.40 (1.50)" in line for line in lines if "resnet20" in line)
    (passed,) = (line for line in lines if line.startswith("| `resnet:resnet50` | 1 |"))
    assert "| 0.50 (1.20) | 0.50–0.50 | – | 50% |" in passed
    assert "| layers | 90 | conv |" in lines
    assert "Not measured: torch:compile: RuntimeError: no (resnet:resnet50)." in lines
    assert "Not measured: ort: ONNX Runtime is not installed (resnet:resnet50)." in lines
    assert any("NVIDIA H200, which copies 4,000 GB/s" in line for line in lines)


def test_without_peaks_no_share_is_told() -> None:
    content = {name: part for name, part in CONTENT.items() if name != "peaks"}
    assert gpu_page.peaks_of({"peaks": piece({"error": "no GPU"})}) is None
    assert "50%" not in markdown(content).partition("## Training steps")[2]


def test_without_results_no_page_is_written(tmp_path: Path) -> None:
    results, docs = tmp_path / "gpu.json", tmp_path / "docs"
    assert "nothing was measured on a GPU" in write(results, docs)
    assert not docs.exists()
    results.write_text(json.dumps(CONTENT))
    assert "gpu_results.md" in write(results, docs)
    assert (docs / "gpu_results.md").read_text() == markdown(CONTENT)
