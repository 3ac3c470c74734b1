"""A program: a flat tuple of steps over a planned arena, and its execution."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Any

from cnndsl.graph.types import Type
from cnndsl.runtime.kernel import Array, Backend


@dataclass(frozen=True)
class Slot:
    """A named array of a program, and its type with the batch known."""

    array: Array
    type: Type


@dataclass(frozen=True, slots=True)
class Step:
    """One kernel with its arrays bound; `name` and `text` say which layer it belongs to.

    `run()` executes it. `moved` is the bytes of what it reads and writes, scratch apart;
    `operations` the floating-point operations; `layout` that of its first result.
    """

    name: str
    text: str
    run: Callable[[], None]
    outputs: tuple[Slot | None, ...]
    writes_state: bool
    moved: int
    operations: int = 0
    layout: Hashable | None = None
    implementation: str = ""


class Program:
    """What runs: nothing here walks a graph, looks up a name or plans memory.

    Attributes:
        steps: in order; those that write state come after every step that computes an output.
        setup: what depends on states alone and is computed once, before the first step.
        inputs, outputs, states: named arrays. States persist from run to run.
        arena_bytes: memory for values and scratch; `state_bytes`: for parameters and buffers.
    """

    def __init__(
        self,
        steps: tuple[Step, ...],
        setup: tuple[Step, ...],
        inputs: Mapping[str, Slot],
        outputs: Mapping[str, Slot],
        states: Mapping[str, Slot],
        backend: Backend,
        batch: int,
        arena_bytes: int,
        state_bytes: int,
    ) -> None:
        self.steps = steps
        self.setup = setup
        self.inputs = inputs
        self.outputs = outputs
        self.states = states
        self.backend = backend
        self.batch = batch
        self.arena_bytes = arena_bytes
        self.state_bytes = state_bytes
        self._all = backend.sequence([step.run for step in steps])
        self._is_set_up = not setup

    def run(self) -> None:
        """Execute every step once."""
        with self.backend.running():
            if not self._is_set_up:
                for step in self.setup:
                    step.run()
                self._is_set_up = True
            self._all()

    def refresh(self) -> None:
        """Compute `setup` anew before the next run: states shared with another program changed."""
        self._is_set_up = not self.setup

    def write(self, name: str, data: Any) -> None:
        """Set an input or a state from an array of the host, of the same shape."""
        slot = self.inputs.get(name)
        if slot is None:
            slot = self.states[name]
            self.refresh()
        self.backend.upload(slot.array, slot.type, data)

    def read(self, name: str) -> Any:
        """A copy of an output or a state as an array of the host."""
        slot = self.outputs.get(name) or self.states[name]
        return self.backend.download(slot.array, slot.type)

    def first_not_finite(self) -> Step | None:
        """Execute again, up to the first step whose result holds NaN or infinity, and return it.

        Steps that write state are not executed: inputs and states stay as they are.
        """
        import numpy

        for step in (*self.setup, *self.steps):
            if step.writes_state:
                continue
            with self.backend.running(), numpy.errstate(all="ignore"):
                step.run()
            for output in step.outputs:
                if output is None:
                    continue
                values = self.backend.download(output.array, output.type)
                if values.dtype.kind == "f" and not numpy.isfinite(values).all():
                    return step
        return None
