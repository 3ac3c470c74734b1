"""Where cuDNN is found, and how it is loaded."""

from __future__ import annotations

import ctypes
import importlib
import importlib.util
from functools import cache
from pathlib import Path
from types import ModuleType

#: Libraries that cuDNN opens by their names: it finds them among its neighbours or nowhere, and
#: without the first it ends the process.
COMPANIONS = ("libcublasLt.so.*", "libnvrtc.so.*")

HOW = "`pip install nvidia-cudnn-frontend nvidia-cudnn-cu13 nvidia-cublas nvidia-cuda-nvrtc`"


@cache
def frontend() -> ModuleType:
    """The module `cudnn`, loaded after the libraries that cuDNN may look for in vain: what a
    process has loaded is found under its name.

    Raises:
        ImportError: it is not installed.
        OSError: a library beside it cannot be loaded.
    """
    for name in COMPANIONS:
        for folder in _packages():
            for library in sorted(folder.glob(f"*/lib/{name}")):
                ctypes.CDLL(str(library))
    return importlib.import_module("cudnn")


@cache
def unavailable() -> str | None:
    """Why cuDNN cannot be used here, in words; None if it can, given a device."""
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return "NVIDIA's driver is not here (libcuda.so.1)"
    try:
        frontend().backend_version()
    except ImportError:
        return f"the module cudnn is not installed: {HOW}"
    except OSError as failure:
        return f"a library beside cuDNN cannot be loaded: {failure}"
    except RuntimeError:
        return f"the library cuDNN is not here: {HOW}"
    return None


def _packages() -> list[Path]:
    """The folders in which NVIDIA's packages lie, each in a folder of its own."""
    found = importlib.util.find_spec("nvidia")
    return [Path(place) for place in (found.submodule_search_locations or ())] if found else []
