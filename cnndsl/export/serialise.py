"""The bytes of an ONNX model. Only this module needs the library `onnx`, when it is called."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from cnndsl import __version__
from cnndsl.diagnostics import error, register
from cnndsl.export.draft import Draft
from cnndsl.graph.graph import Graph
from cnndsl.graph.types import Type

if TYPE_CHECKING:
    from onnx import ValueInfoProto

register(
    {
        "C0301": "an export for which a package is not installed",
        "C0302": "a network that is too large for the file it is exported to",
    }
)

#: The version of ONNX's operators, and that of the file; ONNX 1.16 has both.
OPSET, IR_VERSION = 21, 10
#: What Protocol Buffers, of which an ONNX file is one, hold at most.
MOST_BYTES = 2**31 - 1
#: Room for what is in a file besides weights.
BESIDES = 2**24

BATCH = "batch"


def require_onnx() -> None:
    """Check that the library can be imported.

    Raises:
        CnndslError: it cannot.
    """
    try:
        import onnx  # noqa: F401
    except ImportError:
        raise error(
            "C0301",
            "writing ONNX needs the package `onnx`, which is not installed",
            help="pip install 'cnndsl[onnx]'",
        ) from None


def require_room(graph: Graph, nbytes: int) -> None:
    """Check that an ONNX file can hold a graph with so many bytes of weights.

    Raises:
        CnndslError: it cannot.
    """
    if nbytes > MOST_BYTES - BESIDES:
        raise error(
            "C0302",
            f"the weights of `{graph.name_of_model}` take {nbytes / 1e9:,.1f} GB, "
            "and an ONNX file holds 2.1 GB at most",
        )


def channels_first(x: Type, batch: int | None) -> list[int | str]:
    """The shape in ONNX: (N, C, H, W) of a map, (N, C) of a vector; None is "batch"."""
    *extent, channels = x.features
    return [BATCH if batch is None else batch, channels, *extent]


def serialise(
    draft: Draft,
    graph: Graph,
    batch: int | None,
    description: str,
    metadata: Mapping[str, str],
) -> bytes:
    """The ONNX model of a draft, checked: types and shapes are those that ONNX infers itself."""
    import numpy as np
    from onnx import checker, helper, numpy_helper

    def described(values: Mapping[str, Type]) -> list[ValueInfoProto]:
        return [
            helper.make_tensor_value_info(
                name,
                helper.np_dtype_to_tensor_dtype(np.dtype(x.dtype)),
                channels_first(x, batch),
            )
            for name, x in values.items()
        ]

    made = helper.make_graph(
        [
            helper.make_node(
                operator.kind,
                operator.inputs,
                [operator.output],
                name=operator.output,
                **operator.attributes,
            )
            for operator in draft.operators
        ],
        graph.name_of_model,
        described({name: value.type for name, value in graph.inputs.items()}),
        described({name: value.type for name, value in graph.outputs.items()}),
        value_info=described(draft.types),
    )
    model = helper.make_model(
        made,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="cnndsl",
        producer_version=__version__,
        doc_string=description,
    )
    helper.set_model_props(model, dict(metadata))
    for name, array in draft.constants.items():
        # One by one, since all of them at once are copied more often.
        model.graph.initializer.add().CopyFrom(numpy_helper.from_array(array, name))
    data: bytes = model.SerializeToString(deterministic=True)
    checker.check_model(data, full_check=True)
    return data
