"""Dropout's kernel: its masks are those of the definition, and drawn no more often than needed."""

from __future__ import annotations

import numpy as np
import pytest

from cnndsl.backends import numpy as reference
from cnndsl.backends.cuda import nvrtc, simulated, simulator
from cnndsl.backends.cuda.launch import Launch
from cnndsl.backends.cuda.planned import Engine as Planned
from cnndsl.graph.types import Batch, Type
from cnndsl.ops.dropout import DropoutTraining

pytestmark = pytest.mark.gate

WORD = Type((), "int64")
#: Elements of an image, of which packs of 1, 2, 4 and 8 elements are made.
SHAPES = ((7,), (5, 3, 2), (12,), (3, 2, 4), (40,), (3, 3, 16))


@pytest.mark.skipif(simulator.unavailable() is not None, reason=str(simulator.unavailable()))
@pytest.mark.parametrize("per_image", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_masks_are_those_of_the_reference(
    shape: tuple[int, ...], dtype: str, per_image: bool
) -> None:
    x = Type((Batch(19), *shape), dtype)
    op = DropoutTraining(0.4, 2**63 + 5, per_image)
    given = [np.ones(x.concrete(), dtype), np.int64(-3), np.int64(2**40 + 7)]
    found = []
    for kernel in (
        simulated.Engine().kernel(op, (x, WORD, WORD), (x,)),
        reference.kernel_of(op, (x, WORD, WORD), (x,)),
    ):
        y = np.empty(x.concrete(), dtype)
        scratch = [np.empty(kernel.workspace, np.uint8)] if kernel.workspace else []
        kernel.bind(*map(np.array, given), y, *scratch)()
        found.append(y)
    assert 0 < (found[1] == 0).sum() < found[1].size
    np.testing.assert_array_equal(*found)


@pytest.mark.skipif(nvrtc.unavailable() is not None, reason=str(nvrtc.unavailable()))
@pytest.mark.parametrize(
    ("shape", "per_image", "blocks"),
    [((40,), False, 1), ((3, 3, 16), True, 1), ((7,), True, 8)],
)
def test_a_block_of_random_words_is_computed_once_a_pack(
    shape: tuple[int, ...], per_image: bool, blocks: int
) -> None:
    """Each takes ten rounds of two products; elements of several images may need as many blocks."""
    x = Type((Batch(64), *shape), "bfloat16")
    kernel = Planned().kernel(DropoutTraining(0.4, 5, per_image), (x, WORD, WORD), (x,))
    (task,) = kernel.recipe.tasks
    assert isinstance(task, Launch)
    products = assembly(task.source.text).count("mul.hi.u64")
    assert 20 * blocks <= products < 20 * (blocks + 1)


def assembly(text: str) -> str:
    """A text as NVRTC's PTX."""
    from cuda.bindings import nvrtc as library

    _, program = library.nvrtcCreateProgram(text.encode(), b"kernel.cu", 0, [], [])
    given = [option.encode() for option in ("--gpu-architecture=compute_90", *nvrtc.options())]
    library.nvrtcCompileProgram(program, len(given), given)
    _, size = library.nvrtcGetPTXSize(program)
    found = bytearray(size)
    library.nvrtcGetPTX(program, found)
    library.nvrtcDestroyProgram(program)
    return found.decode()
