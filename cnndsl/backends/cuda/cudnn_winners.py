"""Which of cuDNN's candidates was fastest, kept in files from one process to the next."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cnndsl.backends.cuda.cudnn import Description
from cnndsl.backends.cuda.cudnn_library import frontend
from cnndsl.diagnostics import CnndslError
from cnndsl.files import cache_folder, write_whole


@dataclass(frozen=True)
class Winner:
    """How the fastest plan is made again: cuDNN's number of the engine, and the values of its
    knobs by their names; and the seconds that one run took."""

    engine: int
    knobs: Mapping[str, int]
    seconds: float


class Winners:
    """The winners on devices of one name, a file each in `folder`, whose name says nothing: the
    description and the versions for which it holds are in it and are compared."""

    def __init__(self, device: str, folder: Path | None = None) -> None:
        self._device = device
        self._folder = folder or cache_folder() / "cudnn"

    def read(self, description: Description) -> Winner | None:
        """What won for a description; None if nobody knows, or the file is not to be read."""
        valid = self._valid_for(description)
        try:
            found = json.loads(self.path(description).read_text())
            winner = Winner(found["engine"], found["knobs"], found["seconds"])
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return winner if found.get("for") == valid and _sound(winner) else None

    def write(self, description: Description, winner: Winner) -> None:
        """Keep a winner; where the folder cannot be written, it is found again next time."""
        content = {"for": self._valid_for(description), **asdict(winner)}
        try:
            write_whole(self.path(description), json.dumps(content, indent=1) + "\n")
        except CnndslError:
            return

    def path(self, description: Description) -> Path:
        """The file for a description."""
        key = json.dumps(self._valid_for(description), sort_keys=True)
        return self._folder / f"{hashlib.sha256(key.encode()).hexdigest()[:24]}.json"

    def _valid_for(self, description: Description) -> dict[str, Any]:
        """All that a winner depends on, as JSON gives it back."""
        cudnn = frontend()
        valid = {
            "kind": type(description).__name__,
            "description": asdict(description),
            "cudnn": cudnn.backend_version(),
            "frontend": cudnn.__version__,
            "device": self._device,
        }
        return dict(json.loads(json.dumps(valid)))


def _sound(winner: Winner) -> bool:
    return (
        isinstance(winner.engine, int)
        and isinstance(winner.knobs, dict)
        and all(isinstance(value, int) for value in winner.knobs.values())
    )
