"""Convolutions and matrix products by a kernel of our own, where cuDNN is missing.

One template for all, which computes the operands of a matrix product from a convolution's arrays:
the implicit matrices of Chetlur et al., cuDNN: efficient primitives for deep learning, 2014.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from cnndsl.backends.cuda.cudnn import Convolution, Description, Geometry, Product, operands
from cnndsl.backends.cuda.launch import C_TYPES, Argument, Launch, Source

#: Rows and columns of the result that a block computes.
TILE = 64
#: What the instruction of tensor cores calls element types.
TENSOR_CORES = {"bfloat16": "bf16", "float16": "f16"}


@dataclass(frozen=True)
class _Matrices:
    """A product: its extents, groups, and the expressions that the template wants.

    `left` is of (m, k), `right` of (k, n), `place` where the result at (m, n) stands and `column`
    which filter or column that is.
    """

    rows: int
    columns: int
    inner: int
    groups: int
    left: str
    right: str
    place: str
    column: str


def launch(description: Description, arguments: tuple[Argument, ...]) -> Launch:
    """The kernel that computes a description on its operands, in the order of cuDNN's plans."""
    matrices = _product(description) if isinstance(description, Product) else _of(description)
    names = ["a", "b"]
    kinds = [C_TYPES[description.dtype]] * 2
    more = []
    if description.bias:
        names.append("bias")
        kinds.append(C_TYPES[description.bias_dtype])
        more.append(f"v += number(bias[{matrices.column}]);")
    if isinstance(description, Convolution) and description.add:
        names.append("addend")
        kinds.append(C_TYPES[description.dtype])
        more.append(f"v += number(addend[{matrices.place}]);")
    if isinstance(description, Convolution) and description.slope:
        names.append("saved")
        kinds.append(C_TYPES[description.dtype])
        more.append(f"v = number(saved[{matrices.place}]) > 0.0f ? v : 0.0f;")
    if description.relu:
        more.append("v = v < 0.0f ? 0.0f : v;")
    result = C_TYPES[description.result]
    parameters = [f"const {kind} *{name}" for kind, name in zip(kinds, names, strict=True)]
    definitions = [
        f"using T = {C_TYPES[description.dtype]};",
        f"using Index = {'int' if _largest(description) < 2**30 else 'long long'};",
        f"constexpr Index ROWS = {matrices.rows}, COLUMNS = {matrices.columns};",
        f"constexpr Index INNER = {matrices.inner};",
        f"#define PARAMETERS {', '.join([*parameters, f'{result} *y'])}",
        f"#define LEFT {matrices.left}",
        f"#define RIGHT {matrices.right}",
        f"#define STORE {' '.join(more)} y[{matrices.place}] = rounded<{result}>(v);",
    ]
    if description.dtype in TENSOR_CORES:
        definitions.append(f'#define TENSOR_CORES "{TENSOR_CORES[description.dtype]}"')
    grid = (-(-matrices.rows // TILE), -(-matrices.columns // TILE), matrices.groups)
    return Launch(Source("gemm.cu", "gemm", tuple(definitions)), grid, (128, 1, 1), arguments)


def _largest(description: Description) -> int:
    """The elements of the largest array."""
    return max(math.prod(operand.shape) for operand in operands(description))


def _product(p: Product) -> _Matrices:
    left = f"a[k * {p.rows} + m]" if p.transpose_a else f"a[m * {p.inner} + k]"
    right = f"b[n * {p.inner} + k]" if p.transpose_b else f"b[k * {p.columns} + n]"
    return _Matrices(p.rows, p.columns, p.inner, 1, left, right, f"m * {p.columns} + n", "n")


def _of(description: Convolution) -> _Matrices:
    return {"forward": _forward, "input_gradient": _input, "weight_gradient": _weight}[
        description.kind
    ](description.geometry)


def _read(g: Geometry, array: str, position: str, tap: tuple[str, str], channel: str) -> str:
    """The element of an image that a window sees: at a result's position, a tap and a channel."""
    high, wide = g.output
    top, _, left, _ = g.pad
    return (
        f"[&]() -> T {{ const Index p = {position};"
        f" const Index h = p / {wide} % {high} * {g.stride[0]} - {top}"
        f" + {tap[0]} * {g.dilation[0]};"
        f" const Index w = p % {wide} * {g.stride[1]} - {left} + {tap[1]} * {g.dilation[1]};"
        f" if (h < 0 || h >= {g.height} || w < 0 || w >= {g.width}) return zero;"
        f" return {array}[((p / {wide * high} * {g.height} + h) * {g.width} + w)"
        f" * {g.channels} + {channel}]; }}()"
    )


def _forward(g: Geometry) -> _Matrices:
    inside, filters = g.channels // g.groups, g.filters // g.groups
    high, wide = g.output
    inner = g.kernel[0] * g.kernel[1] * inside
    tap = f"k / {inside * g.kernel[1]}", f"k / {inside} % {g.kernel[1]}"
    return _Matrices(
        rows=g.images * high * wide,
        columns=filters,
        inner=inner,
        groups=g.groups,
        left=_read(g, "a", "m", tap, f"group * {inside} + k % {inside}"),
        right=f"b[(group * {filters} + n) * {inner} + k]",
        place=f"m * {g.filters} + group * {filters} + n",
        column=f"group * {filters} + n",
    )


def _input(g: Geometry) -> _Matrices:
    """Of every element of the image the sum over the windows that see it."""
    inside, filters = g.channels // g.groups, g.filters // g.groups
    high, wide = g.output
    rows, columns = g.kernel
    top, _, left, _ = g.pad
    tap = f"k / {filters * columns}", f"k / {filters} % {columns}"
    slope = (
        f"[&]() -> T {{ const Index h = m / {g.width} % {g.height} + {top}"
        f" - {tap[0]} * {g.dilation[0]};"
        f" const Index w = m % {g.width} + {left} - {tap[1]} * {g.dilation[1]};"
        f" if (h < 0 || w < 0 || h % {g.stride[0]} || w % {g.stride[1]}"
        f" || h / {g.stride[0]} >= {high} || w / {g.stride[1]} >= {wide}) return zero;"
        f" return a[((m / {g.width * g.height} * {high} + h / {g.stride[0]}) * {wide}"
        f" + w / {g.stride[1]}) * {g.filters} + group * {filters} + k % {filters}]; }}()"
    )
    return _Matrices(
        rows=g.images * g.height * g.width,
        columns=inside,
        inner=rows * columns * filters,
        groups=g.groups,
        left=slope,
        right=(
            f"b[(((group * {filters} + k % {filters}) * {rows} + {tap[0]}) * {columns} + {tap[1]})"
            f" * {inside} + n]"
        ),
        place=f"m * {g.channels} + group * {inside} + n",
        column="0",
    )


def _weight(g: Geometry) -> _Matrices:
    """Of every weight the sum over images and positions; `a` is the image, `b` the slopes."""
    inside, filters = g.channels // g.groups, g.filters // g.groups
    high, wide = g.output
    columns = g.kernel[0] * g.kernel[1] * inside
    tap = f"n / {inside * g.kernel[1]}", f"n / {inside} % {g.kernel[1]}"
    return _Matrices(
        rows=filters,
        columns=columns,
        inner=g.images * high * wide,
        groups=g.groups,
        left=f"b[k * {g.filters} + group * {filters} + m]",
        right=_read(g, "a", "k", tap, f"group * {inside} + n % {inside}"),
        place=f"(group * {filters} + m) * {columns} + n",
        column="0",
    )
