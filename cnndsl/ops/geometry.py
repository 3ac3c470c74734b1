"""Windows over maps: padding rules and the extents that they leave."""

from __future__ import annotations

from cnndsl.graph.op import Mismatch
from cnndsl.graph.types import Size, Type

#: `pad=n`, `pad=same`, `pad=valid`; None keeps the extent at stride 1.
Padding = int | str | None

#: The padding before and after, along height and width.
Pads = tuple[tuple[int, int], tuple[int, int]]

SAME = "same"
VALID = "valid"


def _axis_pads(extent: int, kernel: int, stride: int, pad: Padding) -> tuple[int, int]:
    if pad is None:
        return (kernel - 1) // 2, (kernel - 1) // 2
    if pad == VALID:
        return 0, 0
    if pad == SAME:
        total = max(0, (-(-extent // stride) - 1) * stride + kernel - extent)
        return total // 2, total - total // 2
    assert isinstance(pad, int)
    return pad, pad


def pads_of(extent: Size, kernel: Size, stride: int, pad: Padding, ceil: bool = False) -> Pads:
    """The zeros (or, for max pooling, nothings) around a map, before and after each axis.

    `kernel` is dilated already. With `ceil` the padding after grows to complete the last window.
    """
    pairs = []
    for n, k in zip(extent, kernel, strict=True):
        before, after = _axis_pads(n, k, stride, pad)
        if ceil:
            out = _axis_extent(n, k, stride, (before, after), ceil)
            after = max(after, (out - 1) * stride + k - n - before)
        pairs.append((before, after))
    return pairs[0], pairs[1]


def _axis_extent(n: int, kernel: int, stride: int, pads: tuple[int, int], ceil: bool) -> int:
    room = n + sum(pads) - kernel
    if not ceil:
        return room // stride + 1
    out = -(-room // stride) + 1
    return out - 1 if (out - 1) * stride >= n + pads[0] else out


def output_extent(
    x: Type, kernel: Size, stride: int, pad: Padding, ceil: bool = False, dilation: int = 1
) -> Size:
    """The extent that a window leaves: (N - F + 2P)/S + 1, floored, or rounded up with `ceil`.

    Raises:
        Mismatch: not a map; a window that is larger than the padded map; an even window that states
            no padding; a stride, padding or dilation that makes no sense.
    """
    if not x.is_map:
        raise Mismatch(f"a window needs a map HxWxC; the value here is a vector of {x}")
    if stride < 1:
        raise Mismatch(f"a stride is at least 1, this is {stride}", argument="stride")
    if dilation < 1:
        raise Mismatch(f"a dilation is at least 1, this is {dilation}", argument="dilation")
    if min(kernel) < 1:
        raise Mismatch(f"a window is at least 1x1, this is {kernel}", argument="kernel")
    if isinstance(pad, int) and pad < 0:
        raise Mismatch(
            f"padding is not negative, this is {pad}",
            help="use `crop` to take away",
            argument="pad",
        )
    wide = dilated(kernel, dilation)
    if pad is None and any(k % 2 == 0 for k in wide):
        raise Mismatch(
            f"an even window, {kernel}, cannot keep the extent by itself",
            help="state the padding: `pad=0`, `pad=1` or `pad=same`",
        )
    extents = []
    for n, k in zip(x.extent, wide, strict=True):
        pads = _axis_pads(n, k, stride, pad)
        if k > n + sum(pads):
            raise Mismatch(
                f"the window {wide} is larger than the map {x.extent}"
                + (f" padded by {pads[0]}" if any(pads) else "")
            )
        if isinstance(pad, int) and pad >= k and pad > 0:
            raise Mismatch(
                f"a padding of {pad} is not smaller than the window {kernel}: "
                "some windows would see nothing else"
            )
        extents.append(_axis_extent(n, k, stride, pads, ceil))
    return Size(*extents)


def dilated(kernel: Size, dilation: int) -> Size:
    """The extent that a dilated kernel covers."""
    return Size(*((k - 1) * dilation + 1 for k in kernel))
