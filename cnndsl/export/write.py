"""From a network and its weights to an ONNX file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from cnndsl.data.preprocess import Preprocessing
from cnndsl.diagnostics import error
from cnndsl.export.serialise import channels_first, require_onnx, require_room, serialise
from cnndsl.export.translate import IMAGE, translate
from cnndsl.files import write_whole
from cnndsl.frontend.elaborate import Network
from cnndsl.graph.graph import Graph
from cnndsl.graph.leaves import STATE
from cnndsl.passes.inference import for_inference
from cnndsl.training.checkpoint import Checkpoint, check_fit
from cnndsl.training.initialise import initial_states
from cnndsl.training.recipe import recipe_of

#: The names that ONNX has for the layouts of pixels, by the number of channels.
PIXEL_FORMATS = {1: "Gray8", 3: "Rgb8"}


def write_onnx(
    network: Network,
    path: Path,
    saved: Checkpoint | None = None,
    origin: str = "",
    *,
    batch: int | None = None,
    seed: int = 0,
) -> str:
    """Write a network for inference as an ONNX file; returns a line on what goes in and comes out.

    Weights, class names and the normalisation of pixels are those of the checkpoint, which errors
    call `origin`; without one weights are random by `seed`, and nothing is normalised. `batch` None
    leaves the number of images open.

    Raises:
        CnndslError: `onnx` is not installed, the weights do not fit or are too many for a file, or
            it cannot be written; nothing is left of it then.
    """
    require_onnx()
    graph = network.graph.copy()
    for_inference(graph)
    states = {graph.name(node): graph.types(node)[0] for node in graph.of(*STATE)}
    require_room(graph, sum(state.nbytes for state in states.values()))
    preprocessing, metadata = None, {"weights": f"random, seed {seed}"}
    if saved is None:
        arrays: Mapping[str, np.ndarray[Any, Any]] = initial_states(
            graph, recipe_of(network).initialisation, seed
        )
    else:
        arrays = saved.arrays
        check_fit(states, arrays, origin)
        preprocessing = _preprocessing(graph, saved, origin)
        metadata = _metadata(saved, preprocessing)
    interface = _interface(graph, batch, preprocessing)
    draft = translate(graph, arrays, preprocessing)
    description = f"{network.name}, written by cnndsl. {interface}."
    write_whole(path, serialise(draft, graph, batch, description, metadata))
    return interface


def _preprocessing(graph: Graph, saved: Checkpoint, origin: str) -> Preprocessing | None:
    """What a checkpoint says of how images were prepared.

    Raises:
        CnndslError: it is for images with another number of channels.
    """
    if "preprocessing" not in saved.metadata:
        return None
    preprocessing = Preprocessing.from_json(saved.metadata["preprocessing"])
    image = graph.inputs[IMAGE].type
    if preprocessing.channels != image.channels:
        height, width = preprocessing.extent
        raise error(
            "D0413",
            f"{origin} is for images of {height}x{width}x{preprocessing.channels}, "
            f"and the input of the model is {image}",
        )
    return preprocessing


def _metadata(saved: Checkpoint, preprocessing: Preprocessing | None) -> dict[str, str]:
    """What stands in the file besides the graph; keys that begin with `Image.` are ONNX's own."""
    metadata = {
        "weights": "trained",
        "class_names": json.dumps(saved.metadata.get("class_names", [])),
    }
    if preprocessing is None:
        return metadata
    metadata |= {
        "preprocessing": json.dumps(preprocessing.to_json()),
        "Image.NominalPixelRange": "NominalRange_0_255",
    }
    if preprocessing.channels in PIXEL_FORMATS:
        metadata["Image.BitmapPixelFormat"] = PIXEL_FORMATS[preprocessing.channels]
    return metadata


def _interface(graph: Graph, batch: int | None, preprocessing: Preprocessing | None) -> str:
    """`image (batch, 3, 32, 32), pixels from 0 to 255, to logits (batch, 10)`."""
    shown = {
        name: f"{name} ({', '.join(map(str, channels_first(value.type, batch)))})"
        for name, value in (*graph.inputs.items(), *graph.outputs.items())
    }
    pixels = ", pixels from 0 to 255," if preprocessing else ""
    return f"{shown[IMAGE]}{pixels} to {shown['logits']}"
