"""The data sets by name; each is a module of this package with one decorated function."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import cnndsl.data.problems  # noqa: F401
from cnndsl.data.dataset import Dataset, Request
from cnndsl.diagnostics import did_you_mean, error

Loading = Callable[[Request], Dataset]


@dataclass(frozen=True)
class Entry:
    """A data set's name, what follows its colon (empty: nothing), one line on it, how it loads."""

    name: str
    argument: str
    summary: str
    load: Loading

    @property
    def usage(self) -> str:
        """How a person writes it: `digits`, `npz:PATH`."""
        return f"{self.name}:{self.argument}" if self.argument else self.name


_ENTRIES: dict[str, Entry] = {}


def dataset(name: str, argument: str = "") -> Callable[[Loading], Loading]:
    """Register the decorated function as the data set `name`; its docstring opens with a summary.

    `argument` names what a person writes after a colon, as in `npz:PATH`.
    """

    def enrol(load: Loading) -> Loading:
        if name in _ENTRIES:
            raise ValueError(f"data set {name} is registered twice")
        summary = (load.__doc__ or "").strip().split("\n")[0]
        _ENTRIES[name] = Entry(name, argument, summary, load)
        return load

    return enrol


@cache
def entries() -> dict[str, Entry]:
    """All data sets by name, in the order of the alphabet: every module here has been imported."""
    package = importlib.import_module("cnndsl.data")
    for module in pkgutil.iter_modules(package.__path__, "cnndsl.data."):
        importlib.import_module(module.name)
    return dict(sorted(_ENTRIES.items()))


def find(name: str) -> tuple[Entry, str]:
    """The data set that `name` means, and what follows its colon."""
    word, colon, argument = name.partition(":")
    known = entries()
    everything = "the data sets are " + ", ".join(entry.usage for entry in known.values())
    if word not in known and name.lower().endswith(".npz"):
        raise error("D0401", f"there is no data set `{name}`", help=f"for a file: `npz:{name}`")
    if word not in known:
        close = did_you_mean(word.lower(), known)
        raise error(
            "D0401",
            f"there is no data set `{name}`",
            help=f"{close} {everything}" if close else everything,
        )
    entry = known[word]
    if entry.argument and not argument:
        raise error("D0402", f"`{name}` does not say which", help=f"write `{entry.usage}`")
    if colon and not entry.argument:
        raise error("D0402", f"`{word}` takes nothing after a colon", help=f"write `{entry.usage}`")
    return entry, argument
