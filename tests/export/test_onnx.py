"""What is exported computes the same in ONNX Runtime as here, to 1e-5 of the norm."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from rewriting import SMALLER, ZOO, shrunken

import cnndsl
from cnndsl.backends import get_backend
from cnndsl.cli import status
from cnndsl.compile import compile_inference, elaborate_text
from cnndsl.data import load
from cnndsl.data.preprocess import Preprocessing
from cnndsl.export.serialise import serialise
from cnndsl.export.translate import TRANSLATIONS, translate
from cnndsl.frontend.library import load_file
from cnndsl.graph.graph import Graph
from cnndsl.graph.leaves import STATE, Input
from cnndsl.graph.op import OPS
from cnndsl.passes.inference import for_inference
from cnndsl.resources import resource
from cnndsl.training import checkpoint

Array = np.ndarray[Any, Any]
ENGINE = get_backend("numpy")

#: After as many weights, a prime number, they repeat: to draw them all takes long.
PERIOD = 65_521

EXAMPLES = [text for kind in OPS.values() for text in kind.examples]
#: What the examples of single layers do not show.
MORE = [
    "input 7 -> lrn 5",
    "input 6 -> lrn 4, alpha=0.9",
    "input 7 -> lrn 1",
    "input 6x8x2 -> avgpool 3x3, /2, pad=1, ceil=true, count_pad=true",
    "input 6x9x2 -> avgpool 2x2, /3, ceil=true, count_pad=true",
    "input 9x10x2 -> avgpool 3x2, /2, pad=1, ceil=true",
    "input 7x9x2 -> maxpool 3x3, /2, pad=1, ceil=true",
    "input 6x6x2 -> maxpool 2x2, /2, pad=1, ceil=true",
    "input 8x10x2 -> maxpool 2x2, /3, ceil=true",
    "input 5x5x2 -> maxpool 4x4, /3, pad=same, ceil=true",
    "input 7x7x4 -> conv 8, 3x3, /2, dilation=3, groups=4, pad=same",
    "input 5x4x3 -> relu6 -> flatten -> softmax",
    "input 4x4x2 -> add { | relu | conv 2, 3x3 | identity }",
    "input 4x4x2 -> add { | relu }",
    "input 4x4x2 -> mul { | relu | conv 2, 3x3 | sigmoid }",
    "input 4x4x2 -> mul { | identity }",
    "input 4x4x2 -> concat { | identity }",
    "input 4x4x2 -> concat { | relu | conv 3, 3x3 | identity }",
    "input 5 -> concat { | relu | fc 3 } -> add { | tanh | relu }",
    "input 4x3x5 -> gate { avgpool global -> sigmoid }",
    "input 4x3x5 -> gate { avgpool global -> fc 5 -> hardsigmoid }",
    "input 4x3x5 -> gate { sigmoid }",
    "input 8x8x4 -> residual pad { conv 8, 3x3, /2 -> bn }",
    "input 8x8x4 -> dense 2 { conv 3, 3x3, pad=same } -> aux 0.3 { fc 2 } -> fc 3",
    "input 4x4x2 -> relu -> gate { identity }",
]


def filled(graph: Graph) -> dict[str, Array]:
    """Weights such as a network starts with, and norms that are not at their first values."""
    states = {}
    for node in graph.of(*STATE):
        shape, generator = graph.types(node)[0].concrete(), np.random.default_rng(node)
        if graph.name(node).endswith("weight"):
            drawn = generator.standard_normal(PERIOD, np.float32)
            values = np.resize(drawn * np.float32((2 / np.prod(shape[1:])) ** 0.5), shape)
        else:
            values = generator.uniform(0.5, 1.5, shape).astype(np.float32)
        states[graph.name(node)] = values
    return states


def session_of(model: bytes | str) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def theirs(session: onnxruntime.InferenceSession, images: Array) -> Array:
    """What ONNX Runtime computes, NHWC in and out."""
    (found,) = session.run(["logits"], {"image": channels_first(images)})
    return found.transpose(0, 2, 3, 1) if found.ndim == 4 else found


def channels_first(images: Array) -> Array:
    return images.transpose(0, 3, 1, 2) if images.ndim == 4 else images


def images_for(graph: Graph, count: int) -> Array:
    shape = (count, *graph.inputs["image"].type.features)
    return 2 * np.random.default_rng(count).standard_normal(shape).astype(np.float32)


def assert_equal(found: Array, wanted: Array) -> None:
    assert found.shape == wanted.shape
    assert np.linalg.norm(found - wanted) <= 1e-5 * np.linalg.norm(wanted)


def assert_the_same_in_both(graph: Graph) -> None:
    """Of a batch of three images, and of one image."""
    changed = graph.copy()
    for_inference(changed)
    states, images = filled(changed), images_for(graph, 3)
    program = compile_inference(graph, ENGINE, len(images))
    checkpoint.restore(program, states, "the test")
    program.write("image", images)
    program.run()
    wanted = program.read("logits")
    session = session_of(serialise(translate(changed, states), changed, None, "", {}))
    assert_equal(theirs(session, images), wanted)
    assert_equal(theirs(session, images[:1]), wanted[:1])


@pytest.mark.parametrize("text", EXAMPLES + MORE)
def test_every_layer_and_join(text: str) -> None:
    assert_the_same_in_both(elaborate_text(f"model example {{ {text} }}"))


def test_every_operation_of_a_network_is_translated() -> None:
    found = set()
    for text in EXAMPLES + MORE:
        graph = elaborate_text(f"model example {{ {text} }}")
        for_inference(graph)
        found |= {type(graph.op(node)) for node in graph.nodes()}
    assert found - {*STATE, Input} == set(TRANSLATIONS)


# Networks ----------------------------------------------------------------------------------------

#: Inputs that make the zoo's networks quick, by file.
SIZES = {"alexnet": (67, 67, 3), "googlenet": (96, 96, 3), "lenet": (32, 32, 1)}
MODELS = [
    f"{path.stem}:{name}"
    for path in sorted(resource("zoo").glob("*.cnn"))
    for name in load_file(path).complete()
]
#: Those of which a smaller member of the family has every layer; they run at their full size.
LARGER = {
    *("resnet:resnet101", "resnet:resnet152"),
    *("densenet:densenet161", "densenet:densenet201"),
    *("vgg:vgg13", "vgg:vgg19"),
}


@pytest.mark.parametrize("reference", [model for model in MODELS if model not in LARGER])
def test_networks_of_the_zoo(reference: str) -> None:
    file, name = reference.split(":")
    size = SIZES.get(file, (32, 32, 3))
    model = cnndsl.load(resource("zoo") / f"{file}.cnn", name, input_size=size)
    assert_the_same_in_both(model.graph)


@pytest.mark.parametrize("reference", SMALLER)
def test_networks_that_people_write(reference: str) -> None:
    assert reference in ZOO
    assert_the_same_in_both(shrunken(reference, "float32"))


@pytest.mark.slow
@pytest.mark.parametrize("reference", MODELS)
def test_every_network_of_the_zoo_at_its_full_size(reference: str, tmp_path: Path) -> None:
    file, name = reference.split(":")
    model = cnndsl.load(resource("zoo") / f"{file}.cnn", name)
    model.export(tmp_path / "full.onnx", seed=1)
    images = images_for(model.graph, 1)
    assert_equal(
        theirs(session_of(str(tmp_path / "full.onnx")), images), model.compile(seed=1)(images)
    )


# Files -------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_the_command_line_exports(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["resnet:resnet20", "--set", "classes=7", "--input", "16x16x3", "--seed", "4"]
    assert status(["export", *words, "-o", "net.onnx"]) == 0
    shown = capsys.readouterr()
    assert shown.out == "wrote net.onnx: image (batch, 3, 16, 16) to logits (batch, 7)\n"
    assert "the weights are random" in shown.err
    model = cnndsl.load(
        resource("zoo") / "resnet.cnn", "resnet20", input_size=(16, 16, 3), classes=7
    )
    images = images_for(model.graph, 2)
    assert_equal(theirs(session_of("net.onnx"), images), model.compile(seed=4)(images))
    model.export("again.onnx", seed=4)
    assert Path("again.onnx").read_bytes() == Path("net.onnx").read_bytes()


def test_the_batch_can_be_a_number() -> None:
    words = ["mobilenet:mobilenet_v2", "--input", "32x32x3", "--batch", "2"]
    assert status(["export", *words, "-o", "net.onnx"]) == 0
    model = cnndsl.load(resource("zoo") / "mobilenet.cnn", "mobilenet_v2", input_size=(32, 32, 3))
    images = images_for(model.graph, 2)
    assert_equal(theirs(session_of("net.onnx"), images), model.compile()(images))
    with pytest.raises(onnxruntime.capi.onnxruntime_pybind11_state.InvalidArgument):
        theirs(session_of("net.onnx"), images[:1])


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """LeNet after an epoch on a few digits; the run's folder."""
    folder = tmp_path_factory.mktemp("trained")
    digits = load("digits").train
    np.savez(folder / "few.npz", images=digits.images[:300], labels=digits.labels[:300])
    words = ["zoo/lenet.cnn", "--train", f"npz:{folder}/few.npz", "--epochs", "1"]
    assert status(["run", *words, "--out", str(folder / "run")]) == 0
    return folder / "run"


def test_a_trained_network_takes_pixels(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    words = ["zoo/lenet.cnn", "--weights", str(trained), "-o", "folder/lenet.onnx"]
    assert status(["export", *words]) == 0
    shown = capsys.readouterr()
    assert "image (batch, 1, 32, 32), pixels from 0 to 255, to logits (batch, 10)" in shown.out
    assert shown.err == ""
    saved = checkpoint.load(trained / "checkpoints" / "last.safetensors")
    preprocessing = Preprocessing.from_json(saved.metadata["preprocessing"])
    pixels = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 1)).astype(np.uint8)
    model = cnndsl.load(resource("zoo") / "lenet.cnn")
    wanted = model.compile(weights=trained)(preprocessing.prepare(pixels))
    assert_equal(theirs(session_of("folder/lenet.onnx"), pixels.astype(np.float32)), wanted)
    model.export("again.onnx", weights=trained)
    assert Path("again.onnx").read_bytes() == Path("folder/lenet.onnx").read_bytes()


def test_a_file_says_what_it_is(trained: Path) -> None:
    cnndsl.load(resource("zoo") / "lenet.cnn").export("lenet.onnx", weights=trained)
    model = onnx.load("lenet.onnx")
    onnx.checker.check_model(model, full_check=True)
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    assert metadata["weights"] == "trained"
    assert metadata["Image.NominalPixelRange"] == "NominalRange_0_255"
    assert metadata["Image.BitmapPixelFormat"] == "Gray8"
    assert json.loads(metadata["class_names"]) == [str(digit) for digit in range(10)]
    assert json.loads(metadata["preprocessing"])["extent"] == [32, 32]
    assert "pixels from 0 to 255" in model.doc_string
    assert (model.graph.name, model.producer_name) == ("lenet", "cnndsl")
    assert {"conv1.weight", "fc1.bias"} <= {array.name for array in model.graph.initializer}
    assert model.graph.node[2].output[0] == "conv1.Conv"


def test_parameters_are_those_of_the_run(trained: Path, tmp_path: Path) -> None:
    network = "model net(classes = 10) { input 8x8x1 -> fc classes }\n"
    Path("net.cnn").write_text(network, encoding="utf-8")
    images = np.zeros((40, 8, 8), np.uint8)
    np.savez("four.npz", images=images, labels=np.arange(40) % 4)
    words = ["run", "net.cnn", "--train", "npz:four.npz", "--epochs", "1", "--out", "run"]
    assert status(words) == 0
    assert status(["export", "net.cnn", "--weights", "run", "-o", "net.onnx"]) == 0
    (output,) = onnx.load("net.onnx").graph.output
    assert [axis.dim_param or axis.dim_value for axis in output.type.tensor_type.shape.dim] == [
        "batch",
        4,
    ]


def test_nothing_is_left_of_what_cannot_be_written(capsys: pytest.CaptureFixture[str]) -> None:
    Path("net.onnx").mkdir()
    assert status(["export", "lenet", "-o", "net.onnx"]) == 1
    assert "C0102" in capsys.readouterr().err
    assert [path.name for path in Path.cwd().iterdir()] == ["net.onnx"]
