"""Checkpoints: one safetensors file with all state, its description in the metadata."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cnndsl.diagnostics import did_you_mean, error, register
from cnndsl.files import write_whole
from cnndsl.graph.types import Type
from cnndsl.runtime.program import Program

register(
    {
        "T0201": "a checkpoint that cannot be read",
        "T0202": "weights that do not fit the model",
        "T0203": "a run that cannot be resumed",
    }
)

FORMAT = 1
#: States that the loop sets before each step, and so no part of a checkpoint.
TRANSIENT = ("learning_rate", "step", "seed")


@dataclass(frozen=True)
class Checkpoint:
    """Arrays by path, and what else is needed to go on."""

    arrays: Mapping[str, np.ndarray[Any, Any]]
    metadata: Mapping[str, Any]


def save(path: Path, program: Program, metadata: Mapping[str, Any]) -> None:
    """Write every state of a program; the file appears whole, by one rename."""
    from safetensors.numpy import save as serialise

    arrays = {
        name: np.ascontiguousarray(program.read(name))
        for name in program.states
        if name not in TRANSIENT
    }
    described = {"format": "cnndsl", "cnndsl": json.dumps({"version": FORMAT, **metadata})}
    write_whole(path, serialise(arrays, metadata=described))


def load(path: Path) -> Checkpoint:
    """Read a checkpoint.

    Raises:
        CnndslError: it is not there or is no checkpoint of cnndsl.
    """
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise error("T0201", f"there is no checkpoint {path}")
    try:
        with safe_open(path, framework="numpy") as file:
            described = (file.metadata() or {}).get("cnndsl")
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if described is None:
            raise error("T0201", f"{path} was not written by cnndsl")
        metadata = json.loads(described)
    except (SafetensorError, OSError, ValueError, TypeError) as reason:
        raise error("T0201", f"{path} is no checkpoint: {reason}") from None
    if not isinstance(metadata, dict) or metadata.get("version") != FORMAT:
        raise error("T0201", f"{path} is a checkpoint of another version of cnndsl")
    return Checkpoint(arrays, metadata)


def restore(
    program: Program,
    arrays: Mapping[str, np.ndarray[Any, Any]],
    origin: str,
    names: Collection[str] | None = None,
) -> None:
    """Write arrays into a program's states, all of them or those of `names`.

    Each must be there and of the right shape.

    Raises:
        CnndslError: an array is missing or has another shape; nothing is written then.
    """
    wanted = {
        name: slot.type
        for name, slot in program.states.items()
        if name not in TRANSIENT and (names is None or name in names)
    }
    check_fit(wanted, arrays, origin)
    for name in wanted:
        program.write(name, arrays[name])


def check_fit(
    wanted: Mapping[str, Type], arrays: Mapping[str, np.ndarray[Any, Any]], origin: str
) -> None:
    """Check that there is an array of the right shape for each state.

    Raises:
        CnndslError: one is missing or has another shape.
    """
    for name, state in wanted.items():
        shape = state.concrete()
        if name not in arrays:
            raise error(
                "T0202",
                f"{origin} has no `{name}`",
                help=did_you_mean(name, arrays) or "was the model changed since?",
            )
        if arrays[name].shape != shape:
            raise error(
                "T0202",
                f"`{name}` is {'x'.join(map(str, arrays[name].shape))} in {origin}, "
                f"and {'x'.join(map(str, shape))} in the model",
                help="was it trained with another number of classes or another input?",
            )
