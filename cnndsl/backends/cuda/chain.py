"""Chains: the formulas of their steps, one within the other, are one kernel."""

from __future__ import annotations

from cnndsl.backends.cuda import epilogue, norm, pointwise
from cnndsl.backends.cuda.formula import Formula, Read
from cnndsl.backends.cuda.launch import Builders, Recipe, c_type
from cnndsl.backends.cuda.pointwise import Writer, launch
from cnndsl.graph.op import Op
from cnndsl.graph.types import Type
from cnndsl.ops.chain import Chain
from cnndsl.ops.epilogue import Epilogue

WRITERS: dict[type[Op], Writer] = {
    **pointwise.WRITERS,
    **norm.WRITERS,
    Epilogue: epilogue.by_known_statistics,
}


def chain(op: Chain, inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Recipe:
    """Each step is a function of its own, so that their names do not meet; what it gives stays
    float. An input that is read in two ways is two operands of the formula."""
    operands: dict[tuple[int, Read], int] = {}
    steps = []
    for number, (step, types, y) in enumerate(op.applied(inputs)):
        formula = WRITERS[type(step.op)](step.op, types, (y,))
        parameters, arguments = [], []
        for slot, (place, read) in enumerate(zip(step.operands, formula.reads, strict=True)):
            if place >= len(inputs):
                parameters.append(f"float v{slot}")
                arguments.append(f"s{place - len(inputs)}")
                continue
            operand = operands.setdefault((place, read), len(operands))
            raw = read is Read.RAW
            parameters.append(f"const {c_type(types[slot])} *x{slot}" if raw else f"float v{slot}")
            arguments.append(f"x{operand}" if raw else f"v{operand}")
        body = " ".join((*formula.once, *formula.before, f"return {formula.results[0]};"))
        steps.append(
            f"const float s{number} = "
            f"[&]({', '.join(parameters)}) -> float {{ {body} }}({', '.join(arguments)});"
        )
    places = [place for place, _ in operands]
    formula = Formula(tuple(how for _, how in operands), (f"s{len(op.steps) - 1}",), tuple(steps))
    launched = launch(formula, [inputs[p] for p in places], outputs, (*places, len(inputs)))
    alone = [p for p, how in operands if how is Read.ELEMENT and places.count(p) == 1]
    may_alias = tuple((0, p) for p in alone if inputs[p].dtype == outputs[0].dtype)
    return Recipe((launched,), may_alias=may_alias)


BUILDERS: Builders = {Chain: chain}
