"""Kernels of pooling, both ways: a thread for each output, or input, and some channels."""

from __future__ import annotations

from cnndsl.backends.cuda.launch import (
    THREADS,
    Builders,
    Launch,
    Recipe,
    Source,
    blocks_for,
    c_type,
    count_of,
    pack_of,
)
from cnndsl.graph.types import Type
from cnndsl.ops.pool import (
    AveragePool,
    AveragePoolGradient,
    MaxPool,
    MaxPoolGradient,
    Pool,
)


def windows(
    entry: str, pool: Pool, x: Type, y: Type, result: Type, arguments: int, *more: str
) -> Recipe:
    """A kernel with a thread for some channels of each position of the result.

    x is what the windows are of, y has an element a window; `more` are further definitions.
    """
    pack = pack_of([x.dtype], x.channels)
    images, height, width, channels = x.concrete()
    _, out_height, out_width, _ = y.concrete()
    (top, _), (left, _) = pool.pads(x)
    (above, below), (before, behind) = pool.stated_pads(x)
    counts = isinstance(pool, AveragePool) and pool.count_pad
    kernel = pool.size(x)
    numbers = {
        "PACK": pack,
        "IMAGES": images,
        "HEIGHT": height,
        "WIDTH": width,
        "CHANNELS": channels,
        "OUT_HEIGHT": out_height,
        "OUT_WIDTH": out_width,
        "KERNEL_H": kernel[0],
        "KERNEL_W": kernel[1],
        "STRIDE": pool.step(),
        "TOP": top,
        "LEFT": left,
        "ROWS_BEGIN": -above if counts else 0,
        "ROWS_END": height + below if counts else height,
        "COLUMNS_BEGIN": -before if counts else 0,
        "COLUMNS_END": width + behind if counts else width,
    }
    definitions = [f"constexpr int {name} = {number};" for name, number in numbers.items()]
    definitions += [f"using T = {c_type(x)};", *more]
    source = Source("pool.cu", entry, tuple(definitions))
    threads = count_of(result) // pack
    return Recipe((Launch(source, blocks_for(threads), (THREADS, 1, 1), tuple(range(arguments))),))


def _maximum(winner: Type) -> tuple[str, str]:
    return "#define MAXIMUM", f"using Winner = {c_type(winner)};"


def max_pool(op: MaxPool, inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Recipe:
    return windows("maxpool", op, inputs[0], outputs[0], outputs[0], 3, *_maximum(outputs[1]))


def max_pool_gradient(
    op: MaxPoolGradient, inputs: tuple[Type, ...], outputs: tuple[Type, ...]
) -> Recipe:
    winner, dy = inputs
    return windows("maxpool_gradient", op.pool, outputs[0], dy, outputs[0], 3, *_maximum(winner))


def average_pool(op: AveragePool, inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Recipe:
    return windows("avgpool", op, inputs[0], outputs[0], outputs[0], 2)


def average_pool_gradient(
    op: AveragePoolGradient, inputs: tuple[Type, ...], outputs: tuple[Type, ...]
) -> Recipe:
    return windows("avgpool_gradient", op.pool, outputs[0], inputs[0], outputs[0], 2)


BUILDERS: Builders = {
    MaxPool: max_pool,
    MaxPoolGradient: max_pool_gradient,
    AveragePool: average_pool,
    AveragePoolGradient: average_pool_gradient,
}
