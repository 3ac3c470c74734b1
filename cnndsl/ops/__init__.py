"""The operations of the language, one family a module; importing this fills the registries."""

from cnndsl.ops import (
    activation,
    conv,
    dense,
    derived,
    dropout,
    image_norm,
    loss,
    merge,
    norm,
    optimizer,
    pool,
    shape,
)

__all__ = [
    "activation",
    "conv",
    "dense",
    "derived",
    "dropout",
    "image_norm",
    "loss",
    "merge",
    "norm",
    "optimizer",
    "pool",
    "shape",
]
