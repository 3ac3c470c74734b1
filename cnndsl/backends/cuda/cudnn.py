"""Convolutions and matrix products as data, and as graphs of the library cuDNN."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from cnndsl.backends.cuda.cudnn_library import frontend

#: What cuDNN calls the element types.
DTYPES = {"bfloat16": "BFLOAT16", "float16": "HALF", "float32": "FLOAT"}

#: cuDNN names a map's axes N, C, H, W; from the slowest to the fastest they are N, H, W, C here.
_CHANNELS_LAST = (0, 2, 3, 1)

Kind = Literal["forward", "input_gradient", "weight_gradient"]


class Unsupported(Exception):
    """cuDNN has no plan for what is described; the message says for what, and for which device."""


class Broken(RuntimeError):
    """cuDNN fails where it was to begin or to run; the message says at what, and why."""


@dataclass(frozen=True)
class Geometry:
    """The numbers of a convolution: maps are NHWC arrays, filters arrays of (filters, kernel
    height, kernel width, channels / groups); pairs are (vertical, horizontal), and `pad` is (top,
    bottom, left, right)."""

    images: int
    height: int
    width: int
    channels: int
    filters: int
    kernel: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1
    pad: tuple[int, int, int, int] = (0, 0, 0, 0)

    def __post_init__(self) -> None:
        if self.channels % self.groups or self.filters % self.groups:
            counts = f"{self.channels} channels and {self.filters} filters"
            raise ValueError(f"{counts} do not fall into {self.groups} groups")
        if min(self.output) < 1:
            raise ValueError(f"the kernel {self.kernel} does not fit the padded map")

    @property
    def output(self) -> tuple[int, int]:
        """Height and width of the result."""
        padded = (self.height + sum(self.pad[:2]), self.width + sum(self.pad[2:]))
        reach = [d * (k - 1) + 1 for d, k in zip(self.dilation, self.kernel, strict=True)]
        high, wide = ((p - r) // s + 1 for p, r, s in zip(padded, reach, self.stride, strict=True))
        return high, wide


@dataclass(frozen=True)
class Convolution:
    """One of a convolution's three computations.

    Images, filters, losses and addends are of `dtype`, the result of `result`, and sums are
    float32. `tensor_cores` matters for float32 only, and is the engine's to say: whether its
    products may be rounded to tf32.
    A forward one is `relu(convolution + bias + addend)` with those that are wanted; the bias has
    an element a filter, of `bias_dtype`. An input's gradient may have an addend, and is 0 where
    another map is not positive if it goes through a relu's `slope`.
    """

    kind: Kind
    geometry: Geometry
    dtype: str
    result: str
    tensor_cores: bool = False
    bias: bool = False
    add: bool = False
    relu: bool = False
    bias_dtype: str = "float32"
    slope: bool = False

    def __post_init__(self) -> None:
        if self.kind != "forward" and (self.bias or self.relu):
            raise ValueError("only a forward convolution has a bias or a relu")
        if self.kind == "weight_gradient" and self.add:
            raise ValueError("the gradient of a weight has no addend")
        if self.kind != "input_gradient" and self.slope:
            raise ValueError("only the gradient of an input goes through a relu")

    def __str__(self) -> str:
        g = self.geometry
        name = "convolution" if self.kind == "forward" else self.kind.replace("_", " ")
        words = f"{name} of {g.images}x{g.height}x{g.width}x{g.channels} with {g.filters} filters"
        words += f" of {g.kernel[0]}x{g.kernel[1]}"
        words += "" if g.stride == (1, 1) else f", stride {g.stride[0]}x{g.stride[1]}"
        words += "" if g.dilation == (1, 1) else f", dilation {g.dilation[0]}x{g.dilation[1]}"
        words += "" if not any(g.pad) else f", padding {g.pad}"
        words += "" if g.groups == 1 else f", {g.groups} groups"
        return words + _ending(self)


@dataclass(frozen=True)
class Product:
    """`y[rows, columns] = relu(a[rows, inner] @ b[inner, columns] + bias[columns])`.

    A transposed operand is stored the other way round: `a` as (inner, rows), `b` as (columns,
    inner); at most one may be. Element types are as in `Convolution`.
    """

    rows: int
    inner: int
    columns: int
    dtype: str
    result: str
    transpose_a: bool = False
    transpose_b: bool = False
    tensor_cores: bool = False
    bias: bool = False
    relu: bool = False
    bias_dtype: str = "float32"

    def __post_init__(self) -> None:
        if self.transpose_a and self.transpose_b:
            raise ValueError("transpose one operand, or exchange them and transpose the result")

    def __str__(self) -> str:
        left = f"{self.rows}x{self.inner}{' (transposed)' * self.transpose_a}"
        right = f"{self.inner}x{self.columns}{' (transposed)' * self.transpose_b}"
        return f"product of {left} and {right}" + _ending(self)


Description = Convolution | Product


@dataclass(frozen=True)
class Operand:
    """An array of a plan: its shape as cuDNN names the axes, strides in elements, element type."""

    name: str
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: str


def operands(description: Description) -> tuple[Operand, ...]:
    """The arrays in the order in which a plan takes their addresses: inputs, then the result."""
    if isinstance(description, Product):
        return _product_operands(description)
    g, dtype = description.geometry, description.dtype
    kernel = (g.filters, g.channels // g.groups, *g.kernel)
    image = _map("image", (g.images, g.channels, g.height, g.width), dtype)
    answer = (g.images, g.filters, *g.output)
    match description.kind:
        case "input_gradient":
            inputs = [_map("loss", answer, dtype), _map("filter", kernel, dtype)]
            result = image.shape
        case "weight_gradient":
            inputs, result = [image, _map("loss", answer, dtype)], kernel
        case "forward":
            inputs, result = [image, _map("filter", kernel, dtype)], answer
    if description.bias:
        inputs.append(_map("bias", (1, g.filters, 1, 1), description.bias_dtype))
    if description.add:
        inputs.append(_map("addend", result, dtype))
    if description.slope:
        inputs.append(_map("saved", result, dtype))
    return (*inputs, _map("result", result, description.result))


def graph(description: Description, target: Mapping[str, Any]) -> Any:
    """cuDNN's graph of the description, without plans yet; the operands' uids count from 1.

    `target` is what the graph is planned for, as keywords of `cudnn.pygraph`: a handle, or the
    properties of a device that is not there and its version.

    Raises:
        Unsupported: cuDNN cannot even express it.
    """
    cudnn = frontend()
    float32 = cudnn.data_type.FLOAT
    built = cudnn.pygraph(
        io_data_type=element_type(description.dtype),
        intermediate_data_type=float32,
        compute_data_type=float32,
        **target,
    )
    *inputs, result = _asked_for(description)
    tensors = {
        operand.name: built.tensor(
            name=operand.name,
            dim=list(operand.shape),
            stride=list(operand.strides),
            data_type=element_type(operand.dtype),
            uid=number,
        )
        for number, operand in enumerate(inputs, 1)
    }
    shape, strides = list(result.shape), list(result.strides)
    value = _core(built, description, tensors).set_dim(shape).set_stride(strides)
    if description.bias:
        value = built.bias(input=value, bias=tensors["bias"])
    if isinstance(description, Convolution) and description.add:
        value = built.add(a=value, b=tensors["addend"])
    if isinstance(description, Convolution) and description.slope:
        value = built.relu_backward(loss=value, input=tensors["saved"])
    if description.relu:
        value = built.relu(input=value)
    value.set_uid(len(inputs) + 1).set_output(True).set_data_type(element_type(result.dtype))
    value.set_dim(shape).set_stride(strides)
    return built


def element_type(dtype: str) -> Any:
    """cuDNN's name of an element type."""
    return getattr(frontend().data_type, DTYPES[dtype])


def strict(description: Description) -> bool:
    """Whether products of float32 elements must not be rounded to tf32."""
    return description.dtype == "float32" and not description.tensor_cores


def _core(built: Any, description: Description, tensors: Mapping[str, Any]) -> Any:
    """The convolution or product itself."""
    if isinstance(description, Convolution):
        g = description.geometry
        numbers = {
            "pre_padding": [g.pad[0], g.pad[2]],
            "post_padding": [g.pad[1], g.pad[3]],
            "stride": list(g.stride),
            "dilation": list(g.dilation),
        }
        return _convolution(built, description.kind, tensors, numbers)
    if not strict(description):
        return built.matmul(A=tensors["a"], B=tensors["b"])
    numbers = {"padding": [0, 0], "stride": [1, 1], "dilation": [1, 1]}
    a, b = tensors["a"], tensors["b"]
    if description.transpose_a:
        return _convolution(built, "weight_gradient", {"image": b, "loss": a}, numbers)
    if description.transpose_b:
        return _convolution(built, "forward", {"image": a, "filter": b}, numbers)
    return _convolution(built, "input_gradient", {"loss": a, "filter": b}, numbers)


def _convolution(
    built: Any, kind: Kind, tensors: Mapping[str, Any], numbers: Mapping[str, list[int]]
) -> Any:
    match kind:
        case "forward":
            return built.conv_fprop(image=tensors["image"], weight=tensors["filter"], **numbers)
        case "input_gradient":
            return built.conv_dgrad(loss=tensors["loss"], filter=tensors["filter"], **numbers)
        case "weight_gradient":
            return built.conv_wgrad(image=tensors["image"], loss=tensors["loss"], **numbers)


def _map(name: str, shape: tuple[int, ...], dtype: str) -> Operand:
    """A channels-last array whose shape is given channels-first."""
    strides, step = [0] * 4, 1
    for axis in reversed(_CHANNELS_LAST):
        strides[axis] = step
        step *= shape[axis]
    return Operand(name, shape, tuple(strides), dtype)


def _product_operands(p: Product) -> tuple[Operand, ...]:
    def matrix(name: str, rows: int, columns: int, dtype: str, transposed: bool = False) -> Operand:
        strides = (rows * columns, 1, rows) if transposed else (rows * columns, columns, 1)
        return Operand(name, (1, rows, columns), strides, dtype)

    inputs = [
        matrix("a", p.rows, p.inner, p.dtype, p.transpose_a),
        matrix("b", p.inner, p.columns, p.dtype, p.transpose_b),
    ]
    if p.bias:
        inputs.append(matrix("bias", 1, p.columns, p.bias_dtype))
    return (*inputs, matrix("result", p.rows, p.columns, p.result))


def _asked_for(description: Description) -> tuple[Operand, ...]:
    """The operands of cuDNN's graph: of a strict product, which its own product never is, those
    of the convolution of one pixel that is the same."""
    given = operands(description)
    if isinstance(description, Convolution) or not strict(description):
        return given
    transposed = {"a": description.transpose_a, "b": description.transpose_b}
    stored = {o.name: o.shape[:0:-1] if transposed.get(o.name) else o.shape[1:] for o in given}
    return tuple(_map(o.name, (*stored[o.name], 1, 1), o.dtype) for o in given)


def _ending(description: Description) -> str:
    """The words that convolutions and products share: element types, and what follows."""
    words = f", {description.dtype}"
    words += " in tf32" if description.dtype == "float32" and description.tensor_cores else ""
    words += "" if description.result == description.dtype else f" to {description.result}"
    words += f", bias in {description.bias_dtype}" if description.bias else ""
    words += ", add" if isinstance(description, Convolution) and description.add else ""
    words += ", relu gradient" if isinstance(description, Convolution) and description.slope else ""
    return words + (", relu" if description.relu else "")
