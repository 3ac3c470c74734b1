"""Every place in cnndsl that names a code of a mistake, or raises one that will be given a code."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import cnndsl

PACKAGE = Path(cnndsl.__file__).resolve().parent
CODE = re.compile(r"[EWCDT]\d{4}")
#: Exceptions that know no code: whoever catches one gives it E0201, E0202, E0405, E0704 …
BARE = ("Unfit", "Mismatch")
#: Operations that are no layers and yet a user's: what the language's joins become.
JOINS = ("Add", "Concat", "Multiply", "Gate")


@dataclass(frozen=True, order=True)
class Site:
    """Lines of a module that name a code; when one of them runs, the site was reached."""

    path: Path
    first: int
    last: int
    code: str

    def __str__(self) -> str:
        return f"{self.path.relative_to(PACKAGE.parent)}:{self.first}: {self.code}"


def sites() -> list[Site]:
    """All of them, by file and line."""
    found: set[Site] = set()
    for path in sorted(PACKAGE.rglob("*.py")):
        found |= set(_in_module(path))
    return sorted(found)


def _in_module(path: Path) -> Iterator[Site]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    parents = {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}
    for node in ast.walk(tree):
        code = _code_of(node)
        if code is None or _only_talked_about(node, parents):
            continue
        if code == "Mismatch" and _internal(node, parents):
            continue
        statement: ast.AST = node
        while not isinstance(statement, ast.stmt):
            statement = parents[statement]
        call = node if isinstance(node, ast.Call) else parents[node]
        place = call if isinstance(call, ast.Call | ast.Tuple) else statement
        assert isinstance(place, ast.expr | ast.stmt)
        yield Site(path, place.lineno, place.end_lineno or place.lineno, code)


def _code_of(node: ast.AST) -> str | None:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value if CODE.fullmatch(node.value) else None
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in BARE:
        return node.func.id
    return None


def _internal(node: ast.AST, parents: dict[ast.AST, ast.AST]) -> bool:
    """Whether this stands in an operation that only the compiler applies.

    A mismatch there is a mistake of the compiler's, never a user's, and is no message to anybody.
    """
    while not isinstance(node, ast.ClassDef | ast.Module):
        node = parents[node]
    if isinstance(node, ast.Module) or node.name in JOINS:
        return False
    keywords = [k for d in node.decorator_list if isinstance(d, ast.Call) for k in d.keywords]
    return any(
        k.arg == "registry" and isinstance(k.value, ast.Constant) and k.value.value is None
        for k in keywords
    )


def _only_talked_about(node: ast.AST, parents: dict[ast.AST, ast.AST]) -> bool:
    """Whether a code is only registered, compared with or a default."""
    parent = parents[node]
    return isinstance(parent, ast.Dict | ast.Compare | ast.arguments | ast.Set | ast.Index)


@contextmanager
def lines_run(wanted: list[Site]) -> Iterator[set[tuple[str, int]]]:
    """The lines of the sites that run meanwhile, in this thread and in new ones."""
    import threading

    lines: dict[str, set[int]] = {}
    for site in wanted:
        lines.setdefault(str(site.path), set()).update(range(site.first, site.last + 1))
    seen: set[tuple[str, int]] = set()
    interesting: dict[CodeType, bool] = {}

    def of_code(code: CodeType) -> bool:
        known = interesting.get(code)
        if known is None:
            marked = lines.get(code.co_filename, set())
            known = any(line in marked for _, _, line in code.co_lines())
            interesting[code] = known
        return known

    def in_frame(frame: FrameType, event: str, argument: Any) -> Any:
        if event == "line":
            seen.add((frame.f_code.co_filename, frame.f_lineno))
        return in_frame

    def on_call(frame: FrameType, event: str, argument: Any) -> Any:
        return in_frame if of_code(frame.f_code) else None

    before: Callable[..., Any] | None = sys.gettrace()
    threading.settrace(on_call)
    sys.settrace(on_call)
    try:
        yield seen
    finally:
        sys.settrace(before)
        threading.settrace(before)  # type: ignore[arg-type]


def missed(wanted: list[Site], seen: set[tuple[str, int]]) -> list[Site]:
    """The sites of which no line ran."""
    return [
        site
        for site in wanted
        if not any((str(site.path), line) in seen for line in range(site.first, site.last + 1))
    ]
