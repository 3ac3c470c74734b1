"""Plans of cuDNN: how a described convolution or product is computed on one device."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from cnndsl.backends.cuda.cudnn import Broken, Description, Unsupported, graph, operands, strict
from cnndsl.backends.cuda.cudnn_library import frontend
from cnndsl.backends.cuda.cudnn_winners import Winner, Winners

#: How many candidates are timed unless told otherwise: cuDNN ranks them, the likely ones first,
#: and one that is compiled takes half a second to make.
CANDIDATES = 16

#: A candidate's time is that of so many runs in a row, divided by their number.
REPEATS = 10

#: Measures one run, in seconds, on the device that is current; the run is given a stream.
Measure = Callable[[Callable[[int], None]], float]


class Plan:
    """One way to compute a description, ready to run.

    Attributes:
        description: what it computes.
        workspace: how many bytes of scratch memory a run needs.
        name: the engine and its knobs, as cuDNN writes them.
        candidates: how many ways cuDNN ranked; a few of them may turn out not to be available.
        seconds: how long a run took when it was found fastest; None if it never was.
    """

    def __init__(
        self,
        description: Description,
        planned: Any,
        handle: Any,
        *,
        name: str,
        workspace: int,
        candidates: int,
        seconds: float | None = None,
    ) -> None:
        self.description = description
        self.workspace = workspace
        self.name = name
        self.candidates = candidates
        self.seconds = seconds
        self._graph = planned
        self._handle = handle
        self._arity = len(operands(description))

    def run(self, pointers: Sequence[int], workspace: int, stream: int) -> None:
        """Enqueue the computation on a stream (a `cudaStream_t`).

        `pointers` are addresses on the device of the arrays in the order of `operands`, aligned to
        16 bytes; `workspace` is that of `self.workspace` bytes. The result overwrites its array.

        Raises:
            RuntimeError: it was planned without a device.
            Broken: cuDNN does not start it.
        """
        if self._handle is None:
            raise RuntimeError("planned without a device: it cannot run")
        if len(pointers) != self._arity:
            raise ValueError(f"{len(pointers)} arrays for a plan of {self._arity}")
        arrays = dict(enumerate(pointers, 1))
        try:
            frontend().set_stream(handle=self._handle, stream=stream)
            self._graph.execute(arrays, workspace, handle=self._handle)
        except _failures() as reason:
            why = _first_line(reason)
            raise Broken(f"cuDNN does not start the {self.description}: {why}") from reason


class Plans:
    """The plans for one device, each made once.

    With `properties`, the device is the one that these describe (JSON, the keys of
    `cudnn.create_device_properties`), it need not be there, and nothing can run; without, it is
    the device that is current, whose driver must be there. What was found fastest on such a device
    is kept in `folder`, by default `cudnn` in the folder for caches, and used from then on.

    Raises:
        Broken: cuDNN does not begin on the device that is current.

    Attributes:
        device: the device's name.
        version: 90 for sm_90.
        target: the device as `graph` wants it.
    """

    def __init__(self, properties: str | None = None, *, folder: Path | None = None) -> None:
        cudnn = frontend()
        self._handle = None
        if properties is None:
            self.device, self.version = current_device()
            try:
                self._handle = cudnn.create_handle()
            except _failures() as reason:
                raise Broken(f"cuDNN does not begin: {_first_line(reason)}") from reason
            self.target = {"handle": self._handle}
        else:
            described = json.loads(properties)
            self.device, self.version = described["deviceName"], described["deviceVer"] // 10
            self.target = {
                "device_property": cudnn.create_device_properties(properties),
                "sm_version": self.version,
            }
        self._winners = Winners(self.device, folder)
        self._plans: dict[Description, Plan] = {}

    def knows(self, description: Description) -> bool:
        """Whether it was found before which plan is fastest."""
        return description in self._plans or self._winners.read(description) is not None

    def plan(self, description: Description) -> Plan:
        """The plan of a description: what was found fastest, else cuDNN's first guess.

        Raises:
            Unsupported: cuDNN has none.
        """
        if description not in self._plans:
            winner = self._winners.read(description)
            replayed = self._replayed(description, winner) if winner else None
            self._plans[description] = replayed or self._first(description)
        return self._plans[description]

    def tune(
        self,
        description: Description,
        pointers: Sequence[int],
        workspace: int,
        limit: int,
        *,
        most: int = CANDIDATES,
        measure: Measure | None = None,
    ) -> Plan:
        """Time the first `most` candidates on these arrays, and keep the fastest as the
        description's plan.

        `workspace` is the address of `limit` bytes: candidates that need more are left out. The
        result's array is overwritten; work on any of the arrays must have ended before.

        Raises:
            Unsupported: no candidate runs within the limit.
        """
        measure = measure or seconds_on_device
        planned = self._ranked(description)
        best: tuple[float, int] | None = None
        tried = 0
        for index in range(planned.get_execution_plan_count()):
            if tried == most:
                break
            try:
                candidate = self._built(description, planned, index)
                if candidate.workspace > limit:
                    continue
                tried += 1
                seconds = measure(partial(candidate.run, pointers, workspace))
            except _failures():  # it cannot be made, or is made and does not run
                continue
            if best is None or seconds < best[0]:
                best = seconds, index
        if best is None:
            raise self._unsupported(description, f"none runs in {limit} bytes of workspace")
        seconds, index = best
        self._plans[description] = self._built(description, planned, index, seconds)
        self._remember(description, planned, index, seconds)
        return self._plans[description]

    def _remember(self, description: Description, planned: Any, index: int, seconds: float) -> None:
        """Keep how to make a plan again, if it is one that can be named."""
        try:
            engine, knobs = planned.get_engine_and_knobs_at_index(index)
        except NotImplementedError:
            return
        named = {knob.name: value for knob, value in knobs.items()}
        self._winners.write(description, Winner(engine, named, seconds))

    def _first(self, description: Description) -> Plan:
        """The first of cuDNN's candidates that can be made."""
        planned, last = self._ranked(description), "none is proposed"
        for index in range(planned.get_execution_plan_count()):
            try:
                return self._built(description, planned, index)
            except _failures() as reason:
                last = _first_line(reason)
        raise self._unsupported(description, last)

    def _ranked(self, description: Description) -> Any:
        """The graph with its candidates in the order of cuDNN's guess, none of them made."""
        cudnn = frontend()
        planned = self._validated(description)
        try:
            planned.create_execution_plans([cudnn.heur_mode.A, cudnn.heur_mode.FALLBACK])
        except _failures():
            raise self._unsupported(description, "no engine takes it") from None
        if strict(description):
            notes = cudnn.numerical_note
            planned.deselect_numeric_notes([notes.TENSOR_CORE, notes.DOWN_CONVERT_INPUTS])
        return planned

    def _replayed(self, description: Description, winner: Winner) -> Plan | None:
        """The plan that won once; None if this cuDNN does not know it."""
        kinds = frontend().knob_type
        planned = self._validated(description)
        stale: tuple[type[Exception], ...] = (AttributeError, ValueError, *_failures())
        try:
            knobs = {getattr(kinds, name): value for name, value in winner.knobs.items()}
            planned.create_execution_plan(winner.engine, knobs)
            last = planned.get_execution_plan_count() - 1
            return self._built(description, planned, last, winner.seconds)
        except stale:
            return None

    def _validated(self, description: Description) -> Any:
        try:
            planned = graph(description, self.target)
            planned.validate()
            planned.build_operation_graph()
        except _failures() as reason:
            raise self._unsupported(description, _first_line(reason)) from None
        return planned

    def _built(
        self, description: Description, planned: Any, index: int, seconds: float | None = None
    ) -> Plan:
        """The candidate at an index, made, or one of `_failures`."""
        planned.build_plan_at_index(index)
        return Plan(
            description,
            planned,
            self._handle,
            name=planned.get_plan_name_at_index(index),
            workspace=planned.get_workspace_size_plan_at_index(index),
            candidates=planned.get_execution_plan_count(),
            seconds=seconds,
        )

    def _unsupported(self, description: Description, reason: str) -> Unsupported:
        version = frontend().backend_version_string()
        return Unsupported(
            f"cuDNN {version} has no plan for the {description} on sm_{self.version}: {reason}"
        )


def _failures() -> tuple[type[Exception], ...]:
    """What the library raises when something cannot be planned, made or run."""
    return frontend().cudnnGraphNotSupportedError, RuntimeError


def _first_line(reason: Exception) -> str:
    return str(reason).strip().partition("\n")[0]


def seconds_on_device(run: Callable[[int], None]) -> float:
    """How long one run takes on the device itself, measured on several that a graph launches.

    Raises:
        RuntimeError: it cannot be captured in a graph, or fails.
    """
    cupy = import_module("cupy")

    stream = cupy.cuda.Stream(non_blocking=True)
    run(stream.ptr)  # what is loaded at the first run is not captured
    stream.synchronize()
    stream.begin_capture()
    try:
        for _ in range(REPEATS):
            run(stream.ptr)
    finally:
        captured = stream.end_capture()
    start, end = cupy.cuda.Event(), cupy.cuda.Event()
    captured.launch(stream)
    start.record(stream)
    captured.launch(stream)
    end.record(stream)
    end.synchronize()
    return float(cupy.cuda.get_elapsed_time(start, end)) / 1000 / REPEATS


def current_device() -> tuple[str, int]:
    """The name and the version (90 for sm_90) of the device that is current."""
    cupy = import_module("cupy")

    properties = cupy.cuda.runtime.getDeviceProperties(cupy.cuda.runtime.getDevice())
    name = properties["name"].decode()
    return name, 10 * properties["major"] + properties["minor"]
