"""The house is as its pictures say: imports point one way, and README's tree is the real one."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "cnndsl"

#: Parts of the package from the bottom up; a part imports only parts at its level or below, except
#: that parts which share a level import none of each other.
LEVELS = [
    {"diagnostics", "resources"},
    {"files"},
    {"graph"},
    {"ops"},
    {"frontend", "passes", "runtime"},
    {"backends", "drawing"},
    {"compile", "reference"},
    {"data"},
    {"training"},
    {"export"},
    {"model"},
    {"cli"},
]
LEVEL = {part: level for level, parts in enumerate(LEVELS) for part in parts}


def imports(path: Path) -> set[str]:
    """The parts of cnndsl that a module imports."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module]
            if node.module == "cnndsl":
                names = [f"cnndsl.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        found |= {name.split(".")[1] for name in names if name.startswith("cnndsl.")}
    return found - {"__version__"}


def modules() -> list[Path]:
    return sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_one_way(path: Path) -> None:
    part = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    assert part in LEVEL, f"{part} has no level: put it in its place"
    for other in imports(path) - {part}:
        assert LEVEL[other] < LEVEL[part], f"{part} must not import {other}"


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_opens_with_a_sentence(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text())), path


def test_importing_cnndsl_imports_no_engine_and_no_numpy() -> None:
    import subprocess
    import sys

    code = (
        "import cnndsl, cnndsl.cli, sys;"
        "print([m for m in ('numpy', 'networkx', 'lark') if m in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"


def test_readmes_tree_is_the_real_tree() -> None:
    readme = (ROOT / "README.md").read_text()
    tree = re.search(r"## The house\n\n```\n(.*?)```", readme, re.DOTALL)
    assert tree is not None
    parent = ""
    named = set()
    for line in tree[1].splitlines():
        name = line.split()[0]
        if not line.startswith(" "):
            parent = name if name.endswith("/") else ""
            named.add(name)
        else:
            named.add(parent + name)
    for name in named:
        assert (ROOT / name).exists(), f"README names {name}, which is not there"
    folders = {f"cnndsl/{p.name}/" for p in PACKAGE.iterdir() if (p / "__init__.py").exists()}
    assert folders <= named, f"README does not name {folders - named}"


def test_the_grammar_names_no_layer() -> None:
    import cnndsl.ops.conv
    import cnndsl.reference
    from cnndsl.graph.op import OPS

    grammar = re.sub(r"//.*", "", (ROOT / "grammar" / "cnn.lark").read_text())
    for name in {*OPS, *cnndsl.reference.JOINS}:
        assert f'"{name}"' not in grammar
