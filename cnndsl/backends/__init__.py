"""Engines by name; importing this imports none of them."""

from __future__ import annotations

import importlib
from pathlib import Path

from cnndsl.diagnostics import did_you_mean, error, register
from cnndsl.passes.precision import TF32
from cnndsl.runtime.kernel import Backend

register(
    {
        "C0201": "an engine that does not exist",
        "C0202": "an engine that cannot run on this machine",
        "C0205": "a precision that an engine does not have",
    }
)

#: Engine by name, best first: the module that holds it. Each has a class `Engine`.
BACKENDS = {
    "cuda": "cnndsl.backends.cuda.gpu",
    "onednn": "cnndsl.backends.onednn",
    "numpy": "cnndsl.backends.numpy",
    "cuda-sim": "cnndsl.backends.cuda.simulated",
}


def get_backend(
    name: str | None = None, threads: int | None = None, precision: str = "f32"
) -> Backend:
    """The engine of a name, or the best one that can run here, on so many threads.

    It computes in a precision by the word of a user; the element type of values is the program's.

    Raises:
        CnndslError: no engine has this name, it cannot run here, or it has no such precision.
    """
    engine = _found(name)
    if threads is not None:
        engine.use_threads(threads)
    if precision == TF32 and not engine.use_tf32():
        raise error(
            "C0205", f"the {engine.name} engine has no tf32", help="`--precision f32`", status=2
        )
    return engine


def _found(name: str | None) -> Backend:
    if name is None:
        names = [name for name in BACKENDS if name != "cuda" or _may_have_gpu()]
        engines = (_load(candidate) for candidate in names)
        return next(engine for engine in engines if engine.unavailable() is None)
    if name not in BACKENDS:
        raise error(
            "C0201",
            f"there is no engine `{name}`; there is {', '.join(BACKENDS)}",
            help=did_you_mean(name, BACKENDS),
            status=2,
        )
    engine = _load(name)
    reason = engine.unavailable()
    if reason is not None:
        raise error("C0202", f"the {name} engine cannot run here: {reason}")
    return engine


def _may_have_gpu() -> bool:
    """Whether to look for a GPU at all, which takes a while: NVIDIA's driver makes one of these."""
    return any(Path(device).exists() for device in ("/dev/nvidiactl", "/dev/dxg"))


def _load(name: str) -> Backend:
    engine: Backend = importlib.import_module(BACKENDS[name]).Engine()
    return engine
