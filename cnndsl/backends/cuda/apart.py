"""What follows a convolution or a product in a kernel of its own, where the library's is slower."""

from __future__ import annotations

import math
from dataclasses import replace

from cnndsl.backends.cuda.cudnn import Convolution, Description, operands
from cnndsl.backends.cuda.formula import Formula, Read
from cnndsl.backends.cuda.launch import SIZES, Launch, LibraryCall
from cnndsl.backends.cuda.pointwise import launch
from cnndsl.graph.types import Batch, Type


def apart(call: LibraryCall) -> tuple[LibraryCall, Launch] | None:
    """The call without bias, addend and activation, and a kernel for these; None if it has none."""
    description = call.description
    adds, slope = follows(description)
    if not (description.bias or adds or slope or description.relu):
        return None
    plain = replace(description, bias=False, relu=False)
    if isinstance(plain, Convolution):
        plain = replace(plain, add=False, slope=False)
    first, second, *more, result = call.arguments
    y = _type(description)
    vector = Type((y.channels,), description.bias_dtype)
    reads = [Read.CHANNEL] * description.bias + [Read.ELEMENT] * (adds + slope)
    types = [
        vector if read is Read.CHANNEL else replace(y, dtype=description.dtype) for read in reads
    ]
    total = " + ".join(f"v{place}" for place in range(1 + len(more) - slope))
    chosen = "(total < 0.0f ? 0.0f : total)" if description.relu else "total"
    chosen = f"(v{len(more)} > 0.0f ? {chosen} : 0.0f)" if slope else chosen
    formula = Formula((Read.ELEMENT, *reads), (chosen,), (f"const float total = {total};",))
    rest = launch(formula, (y, *types), (y,), (result, *more, result))
    return LibraryCall(plain, (first, second, result)), rest


def moved_apart(description: Description) -> int:
    """The bytes that the kernel of what follows reads and writes."""
    y = operands(description)[-1]
    return math.prod(y.shape) * (
        2 * SIZES[y.dtype] + sum(follows(description)) * SIZES[description.dtype]
    )


def follows(description: Description) -> tuple[bool, bool]:
    """Whether a result gets an addend, and whether it goes through the slope of a relu."""
    if not isinstance(description, Convolution):
        return False, False
    return description.add, description.slope


def _type(description: Description) -> Type:
    """The type of a result, a map or a vector an image."""
    if isinstance(description, Convolution):
        images, channels, height, width = operands(description)[-1].shape
        return Type((Batch(images), height, width, channels), description.result)
    return Type((Batch(description.rows), description.columns), description.result)
