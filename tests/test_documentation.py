"""What README and the docs say runs."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from cnndsl.compile import check
from cnndsl.diagnostics import Source, render_all
from cnndsl.frontend.library import load_text

ROOT = Path(__file__).resolve().parents[1]


def blocks(language: str) -> list[tuple[str, str]]:
    found = []
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]:
        text = path.read_text()
        pattern = rf"```{language}\n(.*?)```"
        found += [(f"{path.name}-{i}", b) for i, b in enumerate(re.findall(pattern, text, re.S))]
    return found


@pytest.mark.parametrize("text", [b for _, b in blocks("cnn")], ids=[n for n, _ in blocks("cnn")])
def test_every_network_of_the_docs_is_right(text: str) -> None:
    diagnostics, networks = check(load_text(Source("docs", text)))
    assert not diagnostics, render_all(diagnostics)
    assert networks


def test_readmes_network_is_right() -> None:
    text = re.search(r"```\n(# ResNet.*?)```", (ROOT / "README.md").read_text(), re.S)
    assert text is not None
    diagnostics, networks = check(load_text(Source("README", text[1])))
    assert not diagnostics, render_all(diagnostics)
    assert [n.name for n in networks] == ["resnet18"]


def test_readmes_python_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    ((_, code),) = [(n, b) for n, b in blocks("python") if n.startswith("README")]
    monkeypatch.chdir(ROOT)
    names = {"images": np.zeros((8, 32, 32, 3), np.float32)}
    exec(code, names)
    assert names["logits"].shape == (8, 10)


def test_links_lead_somewhere() -> None:
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]:
        for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", path.read_text()):
            if not target.startswith("http"):
                assert (path.parent / target).exists(), f"{path.name} links to {target}"


def test_the_pages_from_docstrings_are_current() -> None:
    from cnndsl.reference import markdown, rewrites

    assert (ROOT / "docs" / "layers.md").read_text() == markdown()
    folder = ROOT / "docs" / "rewrites"
    assert {path.name: path.read_text() for path in folder.iterdir()} == rewrites()
