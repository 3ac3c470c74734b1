"""Makes a graph one for training: batch statistics, random masks, and the loss."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from fnmatch import fnmatchcase

from cnndsl.graph.graph import Graph, Node, Value
from cnndsl.graph.leaves import Buffer, Input, Parameter
from cnndsl.graph.op import Op
from cnndsl.graph.types import BATCH, Type
from cnndsl.ops.dropout import Dropout, DropoutTraining, DropPath
from cnndsl.ops.loss import Correct, MeanSquaredError, WeightedSum
from cnndsl.ops.norm import BatchNorm, BatchNormTraining, RunningAverage
from cnndsl.ops.shape import Identity


def freeze(graph: Graph, patterns: tuple[str, ...]) -> list[str]:
    """Let training leave alone every parameter whose path matches a pattern; the patterns unused.

    A pattern is a path with `*` and `?`, and holds for all that is below it: `stage0*`, `conv1`.
    """
    used = set()
    for node in graph.of(Parameter):
        op = graph.op(node)
        assert isinstance(op, Parameter)
        name = graph.name(node)
        hits = [p for p in patterns if fnmatchcase(name, p) or fnmatchcase(name, p + ".*")]
        if hits:
            used |= set(hits)
            graph.attributes(node)["op"] = replace(op, trainable=False)
    return [pattern for pattern in patterns if pattern not in used]


def for_training(graph: Graph) -> None:
    """Replace `bn` by its batch-statistics operation, dropout by random masks; drop identities.

    A `bn` whose scale is frozen keeps its running statistics.
    """
    for node in graph.of(Identity):
        (x,) = graph.operands(node)
        graph.replace(Value(graph, node), x)
    for node in graph.of(BatchNorm):
        _batch_statistics(graph, node)
    dropouts = graph.of(Dropout, DropPath)
    if dropouts:
        seed, step = state(graph, "seed", "int64"), state(graph, "step", "int64")
        for node in dropouts:
            op = graph.op(node)
            assert isinstance(op, Dropout | DropPath)
            (x,) = graph.operands(node)
            old = Value(graph, node)
            masked = DropoutTraining(op.rate, path_key(old.name), isinstance(op, DropPath))
            graph.replace(old, graph.apply(masked, x, seed, step, like=old))
    graph.prune()


def _batch_statistics(graph: Graph, node: Node) -> None:
    op = graph.op(node)
    assert isinstance(op, BatchNorm)
    x, gamma, beta, mean, variance = graph.operands(node)
    scale = gamma.op
    if isinstance(scale, Parameter) and not scale.trainable:
        return
    attributes = graph.attributes(node)
    y, batch_mean, _, batch_variance = graph.add(
        BatchNormTraining(op.epsilon),
        x,
        gamma,
        beta,
        name=attributes["name"],
        span=attributes["span"],
        calls=attributes["calls"],
    )
    graph.replace(Value(graph, node), y)
    for running, batch in ((mean, batch_mean), (variance, batch_variance)):
        update = graph.apply(RunningAverage(op.momentum), running, batch, like=running)
        graph.updates[running.node] = update
    graph.remove([node])


def path_key(path: str) -> int:
    """A 63-bit number that belongs to a source path: the key of its random masks."""
    digest = hashlib.blake2b(path.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def state(graph: Graph, name: str, dtype: str) -> Value:
    """The scalar buffer of a name, which the training loop sets before each step."""
    for node in graph.of(Buffer):
        if graph.name(node) == name:
            return Value(graph, node)
    return graph.add(Buffer(Type((), dtype)), name=name)[0]


def add_loss(graph: Graph, loss: Op) -> Value:
    """Add labels and the loss of the logits and of every side head with its weight.

    The graph's outputs become the scalars "loss" and "correct" (how many of the batch are right).
    """
    logits = graph.outputs["logits"]
    labels_type = Type((BATCH,), "int64")
    if isinstance(loss, MeanSquaredError):
        labels_type = logits.type
    labels = graph.add(Input(labels_type), name="labels")[0]
    graph.inputs["labels"] = labels
    total = graph.add(loss, logits, labels, name="loss")[0]
    if graph.heads:
        parts = [graph.add(loss, h.value, labels, name=f"{h.name}.loss")[0] for h in graph.heads]
        weights = (1.0, *(head.weight for head in graph.heads))
        total = graph.add(WeightedSum(weights), total, *parts, name="loss")[0]
        graph.heads.clear()
    correct = graph.add(Correct(), logits, labels, name="correct")[0]
    graph.outputs = {"loss": total, "correct": correct}
    return total
