"""Random networks in the language that are right: every step fits the shape before it."""

from __future__ import annotations

from hypothesis import strategies as st

Shape = tuple[int, int, int]


def _one_of(draw: st.DrawFn, *words: str) -> str:
    return draw(st.sampled_from(words))


def _convolution(draw: st.DrawFn, shape: Shape, keep: bool) -> tuple[str, Shape]:
    height, width, channels = shape
    kernel = draw(st.sampled_from([(1, 1), (1, 1), (3, 3), (3, 3), (1, 3), (5, 5)]))
    stride = 1 if keep else draw(st.sampled_from([1, 1, 2]))
    groups = draw(st.sampled_from([g for g in (1, 1, 2, 3) if channels % g == 0]))
    filters = groups * draw(st.integers(1, 3))
    bias = _one_of(draw, "", ", bias=true", ", bias=false")
    words = f"conv {filters}, {kernel[0]}x{kernel[1]}, /{stride}, groups={groups}{bias}"
    return words, (-(-height // stride), -(-width // stride), filters)


def _pooling(draw: st.DrawFn, shape: Shape, keep: bool) -> tuple[str, Shape]:
    height, width, channels = shape
    word = _one_of(draw, "maxpool", "avgpool")
    if keep:
        return f"{word} 3x3, /1, pad=1", shape
    size = draw(st.integers(1, min(3, height, width)))
    stride = draw(st.integers(1, 2))
    after = [(extent - size) // stride + 1 for extent in (height, width)]
    return f"{word} {size}x{size}, /{stride}", (*after, channels)  # type: ignore[return-value]


def _in_place(draw: st.DrawFn, shape: Shape) -> tuple[str, Shape]:
    words = ("bn", "bn", "relu", "relu", "relu6", "tanh", "leaky_relu 0.1", "silu", "dropout 0.3")
    more = ("dwconv 3x3", "scale", "identity", "groupnorm 1", "layernorm", "gelu", "lrn 3")
    return _one_of(draw, *words, *more), shape


def _channels(draw: st.DrawFn, shape: Shape) -> tuple[str, Shape]:
    height, width, channels = shape
    first = draw(st.integers(0, channels - 1))
    last = draw(st.integers(first + 1, channels))
    return f"slice {first}..{last}", (height, width, last - first)


def _margins(draw: st.DrawFn, shape: Shape) -> tuple[str, Shape]:
    height, width, channels = shape
    return "pad 1", (height + 2, width + 2, channels)


def _joined(draw: st.DrawFn, shape: Shape, depth: int) -> tuple[str, Shape]:
    height, width, channels = shape
    word = _one_of(draw, "concat", "concat", "add", "residual", "gate")
    if word == "gate":
        return f"gate {{ avgpool global -> conv {channels}, 1x1 -> sigmoid }}", shape
    if word == "residual":
        body, inside = _chain(draw, shape, depth - 1, keep=True)
        fit = "" if inside[2] == channels else f" -> conv {channels}, 1x1"
        return f"residual {{ {body}{fit} }}", shape
    branches = [_chain(draw, shape, depth - 1, keep=True) for _ in range(draw(st.integers(2, 3)))]
    if word == "concat":
        text = " | ".join(body for body, _ in branches)
        return f"concat {{ | {text} }}", (height, width, sum(inside[2] for _, inside in branches))
    count = draw(st.integers(1, 3))
    kernel = _one_of(draw, "1x1", "3x3")
    text = " | ".join(f"{body} -> conv {count}, {kernel}" for body, _ in branches)
    return f"add {{ | {text} }}", (height, width, count)


def _chain(draw: st.DrawFn, shape: Shape, depth: int, *, keep: bool) -> tuple[str, Shape]:
    """Steps from a shape, and the shape that they leave; the same extent if it is to be kept."""
    steps = []
    for _ in range(draw(st.integers(1, 3 if keep else 7))):
        kind = draw(st.integers(0, 9))
        if kind <= 2:
            step, shape = _convolution(draw, shape, keep)
        elif kind <= 5:
            step, shape = _in_place(draw, shape)
        elif kind == 6:
            step, shape = _pooling(draw, shape, keep)
        elif kind == 7 and depth:
            step, shape = _joined(draw, shape, depth)
        elif kind == 8 and not keep and max(shape[:2]) < 12:
            step, shape = _margins(draw, shape)
        else:
            step, shape = _channels(draw, shape)
        steps.append(step)
    return " -> ".join(steps), shape


@st.composite
def programs(draw: st.DrawFn) -> str:
    """The body of a model, from a small image to three logits."""
    shape = (draw(st.integers(4, 8)), draw(st.integers(4, 8)), draw(st.integers(1, 4)))
    body, _ = _chain(draw, shape, 2, keep=False)
    return f"input {'x'.join(map(str, shape))} -> {body} -> fc 3"
