"""What changes nothing vanishes: repeated activations and pools of one element."""

from __future__ import annotations

from cnndsl.graph.graph import Value, apply
from cnndsl.graph.op import Pattern
from cnndsl.graph.rewrite import Declined, rule
from cnndsl.graph.types import Size
from cnndsl.ops.activation import Activation, Relu, Relu6
from cnndsl.ops.pool import AveragePool, MaxPool, Pool


@rule(
    Pattern(Activation, (Pattern(Activation, ("x",), "inner"),), "outer"),
    fires_on=(
        "input 4x4x3 -> relu -> relu",
        "input 4x4x3 -> relu6 -> relu6",
        "input 4x4x3 -> relu -> relu6",
        "input 4x4x3 -> relu6 -> relu",
    ),
    leaves_alone=("input 4x4x3 -> tanh -> tanh", "input 4x4x3 -> leaky_relu 0.5 -> relu"),
)
def activation_twice(
    x: Value,
    inner: Activation,
    outer: Activation,
    inner_value: Value,
    outer_value: Value,
    **_: object,
) -> Value | None:
    """relu(relu(x)) = relu(x); relu6(relu(x)) = relu(relu6(x)) = relu6(x)."""
    if not (isinstance(inner, Relu | Relu6) and isinstance(outer, Relu | Relu6)):
        return None
    if isinstance(outer, Relu) or inner == outer:
        return inner_value
    return apply(outer, x, like=outer_value)


@rule(
    Pattern(Pool, ("x",), "pool"),
    fires_on=("input 4x4x3 -> maxpool 1x1, /1", "input 1x1x3 -> avgpool global"),
    leaves_alone=("input 4x4x3 -> avgpool 1x1, /2", "input 4x4x3 -> maxpool 2x2, /2"),
)
def pool_of_one(x: Value, pool: Pool, pool_value: Value, **_: object) -> Value | Declined | None:
    """A pool whose window is one element and whose stride is 1 is x."""
    assert isinstance(pool, AveragePool | MaxPool)
    if pool.size(x.type) != Size(1, 1):
        return None
    if pool_value.type.extent != x.type.extent:
        return Declined("the stride skips elements")
    return x
