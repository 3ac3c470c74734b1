"""The engine `cuda-null`: what a GPU would execute is written and planned, and nothing runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from cnndsl.backends.cuda.engine import CudaEngine
from cnndsl.backends.cuda.launch import Given, Task
from cnndsl.graph.types import Type
from cnndsl.runtime.kernel import Array, Peaks


class Engine(CudaEngine):
    """It has no memory: a graph is lowered no further than to its recipes."""

    name = "cuda-null"

    def unavailable(self) -> str | None:
        return "it executes nothing"

    def bind(
        self, task: Task, arguments: Sequence[Given], scratch: Array | None
    ) -> Callable[[], None]:
        _refuse()

    def allocate(self, nbytes: int) -> Array:
        _refuse()

    def view(self, buffer: Array, offset: int, type: Type) -> Array:
        _refuse()

    def peaks(self) -> Peaks:
        _refuse()

    def free_bytes(self) -> int | None:
        return None

    def upload(self, target: Array, type: Type, source: Any) -> None:
        _refuse()

    def download(self, source: Array, type: Type) -> Any:
        _refuse()


def _refuse() -> NoReturn:
    raise RuntimeError("the engine cuda-null executes nothing")
