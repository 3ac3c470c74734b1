"""What the engine `cuda` says when a device fails, by stand-ins for CuPy and cuDNN that fail."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import fake_cupy
import numpy as np
import pytest
from fake_cupy import CompileException, CUDADriverError, CUDARuntimeError, OutOfMemoryError, fail

from cnndsl.backends import get_backend
from cnndsl.backends.cuda import cudnn_library, cudnn_plans, failures, gpu, simulator
from cnndsl.backends.cuda.cudnn import Broken, Product
from cnndsl.backends.cuda.cudnn_plans import Plan
from cnndsl.cli import status
from cnndsl.compile import compile_inference, elaborate_text
from cnndsl.diagnostics import CnndslError
from cnndsl.runtime.program import Program

pytestmark = [
    pytest.mark.gate,
    pytest.mark.skipif(simulator.unavailable() is not None, reason=str(simulator.unavailable())),
]

SMALL = "model small { input 8x8x1 -> conv 4, 3x3 -> relu -> fc 4 }"
TRAINED = """
model net(classes = 10) { input 8x8x1 -> conv 4, 3x3 -> relu -> fc classes }
train net {
    data    digits
    batch   500
    epochs  12
}
"""

#: What fails, how, with which code, and words of what is said.
FAILURES = [
    ("launch", CUDARuntimeError("cudaErrorIllegalAddress: …"), "C0206", "a kernel left its arrays"),
    ("launch", CUDADriverError("CUDA_ERROR_LAUNCH_FAILED: …"), "C0206", "a kernel failed"),
    ("launch", CUDARuntimeError("cudaErrorContained: …"), "C0206", "an error in the hardware"),
    ("launch", CUDARuntimeError("cudaErrorOdd: it is odd"), "C0206", "CUDA says cudaErrorOdd: it"),
    ("launch", CUDADriverError("CUDA_ERROR_OUT_OF_MEMORY: …"), "C0207", "less memory"),
    ("execute", Broken("cuDNN does not start the product: x"), "C0206", "failed: cuDNN does not"),
    ("upload", CUDARuntimeError("cudaErrorDevicesUnavailable: …"), "C0206", "another process"),
    ("download", CUDARuntimeError("cudaErrorECCUncorrectable: …"), "C0206", "error in its memory"),
    ("download", CUDARuntimeError("cudaErrorUnknown: …"), "C0206", "it is lost (cudaErrorUnknown)"),
    ("allocate", OutOfMemoryError("Out of memory"), "C0207", "less memory than was free"),
    ("allocate", CUDARuntimeError("cudaErrorMemoryAllocation: …"), "C0207", "less memory"),
    ("free", CUDARuntimeError("cudaErrorNoDevice: …"), "C0206", "it is not there any more"),
    ("load", CUDADriverError("CUDA_ERROR_UNSUPPORTED_PTX_VERSION: …"), "C0208", "does not load"),
    ("load", CUDADriverError("CUDA_ERROR_INVALID_PTX: …"), "C0208", "driver does not load"),
    ("load", CUDADriverError("CUDA_ERROR_NO_BINARY_FOR_GPU: …"), "C0208", "driver does not load"),
    ("load", CompileException("a.cu(1):\nb.cu(2): error: no cuda_bf16.h"), "C0208", "(2): error:"),
]


def forward(engine: gpu.Engine) -> Program:
    program = compile_inference(elaborate_text(SMALL), engine, 3)
    for name, slot in (program.states | program.inputs).items():
        program.write(name, np.ones(slot.type.concrete(), slot.type.dtype))
    program.run()
    program.read("logits")
    return program


@pytest.mark.parametrize(("what", "reason", "code", "words"), FAILURES, ids=lambda each: str(each))
def test_a_failure_is_told_in_a_sentence(engine, what: str, reason, code: str, words: str) -> None:
    fail(what, reason)
    with pytest.raises(CnndslError) as told:
        forward(engine)
    (diagnostic,) = told.value.diagnostics
    assert diagnostic.code == code
    assert words in diagnostic.message
    assert "…" not in diagnostic.message or code == "C0208"
    assert diagnostic.help is not None
    assert told.value.status == 1


@pytest.mark.parametrize("after", [0, 1, 2])
def test_a_captured_step_that_fails_is_told_too(engine, after: int) -> None:
    """After the first run, which is not captured, while the second is, and at a third."""
    program = forward(engine)
    for _ in range(after):
        program.run()
    fail("launch", CUDARuntimeError("cudaErrorLaunchTimeout: …"))
    with pytest.raises(CnndslError, match="longer than the driver allows"):
        program.run()
    assert not fake_cupy.entered
    assert not fake_cupy.recording


def test_a_mistake_of_ours_is_none_of_the_devices(engine) -> None:
    program = forward(engine)
    fail("launch", ZeroDivisionError("ours"))
    with pytest.raises(ZeroDivisionError, match="ours"):
        program.run()


def test_errors_are_named_as_cuda_names_them(monkeypatch) -> None:
    """By the numbers of its header, `driver_types.h`."""
    pytest.importorskip("cupy")
    cuda = import_module("cupy").cuda
    numbers = {2: "C0207", 46: "C0206", 100: "C0206", 200: "C0208", 209: "C0208", 214: "C0206"}
    numbers |= {218: "C0208", 222: "C0208", 700: "C0206", 702: "C0206", 716: "C0206", 719: "C0206"}
    for number, code in numbers.items():
        reason = cuda.runtime.CUDARuntimeError(number)
        told = failures.told_of(reason)
        assert told is not None
        assert told.diagnostics[0].code == code, str(reason)
        assert "CUDA says" not in told.diagnostics[0].message


def test_what_frees_the_things_of_a_lost_device_fails_in_silence(engine, monkeypatch) -> None:
    heard = []
    monkeypatch.setattr(sys, "unraisablehook", heard.append)

    class Held:
        def __init__(self, reason: Exception) -> None:
            self.reason = reason

        def __del__(self) -> None:
            raise self.reason

    fail("launch", CUDARuntimeError("cudaErrorLaunchFailure: …"))
    with pytest.raises(CnndslError):
        forward(engine)
    Held(CUDARuntimeError("cudaErrorLaunchFailure: …"))
    assert not heard
    Held(ValueError("ours"))
    assert len(heard) == 1


def test_where_there_is_no_room_to_time_plans_cudnns_guess_is_taken(engine, monkeypatch) -> None:
    def empty(shape: int, dtype: str) -> np.ndarray:
        raise OutOfMemoryError("Out of memory")

    monkeypatch.setattr(import_module("cupy"), "empty", empty)
    program = forward(engine)
    assert any("cudnn" in step.implementation for step in program.steps)
    assert not engine._plans.tuned


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("cudaErrorInsufficientDriver: …", "NVIDIA's driver is missing, or older than CuPy needs"),
        ("cudaErrorNoDevice: …", "there is no GPU"),
        ("cudaErrorECCUncorrectable: uncorrectable", "CUDA says cudaErrorECCUncorrectable"),
    ],
)
def test_a_device_that_cannot_be_used_is_not(engine, capsys, reason: str, words: str) -> None:
    fail("count", CUDARuntimeError(reason))
    with pytest.raises(CnndslError, match=words) as told:
        get_backend("cuda")
    assert told.value.diagnostics[0].code == "C0202"


def test_a_gpu_that_is_too_old_says_which_is_not(engine, monkeypatch) -> None:
    old = {"name": b"Tesla V100", "major": 7, "minor": 0}
    monkeypatch.setattr(fake_cupy, "PROPERTIES", old)
    with pytest.raises(CnndslError, match=r"the Tesla V100 is of sm_70, and .* sm_80 and later"):
        get_backend("cuda")


def test_without_cudnn_there_is_a_note(engine, monkeypatch, tmp_path: Path, capsys) -> None:
    assert engine.note() is None
    assert get_backend("numpy").note() is None
    monkeypatch.setattr(cudnn_library, "unavailable", lambda: "it is not installed")
    (tmp_path / "small.cnn").write_text(SMALL)
    assert status(["run", str(tmp_path / "small.cnn"), "--backend", "cuda"]) == 0
    said = capsys.readouterr()
    assert "without cuDNN convolutions and matrix products run on slower kernels" in said.err
    assert "cuda, batch 1: output (1, 4)" in said.out


def test_training_that_dies_keeps_its_checkpoint_and_says_how_to_go_on(
    engine, monkeypatch, tmp_path: Path, capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("net.cnn").write_text(TRAINED)
    words = ["run", "net.cnn", "--train", "digits", "--backend", "cuda", "--out", "here"]
    words += ["--checkpoint-seconds", "0"]
    fail("launch", CUDARuntimeError("cudaErrorECCUncorrectable: …"), after=40)
    assert status(words) == 1
    said = capsys.readouterr().err
    assert "error[C0206]: the GPU failed: an error in its memory could not be corrected" in said
    assert "= help: `--out here --resume` goes on from the last checkpoint; `nvidia-smi`" in said
    assert "Traceback" not in said
    fake_cupy.failing.clear()
    assert status([*words, "--resume"]) == 0
    assert "epoch  12/12" in capsys.readouterr().out


def test_training_that_dies_at_once_has_nothing_to_go_on_with(
    engine, monkeypatch, tmp_path: Path, capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("net.cnn").write_text(TRAINED)
    fail("launch", CUDARuntimeError("cudaErrorUnknown: …"))
    assert status(["run", "net.cnn", "--train", "digits", "--backend", "cuda"]) == 1
    said = capsys.readouterr().err
    assert "it is lost" in said
    assert "--resume" not in said


def test_cudnn_that_fails_to_run_or_to_begin_is_named(monkeypatch) -> None:
    class NotSupported(Exception):
        pass

    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("CUDNN_STATUS_EXECUTION_FAILED\nat line 7")

    library = SimpleNamespace(
        cudnnGraphNotSupportedError=NotSupported, set_stream=lambda **_: None, create_handle=refuse
    )
    monkeypatch.setattr(cudnn_plans, "frontend", lambda: library)
    monkeypatch.setattr(cudnn_plans, "current_device", lambda: ("NVIDIA H200", 90))
    product = Product(2, 3, 4, "float32", "float32")
    planned = SimpleNamespace(execute=refuse)
    plan = Plan(product, planned, object(), name="", workspace=0, candidates=1)
    with pytest.raises(Broken, match=r"start the product of 2x3 and 3x4.*FAILED$"):
        plan.run([0, 0, 0], 0, 0)
    with pytest.raises(Broken, match=r"cuDNN does not begin: CUDNN_STATUS_EXECUTION_FAILED$"):
        cudnn_plans.Plans()
