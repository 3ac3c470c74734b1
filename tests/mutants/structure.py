"""Mutation operators on numbers, sizes, tables, joins, claims and sections."""

from __future__ import annotations

import random

from edits import OPERATORS, Edit, at, behind, misspelt, of, operator
from originals import Program

from cnndsl.frontend import syntax

__all__ = ["OPERATORS"]


# Numbers and sizes -------------------------------------------------------------------------------


def _changed(number: str, rng: random.Random) -> str:
    value = int(number.replace("_", ""))
    near = [str(value + 1), str(max(0, value - 1)), str(3 * value + 1)]
    return rng.choice(["0", "-1", f"{value}.5", "10000000000", "9" * 40, "1e99", *near])


@operator
def change_a_number(program: Program, rng: random.Random) -> Edit | None:
    word = rng.choice(program.of_type("INTEGER", "DECIMAL"))
    return of(
        word, _changed(word, rng) if word.type == "INTEGER" else rng.choice(["-1", "7", "1e99"])
    )


@operator
def change_a_size(program: Program, rng: random.Random) -> Edit | None:
    words = program.of_type("SIZE")
    if not words:
        return None
    word = rng.choice(words)
    extents = word.split("x")
    place = rng.randrange(len(extents))
    extents[place] = rng.choice(["0", "1", str(int(extents[place]) + 1), "999999999", "1000"])
    return of(word, "x".join(extents))


@operator
def change_a_claim(program: Program, rng: random.Random) -> Edit | None:
    claims = program.of_kind(syntax.Claim)
    if not claims:
        return None
    claim = rng.choice(claims)
    assert isinstance(claim, syntax.Claim)
    texts = [": 3", ": 7x7x3", ": 1x1x(2 * 3)", ": nothing", f"{claim.span.text}1"]
    return at(claim.span, rng.choice(texts))


@operator
def change_a_table(program: Program, rng: random.Random) -> Edit | None:
    """A row of a table, or a list, gets an element too many or too few, or another kind."""
    lists = [n for n in program.of_kind(syntax.ListLiteral) if getattr(n, "items", ())]
    if not lists:
        return None
    chosen = rng.choice(lists)
    assert isinstance(chosen, syntax.ListLiteral)
    place = rng.randrange(len(chosen.items))
    item = chosen.items[place]
    if rng.random() < 0.5:
        return behind(item.span, rng.choice([", 1", ", relu", ", [1, 2]"]))
    following = (
        chosen.items[place + 1].span.start if place + 1 < len(chosen.items) else item.span.end
    )
    return Edit(item.span.start, following, "")


# Structure ---------------------------------------------------------------------------------------


@operator
def remove_the_input(program: Program, rng: random.Random) -> Edit | None:
    """The mistake is told at the model's first step, or at its name."""
    model = rng.choice(program.of_kind(syntax.Model))
    assert isinstance(model, syntax.Model)
    first, *rest = model.body.steps
    also = (model.name.span.start, *(step.span.start for step in rest[:1]))
    return Edit(first.span.start, first.span.end, "", also)


@operator
def add_an_input(program: Program, rng: random.Random) -> Edit | None:
    model = rng.choice(program.of_kind(syntax.Model))
    assert isinstance(model, syntax.Model)
    step = rng.choice(model.body.steps)
    return behind(step.span, " -> input 8x8x3")


@operator
def break_a_join(program: Program, rng: random.Random) -> Edit | None:
    """A branch, or the body of a join, leaves another shape."""
    bodies = [
        steps
        for step in program.of_kind(syntax.Layer)
        if isinstance(step, syntax.Layer) and step.body is not None
        for steps in (step.body.steps, *(branch.steps for branch in step.body.branches))
        if steps and isinstance(steps[-1], syntax.Layer)
    ]
    if not bodies:
        return None
    step = rng.choice(bodies)[-1]
    endings = ["conv 7, 1x1", "avgpool 2x2, /2", "upsample 2", "flatten", "crop 1"]
    return behind(step.span, f" -> {rng.choice(endings)}")


@operator
def break_a_proof(program: Program, rng: random.Random) -> Edit | None:
    proofs = program.of_kind(syntax.Proof)
    if not proofs:
        return None
    proof = rng.choice(proofs)
    assert isinstance(proof, syntax.Proof)
    edits = [
        at(proof.value.span, rng.choice(["1", "0x0", "nothing", "1e3 +", '"x"', "-7"])),
        at(proof.quantity.span, misspelt(proof.quantity.id, rng)),
    ]
    if proof.of is not None:
        edits.append(at(proof.of.span, f"{proof.of.text}9"))
    return rng.choice(edits)


@operator
def break_a_setting(program: Program, rng: random.Random) -> Edit | None:
    settings = program.of_kind(syntax.Setting)
    if not settings:
        return None
    setting = rng.choice(settings)
    assert isinstance(setting, syntax.Setting)
    value = rng.choice(setting.values)
    return rng.choice(
        [
            at(setting.name.span, misspelt(setting.name.id, rng)),
            at(value.span, rng.choice(["nothing", "-1", "1e99", "[1]", "lr=relu", '"x"'])),
            behind(setting.span, rng.choice([", lr=0.1, lr=0.2", ", 3", ", flop", " 7"])),
            behind(setting.span, f"\n    {setting.span.text}"),
        ]
    )


@operator
def break_a_section(program: Program, rng: random.Random) -> Edit | None:
    sections = program.of_kind(syntax.Train, syntax.Expect, syntax.Variant)
    if not sections:
        return None
    section = rng.choice(sections)
    name = section.base if isinstance(section, syntax.Variant) else getattr(section, "model", None)
    return at(name.span, misspelt(name.id, rng)) if name is not None else None
