"""Calls of the library that must fail, by the code of the failure."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

import cnndsl
from cnndsl import backends, data
from cnndsl.backends import get_backend, numpy
from cnndsl.backends.cuda import failures
from cnndsl.compile import Objective, compile_training, elaborate_text, largest_batch
from cnndsl.data import Request, Split, cifar
from cnndsl.data.augment import Crop, Cutout, Shift
from cnndsl.data.download import Patience
from cnndsl.data.loader import Loader
from cnndsl.data.picture import load_image
from cnndsl.data.preprocess import Preprocessing
from cnndsl.graph.types import map_type, vector_type
from cnndsl.ops.loss import CrossEntropy, MeanSquaredError
from cnndsl.ops.norm import Scale
from cnndsl.ops.optimizer import SGD
from cnndsl.ops.shape import Slice

Call = Callable[[], object]
IMAGES = np.zeros((4, 8, 8), np.uint8)
LABELS = np.arange(4)
TEXT_OF_ONE = "model one { input 8x8x1 -> conv 4, 3x3 -> fc 4 }"
REQUEST = Request("", None, None, None, None, 0, True, None)
HASTE = Patience(rounds=1, rest=0.0, timeout=5.0)
GREY = Preprocessing((8, 8), 1, (0.0,), (1.0,))


def _npz(**arrays: Any) -> object:
    np.savez("mine.npz", **arrays)
    try:
        return data.load("npz:mine.npz")
    finally:
        Path("mine.npz").unlink()


def _bytes(name: str, content: bytes) -> object:
    Path(name).write_bytes(content)
    try:
        return data.load(f"npz:{name}")
    finally:
        Path(name).unlink()


def _unpickled() -> object:
    return _npz(images=np.array([IMAGES, None], dtype=object), labels=LABELS)


def _npy() -> object:
    np.save("one.npy", IMAGES)
    try:
        return data.load("npz:one.npy")
    finally:
        Path("one.npy").unlink()


def _damaged_member() -> object:
    np.savez("whole.npz", images=IMAGES, labels=LABELS)
    content = bytearray(Path("whole.npz").read_bytes())
    Path("whole.npz").unlink()
    content[200] ^= 255
    return _bytes("damaged.npz", bytes(content))


def _raw_member() -> object:
    import zipfile

    with zipfile.ZipFile("raw.npz", "w") as archive:
        archive.writestr("images", b"text")
        archive.writestr("labels", b"text")
    content = Path("raw.npz").read_bytes()
    Path("raw.npz").unlink()
    return _bytes("raw.npz", content)


def _no_cache() -> object:
    cache = os.environ["CNNDSL_CACHE"]
    os.environ["CNNDSL_CACHE"] = "notes.txt/cache"
    try:
        return cifar.load_archive(cifar.CIFAR10, REQUEST, mirrors=[], patience=HASTE)
    finally:
        os.environ["CNNDSL_CACHE"] = cache


def _loader(batch: int, *augmentations: Any) -> object:
    split = Split(np.zeros((2, 8, 8, 1), np.uint8), np.zeros(2, np.int64))
    loader = Loader(split, GREY, batch=batch, augmentations=augmentations, workers=0)
    return next(loader.epoch(0))


def _augmented(augmentation: Any) -> object:
    return augmentation.apply(np.zeros((2, 8, 8, 1), np.float32), np.random.default_rng(0))


def _forbidden_picture() -> object:
    def refuse(*arguments: object) -> None:
        raise PermissionError

    opened, load_image.__globals__["Image"].open = load_image.__globals__["Image"].open, refuse
    try:
        return load_image("grey.png")
    finally:
        load_image.__globals__["Image"].open = opened


def _absent_engine() -> object:
    class Engine:
        def unavailable(self) -> str:
            return "there is no such processor here"

    load = backends._load
    backends._load = lambda name: Engine()  # type: ignore[assignment, return-value]
    try:
        return get_backend("numpy")
    finally:
        backends._load = load


def _on_a_gpu(kind: str, words: str) -> object:
    """What is said where CuPy raises an exception of its own."""
    kinds = {
        "runtime": type("CUDARuntimeError", (RuntimeError,), {}),
        "driver": type("CUDADriverError", (RuntimeError,), {}),
        "memory": type("OutOfMemoryError", (MemoryError,), {}),
        "compiler": type("CompileException", (Exception,), {}),
    }
    cuda = {place: SimpleNamespace(**{each.__name__: each}) for place, each in kinds.items()}
    present = sys.modules.pop("cupy", None)
    sys.modules["cupy"] = SimpleNamespace(cuda=SimpleNamespace(**cuda))  # type: ignore[assignment]
    try:
        told = failures.told_of(kinds[kind](words))
        assert told is not None
        raise told
    finally:
        del sys.modules["cupy"]
        if present is not None:
            sys.modules["cupy"] = present


def _frozen() -> object:
    graph = elaborate_text("model net { input 8x8x1 -> fc 10 }")
    return compile_training(graph, Objective(frozen=("stem",)), get_backend(), 1)


def _all_frozen() -> object:
    graph = elaborate_text("model net { input 8x8x1 -> fc 10 }")
    return compile_training(graph, Objective(frozen=("*",)), get_backend(), 1)


def _map_of_logits() -> object:
    graph = elaborate_text("model net { input 8x8x3 -> conv 4, 3x3 }")
    return compile_training(graph, Objective(), get_backend(), 1)


def _trained_on_nothing() -> object:
    return cnndsl.load("several.cnn", "small").train(out="run")


def _without_onnx() -> object:
    present = sys.modules.pop("onnx", None)
    sys.modules["onnx"] = None  # type: ignore[assignment]
    try:
        return cnndsl.load("net.cnn").export("net.onnx")
    finally:
        del sys.modules["onnx"]
        if present is not None:
            sys.modules["onnx"] = present


#: By code; what is said is kept in `commands/CODE_library.txt`.
def _no_memory_for_one() -> object:
    class Small(numpy.Engine):
        def free_bytes(self) -> int:
            return 1000

    return largest_batch(elaborate_text(TEXT_OF_ONE), Objective(), Small(), 8)


CALLS: dict[str, list[Call]] = {
    "C0202": [_absent_engine],
    "C0204": [_no_memory_for_one],
    "C0205": [
        lambda: cnndsl.load("net.cnn").compile(backend="numpy", precision="tf32"),
        lambda: cnndsl.load("net.cnn").train(out="m", backend="numpy", precision="tf32"),
    ],
    "C0206": [
        partial(_on_a_gpu, "runtime", "cudaErrorECCUncorrectable: uncorrectable ECC error"),
        partial(_on_a_gpu, "driver", "CUDA_ERROR_ILLEGAL_ADDRESS: an illegal memory access"),
        partial(_on_a_gpu, "runtime", "cudaErrorStreamCaptureWrongThread: not in this thread"),
    ],
    "C0207": [partial(_on_a_gpu, "memory", "Out of memory allocating 512 bytes")],
    "C0208": [
        partial(_on_a_gpu, "driver", "CUDA_ERROR_UNSUPPORTED_PTX_VERSION: unsupported toolchain"),
        partial(_on_a_gpu, "compiler", "kernel.cu(3): error: cannot open file cuda_bf16.h"),
    ],
    "C0301": [_without_onnx],
    "D0404": [
        lambda: data.load("npz:notes.txt"),
        _npy,
        _unpickled,
        _damaged_member,
        _raw_member,
    ],
    "D0405": [lambda: _npz(pictures=IMAGES), lambda: _npz()],
    "D0406": [
        lambda: _npz(x_train=IMAGES, y_train=LABELS, x_test=IMAGES[:, 1:], y_test=LABELS),
        lambda: _npz(images=IMAGES[0], labels=LABELS),
        lambda: _npz(images=np.zeros((4, 3, 8, 8), np.uint8), labels=LABELS),
        lambda: _npz(images=IMAGES.astype(np.int32), labels=LABELS),
        lambda: _npz(images=np.full((4, 8, 8), np.nan), labels=LABELS),
        lambda: _npz(images=IMAGES + 255.0, labels=LABELS),
    ],
    "D0407": [
        lambda: _npz(images=IMAGES, labels=LABELS),
        lambda: _npz(images=IMAGES, labels=LABELS[:3]),
        lambda: _npz(images=IMAGES, labels=np.eye(4, dtype=int)),
        lambda: _npz(images=IMAGES, labels=LABELS / 2),
        lambda: _npz(images=IMAGES, labels=LABELS - 1),
        lambda: _npz(images=IMAGES, labels=LABELS + 70_000),
        lambda: _npz(x_train=IMAGES, y_train=LABELS, x_test=IMAGES, y_test=LABELS + 1),
        lambda: _npz(images=IMAGES, labels=LABELS // 2, class_names=np.arange(2)),
        lambda: _npz(images=IMAGES, labels=LABELS // 2, class_names=np.array(["cat"])),
        lambda: _npz(images=IMAGES, labels=LABELS // 4),
    ],
    "D0408": [lambda: data.load("cifar10", data_dir=Path("notes.txt"))],
    "D0409": [
        lambda: cifar.load_archive(
            cifar.CIFAR10, REQUEST, mirrors=["http://127.0.0.1:9"], patience=HASTE
        )
    ],
    "D0410": [lambda: data.load("cifar10", download=False)],
    "D0411": [_no_cache],
    "D0412": [lambda: load_image("cut.png"), _forbidden_picture],
    "D0413": [
        lambda: Crop(pad=-1),
        lambda: Shift(-1),
        lambda: Cutout(0),
        lambda: Preprocessing((8, 8), 1, (0.0,), (0.0,)),
        lambda: _augmented(Crop(pad=8, fill="reflect")),
        lambda: _augmented(Crop(size=(9, 9))),
        lambda: _loader(2, Crop(size=(6, 6))),
    ],
    "D0414": [lambda: _loader(3)],
    "D0415": [
        lambda: Preprocessing.from_json({"extent": [8, 8]}),
        lambda: Preprocessing.from_json(None),
        lambda: Preprocessing.from_json({**GREY.to_json(), "extent": [8]}),
    ],
    "E0201": [_map_of_logits],
    "E0704": [_frozen, _all_frozen],
    "T0102": [_trained_on_nothing],
}

MAP, VECTOR = map_type(4, 4, 3), vector_type(3)
#: Mismatches of layers, losses and optimisers that no program of the language leads to, for its own
#: checks come first: a caller from Python meets them.
GUARDS: list[Call] = [
    lambda: CrossEntropy().infer(VECTOR, VECTOR),
    lambda: MeanSquaredError().infer(VECTOR, MAP),
    lambda: Scale(init=float("inf")).parameters(MAP),
    lambda: SGD().infer(VECTOR, MAP),
    lambda: SGD().infer(VECTOR, VECTOR),
    lambda: SGD(weight_decay=-1.0).check(),
    lambda: Slice(range(0, 3, 2)).infer(MAP),
]
