"""Kernels compiled by NVRTC, which needs neither a GPU nor its driver: what they take of a GPU."""

from __future__ import annotations

import importlib.util
import os
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from cnndsl.backends.cuda.launch import Source

#: How kernels are compiled: for a GPU as for its absence.
OPTIONS = ("--std=c++17",)
HOW = "pip install cuda-bindings nvidia-cuda-nvrtc nvidia-cuda-runtime"


@dataclass(frozen=True)
class Compiled:
    """What a kernel takes of a GPU: a thread's registers and the bytes that did not fit into them,
    a block's bytes of shared memory."""

    registers: int
    spilled: int
    shared: int


@cache
def unavailable() -> str | None:
    """Why nothing can be compiled here, in words; None if it can."""
    try:
        from cuda.bindings import nvrtc

        nvrtc.nvrtcVersion()
    except (ImportError, OSError, RuntimeError):
        return f"the compiler NVRTC is not installed: {HOW}"
    if _headers() is None:
        return f"CUDA's headers are not installed: {HOW}"
    return None


def compiled(source: Source, architecture: str) -> Compiled:
    """Compile a kernel for an architecture, `sm_90`.

    Raises:
        ValueError: it does not compile; with the compiler's words.
    """
    from cuda.bindings import nvrtc

    _, program = nvrtc.nvrtcCreateProgram(source.text.encode(), b"kernel.cu", 0, [], [])
    try:
        given = (f"--gpu-architecture={architecture}", "--ptxas-options=-v", *options())
        (status,) = nvrtc.nvrtcCompileProgram(program, len(given), [o.encode() for o in given])
        _, size = nvrtc.nvrtcGetProgramLogSize(program)
        log = bytearray(size)
        nvrtc.nvrtcGetProgramLog(program, log)
        said = log.rstrip(b"\0").decode(errors="replace")
        if status != nvrtc.nvrtcResult.NVRTC_SUCCESS:
            raise ValueError(f"{source.entry} for {architecture}: {said.strip()}")
    finally:
        nvrtc.nvrtcDestroyProgram(program)
    return _read(said, source.entry)


def _read(said: str, entry: str) -> Compiled:
    """What the assembler says of one of the kernels of a text."""
    _, _, about = said.partition(f"Compiling entry function '{entry}'")
    about = about.partition("Compiling entry function")[0]

    def number(pattern: str) -> int:
        return sum(int(each) for each in re.findall(pattern, about))

    return Compiled(
        number(r"Used (\d+) registers"),
        number(r"(\d+) bytes spill"),
        number(r"(\d+) bytes smem"),
    )


@cache
def options() -> tuple[str, ...]:
    """How kernels are compiled, and where CUDA's headers are, if they are found."""
    headers = _headers()
    return (*OPTIONS, f"-I{headers}") if headers is not None else OPTIONS


@cache
def _headers() -> Path | None:
    """The folder of CUDA's headers: of NVIDIA's packages, or of an installed toolkit."""
    found = importlib.util.find_spec("nvidia")
    places = found.submodule_search_locations or () if found else ()
    folders = [folder for place in places for folder in sorted(Path(place).glob("cu*/include"))]
    toolkit = os.environ.get("CUDA_PATH") or os.environ.get("CUDA_HOME") or "/usr/local/cuda"
    folders.append(Path(toolkit) / "include")
    return next((folder for folder in folders if (folder / "cuda_bf16.h").exists()), None)
