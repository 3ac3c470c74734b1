"""Kernels of losses and of what is computed of rows: a warp for each image or position."""

from __future__ import annotations

from cnndsl.backends.cuda.formula import literal
from cnndsl.backends.cuda.launch import (
    THREADS,
    Argument,
    Builders,
    Launch,
    Recipe,
    Scratch,
    Source,
    blocks_for,
    c_type,
    count_of,
)
from cnndsl.graph.types import Type
from cnndsl.ops.activation import Softmax, SoftmaxGradient
from cnndsl.ops.loss import (
    Correct,
    CrossEntropy,
    CrossEntropyGradient,
    CrossEntropyWithGradient,
    MeanSquaredError,
)

#: Rows of a block: one for each of its warps.
WARPS = THREADS // 32


def _rows(entry: str, x: Type, *definitions: str, arguments: tuple[Argument, ...]) -> Launch:
    """A kernel with a warp for each row of channels."""
    rows = count_of(x) // x.channels
    sizes = f"constexpr int ROWS = {rows};", f"constexpr int LENGTH = {x.channels};"
    source = Source("rows.cu", entry, (*sizes, f"using T = {c_type(x)};", *definitions))
    return Launch(source, blocks_for(rows, WARPS), (THREADS, 1, 1), arguments)


def total(
    parameters: str, term: str, count: int, factor: float, arguments: tuple[Argument, ...]
) -> Launch:
    """The kernel that adds up `term` for i from 0 on."""
    definitions = (
        f"constexpr long long COUNT = {count};",
        f"constexpr float FACTOR = {literal(factor)};",
        f"#define PARAMETERS {parameters}",
        f"#define TERM {term}",
    )
    return Launch(Source("total.cu", "total", definitions), (1, 1, 1), (THREADS, 1, 1), arguments)


def softmax(op: Softmax, inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Recipe:
    launch = _rows("softmax", inputs[0], "#define SOFTMAX", arguments=(0, 1))
    return Recipe((launch,), may_alias=((0, 0),))


def softmax_gradient(
    op: SoftmaxGradient, inputs: tuple[Type, ...], outputs: tuple[Type, ...]
) -> Recipe:
    launch = _rows("softmax_gradient", inputs[0], "#define SOFTMAX", arguments=(0, 1, 2))
    return Recipe((launch,), may_alias=((0, 1),))


def cross_entropy(op: CrossEntropy, inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Recipe:
    """Inputs: logits, labels. Results: the loss, the probabilities."""
    return _mean("cross_entropy", op, inputs[0], arguments=(0, 1, 3), loss=2)


def cross_entropy_with_gradient(
    op: CrossEntropyWithGradient, inputs: tuple[Type, ...], outputs: tuple[Type, ...]
) -> Recipe:
    """Inputs: logits, labels, dloss. Results: the loss, the gradient of the logits."""
    entry = "cross_entropy_with_gradient"
    return _mean(entry, op.loss, inputs[0], arguments=(0, 1, 2, 4), loss=3)


def _mean(
    entry: str, op: CrossEntropy, logits: Type, arguments: tuple[Argument, ...], loss: int
) -> Recipe:
    """A kernel that takes a row of losses last, and their mean."""
    images = logits.concrete()[0]
    losses = Scratch(0, 4 * images)
    smoothing = f"constexpr float SMOOTHING = {literal(op.label_smoothing)};"
    each = _rows(entry, logits, "#define LOSS", smoothing, arguments=(*arguments, losses))
    mean = total("const float *x", "x[i]", images, 1 / images, (losses, loss))
    return Recipe((each, mean), workspace=4 * images)


def cross_entropy_gradient(
    op: CrossEntropyGradient, inputs: tuple[Type, ...], outputs: tuple[Type, ...]
) -> Recipe:
    """Inputs: probabilities, labels, dloss."""
    smoothing = f"constexpr float SMOOTHING = {literal(op.loss.label_smoothing)};"
    rows = _rows(
        "cross_entropy_gradient", inputs[0], "#define LOSS", smoothing, arguments=(0, 1, 2, 3)
    )
    grid = blocks_for(count_of(inputs[0]))
    return Recipe((Launch(rows.source, grid, rows.block, rows.arguments),), may_alias=((0, 0),))


def mean_squared_error(
    op: MeanSquaredError, inputs: tuple[Type, ...], outputs: tuple[Type, ...]
) -> Recipe:
    kind = c_type(inputs[0])
    difference = "(number(a[i]) - number(b[i]))"
    count = count_of(inputs[0])
    launch = total(
        f"const {kind} *a, const {kind} *b",
        f"{difference} * {difference}",
        count,
        1 / count,
        (0, 1, 2),
    )
    return Recipe((launch,))


def correct(op: Correct, inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Recipe:
    """Inputs: logits, labels or a target of the logits' shape."""
    logits, labels = inputs
    images = logits.concrete()[0]
    hits = Scratch(0, 4 * images)
    label = (f"using Label = {c_type(labels)};",)
    soft = ("#define SOFT",) if labels.shape == logits.shape else ()
    each = _rows("correct", logits, "#define CORRECT", *label, *soft, arguments=(0, 1, hits))
    count = total("const float *x", "x[i]", images, 1.0, (hits, 2))
    return Recipe((each, count), workspace=4 * images)


BUILDERS: Builders = {
    Softmax: softmax,
    SoftmaxGradient: softmax_gradient,
    CrossEntropy: cross_entropy,
    CrossEntropyGradient: cross_entropy_gradient,
    CrossEntropyWithGradient: cross_entropy_with_gradient,
    MeanSquaredError: mean_squared_error,
    Correct: correct,
}
