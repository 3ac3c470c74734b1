"""Convolutions: plain, grouped, dilated and depthwise."""

from __future__ import annotations

import math
from collections.abc import Sequence

from cnndsl.graph.graph import Value, apply
from cnndsl.graph.op import KW_ONLY, Initial, Mismatch, Op, Parameters, Weight, Window, op, spell
from cnndsl.graph.types import Size, Type
from cnndsl.ops.geometry import Padding, Pads, dilated, output_extent, pads_of


@op("conv")
class Conv(Op):
    """Cross-correlation of a map with `filters` learned windows, plus a bias.

    Each output element is the sum over a window of `kernel` times a filter (no flip). Padding keeps
    the extent at stride 1 unless `pad` is given. With `groups` g, input channels and filters are
    cut into g equal parts, and the filters of a part read the channels of the same part. Has no
    bias where its only reader is a `bn`, unless `bias=true`.

    Source: LeCun et al., Gradient-based learning applied to document recognition, 1998; groups:
    Krizhevsky et al., 2012; dilation: Yu & Koltun, 2016.
    """

    filters: int
    kernel: Size
    _: KW_ONLY
    stride: int = 1
    pad: Padding = None
    groups: int = 1
    dilation: int = 1
    bias: bool | None = None

    examples = (
        "input 6x6x3 -> conv 4, 3x3",
        "input 7x6x3 -> conv 4, 3x3, /2",
        "input 7x7x2 -> conv 3, 5x5, /2, pad=0, bias=false",
        "input 5x6x4 -> conv 5, 1x1",
        "input 6x6x4 -> conv 6, 3x3, groups=2",
        "input 7x7x3 -> conv 4, 3x3, dilation=2",
        "input 6x7x2 -> conv 3, 1x5, /2, pad=same",
        "input 6x6x2 -> conv 3, 2x2, /2, pad=0",
    )

    def infer(self, x: Type, weight: Type, bias: Type | None = None) -> Type:
        return x.like((x.shape[0], *self.extent(x), self.filters))

    def extent(self, x: Type) -> Size:
        """The output's extent for an input type."""
        return output_extent(x, self.kernel, self.stride, self.pad, dilation=self.dilation)

    def pads(self, x: Type) -> Pads:
        """Padding before and after, along height and width."""
        return pads_of(x.extent, dilated(self.kernel, self.dilation), self.stride, self.pad)

    def parameters(self, x: Type) -> Parameters:
        if self.filters < 1:
            raise Mismatch(
                f"a convolution has at least one filter, this has {self.filters}",
                argument="filters",
            )
        self.extent(x)
        if self.groups < 1 or x.channels % self.groups:
            raise Mismatch(
                f"{x.channels} input channels cannot be split into {self.groups} equal groups"
            )
        if self.filters % self.groups:
            raise Mismatch(
                f"{self.filters} filters cannot be split into {self.groups} equal groups"
            )
        area = math.prod(self.kernel)
        inner = x.channels // self.groups
        initial = Initial(
            "weights", fan_in=inner * area, fan_out=self.filters // self.groups * area
        )
        weights = {"weight": Weight((self.filters, inner, *self.kernel), initial)}
        if self.bias is not False:
            weights["bias"] = Weight((self.filters,), Initial(), decays=False)
        return weights

    def gradient(
        self, inputs: Sequence[Value], outputs: Sequence[Value], grads: Sequence[Value | None]
    ) -> Sequence[Value | None]:
        x, weight = inputs[:2]
        (dy,) = grads
        assert dy is not None
        dx = apply(ConvInputGradient(self, x.type), weight, dy, like=x)
        dw = apply(ConvWeightGradient(self, weight.type.widened), x, dy, like=outputs[0])
        db = [apply(BiasGradient(), dy, like=outputs[0])] if len(inputs) == 3 else []
        return [dx, dw, *db]

    def multiply_adds(self, outputs: Sequence[Type], *inputs: Type) -> int:
        return outputs[0].elements * math.prod(inputs[1].shape[1:])  # type: ignore[arg-type]

    def window(self, x: Type) -> Window:
        (top, _), (left, _) = self.pads(x)
        kernel = dilated(self.kernel, self.dilation)
        return Window(kernel, (self.stride, self.stride), (top, left))

    def is_depthwise(self, x: Type) -> bool:
        """Whether every input channel has filters of its own."""
        return self.groups == x.channels > 1

    def spell(self, *inputs: Type) -> str:
        if inputs and self.is_depthwise(inputs[0]):
            multiplier = self.filters // self.groups
            return DepthwiseConv(
                self.kernel,
                stride=self.stride,
                pad=self.pad,
                dilation=self.dilation,
                bias=self.bias,
                multiplier=multiplier,
            ).spell()
        return spell(self)


@op("dwconv")
class DepthwiseConv(Op):
    """A convolution of every channel by itself: `conv` with as many groups as channels.

    Source: Howard et al., MobileNets, 2017; Chollet, Xception, 2017.
    """

    kernel: Size
    _: KW_ONLY
    stride: int = 1
    pad: Padding = None
    dilation: int = 1
    multiplier: int = 1
    bias: bool | None = None

    examples = (
        "input 6x6x3 -> dwconv 3x3",
        "input 7x7x2 -> dwconv 5x5, /2, pad=same, bias=false",
        "input 5x5x2 -> dwconv 3x3, dilation=2, multiplier=2",
    )

    def resolve(self, x: Type) -> Conv:
        return Conv(
            x.channels * self.multiplier,
            self.kernel,
            stride=self.stride,
            pad=self.pad,
            groups=x.channels,
            dilation=self.dilation,
            bias=self.bias,
        )


@op("conv_input_gradient", registry=None)
class ConvInputGradient(Op):
    """The gradient of a convolution's input: each output gradient spread over its window.

    Inputs: weight, output gradient.

    Source: Dumoulin & Visin, A guide to convolution arithmetic, 2016.
    """

    conv: Conv
    x: Type
    differentiable = False

    def infer(self, weight: Type, dy: Type) -> Type:
        return self.x

    def multiply_adds(self, outputs: Sequence[Type], *inputs: Type) -> int:
        return self.conv.multiply_adds([inputs[1]], outputs[0], inputs[0])


@op("conv_weight_gradient", registry=None)
class ConvWeightGradient(Op):
    """The gradient of a convolution's weight: input windows correlated with output gradients.

    Inputs: input, output gradient. With `bias` the second result is the gradient of a bias.
    """

    conv: Conv
    weight: Type
    bias: bool = False
    differentiable = False

    def infer(self, x: Type, dy: Type) -> Type | tuple[Type, Type]:
        return (self.weight, BiasGradient().infer(dy)) if self.bias else self.weight

    def multiply_adds(self, outputs: Sequence[Type], *inputs: Type) -> int:
        return self.conv.multiply_adds([inputs[1]], inputs[0], outputs[0])


@op("bias_gradient", registry=None)
class BiasGradient(Op):
    """The gradient of a bias: the sum of the output's gradient over images and positions."""

    differentiable = False

    def infer(self, dy: Type) -> Type:
        return dy.like((dy.channels,)).widened
