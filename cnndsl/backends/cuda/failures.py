"""What fails on a GPU at work, as a sentence with a code in place of an exception of CuPy's."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from cnndsl.backends.cuda.cudnn import Broken
from cnndsl.diagnostics import CnndslError, error, register

register(
    {
        "C0206": "a GPU that fails while it works",
        "C0207": "a GPU whose memory is not free any more",
        "C0208": "a kernel that cannot be compiled or loaded on this machine",
    }
)

#: Kinds of errors by which the runtime and the driver say that memory is not to be had, and that a
#: kernel was compiled for another driver or device.
NO_MEMORY = ("memoryallocation", "outofmemory")
NOT_LOADED = (
    "unsupportedptxversion",
    "invalidptx",
    "jitcompilernotfound",
    "nokernelimagefordevice",
    "nobinaryforgpu",
    "invalidkernelimage",
    "invalidimage",
)
#: What went wrong by the other kinds.
WORDS = {
    "illegaladdress": "a kernel left its arrays",
    "misalignedaddress": "a kernel read or wrote where it may not",
    "illegalinstruction": "a kernel came upon an instruction that is none",
    "launchfailure": "a kernel failed",
    "launchfailed": "a kernel failed",
    "launchtimeout": "a kernel took longer than the driver allows",
    "eccuncorrectable": "an error in its memory could not be corrected",
    "hardwarestackerror": "an error in the hardware",
    "contained": "an error in the hardware",
    "nvlinkuncorrectable": "an error in the hardware",
    "deviceunavailable": "it is taken by another process, or gone",
    "devicesunavailable": "it is taken by another process, or gone",
    "nodevice": "it is not there any more",
    "invaliddevice": "it is not there any more",
    "unknown": "it is lost",
}


@contextmanager
def in_words() -> Iterator[None]:
    """Whatever the device, its driver or cuDNN fails to do in here is told in a sentence.

    Raises:
        CnndslError: instead of the exceptions of CuPy.
    """
    try:
        yield
    except Exception as reason:
        told = told_of(reason)
        if told is None:
            raise
        _hush()
        raise told from reason


def told_of(reason: Exception) -> CnndslError | None:
    """The mistake that an exception means; None if it is none of a device's."""
    cuda = import_module("cupy").cuda
    if isinstance(reason, cuda.memory.OutOfMemoryError):
        return _no_memory()
    if isinstance(reason, cuda.compiler.CompileException):
        lines = str(reason).splitlines()
        first = next((line for line in lines if "error" in line), lines[0])
        return _not_loaded(
            f"NVRTC does not compile a kernel: {first.strip()}",
            "`pip install 'cnndsl[cuda]'` brings the compiler and CUDA's headers",
        )
    if isinstance(reason, Broken):
        return _failed(str(reason))
    if not isinstance(reason, _of_cuda(cuda)):
        return None
    name = str(reason).partition(":")[0]
    kind = name.lower().replace("_", "").removeprefix("cudaerror")
    if kind in NO_MEMORY:
        return _no_memory()
    if kind in NOT_LOADED:
        return _not_loaded(
            f"NVIDIA's driver does not load a kernel: {reason}",
            "a newer driver, or `pip install nvidia-cuda-nvrtc==V.*`, V the version of CUDA that "
            "`nvidia-smi` shows",
        )
    return _failed(f"{WORDS[kind]} ({name})" if kind in WORDS else f"CUDA says {reason}")


def _failed(what: str) -> CnndslError:
    return error(
        "C0206",
        f"the GPU failed: {what}",
        help="`nvidia-smi` and the system's log (its lines with Xid) tell more",
    )


def _no_memory() -> CnndslError:
    return error(
        "C0207",
        "the GPU has less memory than was free when the program was planned",
        help="end what else takes it (`nvidia-smi` lists that), or take a smaller `--batch`",
    )


def _not_loaded(what: str, help: str) -> CnndslError:
    return error("C0208", what, help=help)


def _of_cuda(cuda: Any) -> tuple[type[Exception], ...]:
    """What CuPy raises where CUDA's runtime or driver reports an error."""
    return cuda.runtime.CUDARuntimeError, cuda.driver.CUDADriverError


def _hush() -> None:
    """Let what frees the things of a failed device fail in silence: each of them will."""
    kinds, before = _of_cuda(import_module("cupy").cuda), sys.unraisablehook

    def hook(unraisable: sys.UnraisableHookArgs) -> None:
        if not isinstance(unraisable.exc_value, kinds):
            before(unraisable)

    sys.unraisablehook = hook
