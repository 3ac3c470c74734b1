"""What tests of chains share: every operation element by element, and random graphs of them."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from cnndsl.graph.graph import Graph, Value
from cnndsl.graph.leaves import Accumulate, Buffer, Input, Parameter
from cnndsl.graph.op import Initial, Op
from cnndsl.graph.rewrite import optimise
from cnndsl.graph.types import BATCH, Batch, Type
from cnndsl.ops.activation import Activation, ActivationGradient, Relu, Silu, Tanh
from cnndsl.ops.cast import Cast
from cnndsl.ops.chain import Chain, Step
from cnndsl.ops.dropout import Dropout, DropoutTraining, DropPath
from cnndsl.ops.epilogue import Epilogue
from cnndsl.ops.loss import MeanSquaredErrorGradient
from cnndsl.ops.merge import Add, Gate, Multiply
from cnndsl.ops.norm import BatchNorm, BatchNormAgain, BatchNormInputGradient, Scale
from cnndsl.ops.shape import Identity
from cnndsl.passes.chains import CHAINS
from cnndsl.runtime.lower import lower

ACTIVATIONS: tuple[Activation, ...] = tuple(kind() for kind in Activation.__subclasses__())
MAP = Type((Batch(2), 3, 5, 8))
VECTOR = Type((Batch(6), 24))
CHANNELS, GATE, WORD = Type((8,)), Type((Batch(2), 1, 1, 8)), Type((), "int64")

#: Every operation that reads element by element, with types that it takes.
CASES: list[tuple[Op, tuple[Type, ...]]] = [
    *((each, (MAP,)) for each in ACTIVATIONS),
    *((ActivationGradient(each), (MAP, MAP)) for each in ACTIVATIONS),
    (Tanh(), (VECTOR,)),
    (Add(), (MAP, MAP)),
    (Add(), (VECTOR, VECTOR, VECTOR)),
    (Multiply(), (MAP, MAP, MAP)),
    (Accumulate(), (MAP, MAP, MAP)),
    (Gate(), (MAP, MAP)),
    (Gate(), (MAP, GATE)),
    (Gate(), (MAP, Type((Batch(2), 8)))),
    (Gate(), (Type((Batch(2), 3, 5, 7)), Type((Batch(2), 7)))),
    (Scale(), (MAP, CHANNELS)),
    (Scale(), (VECTOR, Type((24,)))),
    (BatchNorm(), (MAP, *(CHANNELS,) * 4)),
    (BatchNormAgain(1e-5), (MAP, *(CHANNELS,) * 4)),
    (BatchNormInputGradient(1e-5), (CHANNELS, CHANNELS, MAP)),
    (Epilogue(BatchNorm(), adds=True, activation=Silu()), (MAP, *(CHANNELS,) * 4, MAP)),
    (Epilogue(BatchNormAgain(1e-5), activation=Relu()), (MAP, *(CHANNELS,) * 4)),
    (Cast("bfloat16"), (MAP,)),
    (Cast("float32"), (MAP,)),
    (Identity(), (MAP,)),
    (Dropout(0.3), (MAP,)),
    (DropPath(0.3), (MAP,)),
    (DropoutTraining(0.3, -5), (MAP, WORD, WORD)),
    (DropoutTraining(0.5, 7, per_image=True), (VECTOR, WORD, WORD)),
    (MeanSquaredErrorGradient(), (MAP, MAP, Type(()))),
]


def narrowed(types: tuple[Type, ...]) -> tuple[Type, ...]:
    """The types with values of images in bfloat16."""
    return tuple(Type(t.shape, "bfloat16") if t.batched else t for t in types)


def twice(op: Op, types: tuple[Type, ...]) -> Chain:
    """An operation, the same on its result, and the product of both: a value is read twice."""
    slot, own = op.elementwise(*types)[0], tuple(range(len(types)))
    first = len(types)
    again = (*own[:slot], first, *own[slot + 1 :])
    return Chain((Step(op, own), Step(op, again), Step(Multiply(), (first, first + 1))))


def arrays(types: tuple[Type, ...], seed: int = 0) -> list[np.ndarray]:
    """Random numbers, positive where they may be variances."""
    random = np.random.default_rng(seed)
    found = []
    for type in types:
        shape = type.concrete()
        values = random.normal(size=shape) if type.batched else random.uniform(0.5, 1.5, shape)
        found.append(np.asarray(values * (3 if type.dtype == "int64" else 1)).astype(type.dtype))
    return found


def computed(kernel, inputs: list[np.ndarray], y: Type) -> np.ndarray:
    """What a kernel makes of arrays."""
    result = np.full(y.concrete(), np.nan, y.dtype)
    scratch = [np.zeros(kernel.workspace, np.uint8)] if kernel.workspace else []
    kernel.bind(*inputs, result, *scratch)()
    return result


def one_by_one(engine, op: Chain, inputs: list[np.ndarray], types: tuple[Type, ...]) -> np.ndarray:
    """What the steps of a chain compute on an engine, each by a kernel of its own."""
    values = list(inputs)
    for step, own, y in op.applied(types):
        kernel = engine.kernel(step.op, own, (y,))
        values.append(computed(kernel, [values[place] for place in step.operands], y))
    return values[-1]


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    """Up to ten operations element by element on two images; some results are outputs."""
    channels = draw(st.sampled_from([1, 3, 8]))
    x = Type((BATCH, 2, 3, channels))
    graph = Graph()
    for name, type in (("image", x), ("other", x), ("gate", Type((BATCH, channels)))):
        graph.inputs[name] = graph.add(Input(type), name=name)[0]
    image, other, gate = graph.inputs.values()
    seed, step = (graph.add(Buffer(WORD), name=name)[0] for name in ("seed", "step"))
    scale = graph.add(Parameter(Type((channels,)), Initial()), name="scale")[0]
    values = [image, other]

    def earlier() -> Value:
        return draw(st.sampled_from(values[-4:]))

    for number in range(draw(st.integers(1, 10))):
        kind = draw(st.integers(0, 9))
        activation = draw(st.sampled_from(ACTIVATIONS))
        if kind <= 2:
            y = graph.apply(activation, earlier())
        elif kind == 3:
            y = graph.apply(ActivationGradient(activation), earlier(), earlier())
        elif kind == 4:
            y = graph.apply(DropoutTraining(0.3, number), earlier(), seed, step)
        elif kind == 5:
            y = graph.apply(Gate(), earlier(), draw(st.sampled_from([gate, earlier()])))
        elif kind == 6:
            y = graph.apply(Scale(), earlier(), scale)
        else:
            op = draw(st.sampled_from([Add(), Multiply(), Accumulate()]))
            y = graph.apply(op, *(earlier() for _ in range(draw(st.integers(2, 3)))))
        values.append(y)
    graph.outputs["y"] = values[-1]
    for value in draw(st.lists(st.sampled_from(values[2:]), max_size=2, unique=True)):
        graph.outputs[f"y{value.node}"] = value
    graph.prune()
    return graph


def chained(graph: Graph) -> Graph:
    """The graph with chains."""
    graph = graph.copy()
    optimise(graph, CHAINS)
    return graph


def outputs(graph: Graph, engine) -> dict[str, np.ndarray]:
    """What a graph computes of random numbers."""
    program = lower(graph, engine, 2)
    for number, name in enumerate(sorted((*program.inputs, *program.states))):
        type = (program.inputs | program.states)[name].type
        program.write(name, arrays((type,), number)[0])
    program.run()
    return {name: program.read(name) for name in program.outputs}
