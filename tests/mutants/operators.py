"""Mutation operators: each makes one mistake in a right text, and knows which lines it struck."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from lark import Token
from originals import OPENERS, Program

from cnndsl.diagnostics import Span
from cnndsl.frontend import syntax


@dataclass(frozen=True)
class Mutant:
    """A text with one mistake. `struck` are the lines in which a report may stand."""

    program: Program
    operator: str
    text: str
    struck: frozenset[int]


@dataclass(frozen=True)
class Edit:
    """Replace `start` to `end` by `text`; `also` are further offsets whose lines were struck."""

    start: int
    end: int
    text: str
    also: tuple[int, ...] = ()


Operator = Callable[[Program, random.Random], Edit | None]
OPERATORS: dict[str, Operator] = {}


def operator(function: Operator) -> Operator:
    OPERATORS[function.__name__] = function
    return function


def mutate(program: Program, name: str, rng: random.Random) -> Mutant | None:
    """A mutant of a program, or None where there is nothing to strike or nothing changed."""
    edit = OPERATORS[name](program, rng)
    if edit is None or program.text[edit.start : edit.end] == edit.text:
        return None
    text = program.text[: edit.start] + edit.text + program.text[edit.end :]
    grown = edit.text.count("\n") - program.text.count("\n", edit.start, edit.end)
    first = program.line(edit.start)
    struck = set(range(first, first + edit.text.count("\n") + 1))
    for offset in edit.also:
        struck.add(program.line(offset) + (grown if offset >= edit.end else 0))
    return Mutant(program, name, text, frozenset(struck))


def _of(word: Token, text: str) -> Edit:
    return Edit(word.start_pos or 0, word.end_pos or 0, text)


def _at(span: Span, text: str) -> Edit:
    return Edit(span.start, span.end, text)


def _behind(span: Span, text: str) -> Edit:
    return Edit(span.end, span.end, text)


def _misspelt(word: str, rng: random.Random) -> str:
    """The word with a letter dropped, doubled, replaced or swapped with the next."""
    place = rng.randrange(len(word))
    before, letter, after = word[:place], word[place], word[place + 1 :]
    choices = [before + letter * 2 + after, before + rng.choice("abcdexyz") + after]
    if len(word) > 1:
        choices.append(before + after)
    if after:
        choices.append(before + after[0] + letter + after[1:])
    named = [c for c in choices if c != word and (c[0].isalpha() or c[0] == "_")]
    return rng.choice(named)


# Characters and words ----------------------------------------------------------------------------


@operator
def delete_a_character(program: Program, rng: random.Random) -> Edit | None:
    place = rng.choice(program.code)
    return Edit(place, place + 1, "")


@operator
def double_a_character(program: Program, rng: random.Random) -> Edit | None:
    place = rng.choice(program.code)
    return Edit(place, place, program.text[place])


@operator
def replace_a_character(program: Program, rng: random.Random) -> Edit | None:
    place = rng.choice(program.code)
    return Edit(place, place + 1, rng.choice("abxyz019()[]{}|,:=+-*/%^<>.;#\"'é"))


@operator
def swap_two_words(program: Program, rng: random.Random) -> Edit | None:
    place = rng.randrange(len(program.words) - 1)
    first, second = program.words[place : place + 2]
    if first.line != second.line:
        return None
    assert first.end_pos is not None
    assert second.start_pos is not None
    between = program.text[first.end_pos : second.start_pos]
    return Edit(first.start_pos or 0, second.end_pos or 0, f"{second}{between}{first}")


@operator
def delete_a_word(program: Program, rng: random.Random) -> Edit | None:
    brackets = {*OPENERS, *OPENERS.values()}
    return _of(rng.choice([w for w in program.words if w not in brackets]), "")


@operator
def join_two_lines(program: Program, rng: random.Random) -> Edit | None:
    places = [i for i, c in enumerate(program.text[:-1]) if c == "\n"]
    place = rng.choice(places)
    if "#" in program.text[program.text.rfind("\n", 0, place) + 1 : place]:
        return None
    return Edit(place, place + 1, " ")


# Brackets and signs ------------------------------------------------------------------------------


def _bracket(program: Program, rng: random.Random, kinds: str) -> tuple[Token, Token] | None:
    places = [i for i in program.partners if program.words[i] in kinds]
    if not places:
        return None
    place = rng.choice(places)
    return program.words[place], program.words[program.partners[place]]


@operator
def drop_an_opener(program: Program, rng: random.Random) -> Edit | None:
    pair = _bracket(program, rng, "([{")
    return pair and Edit(
        pair[0].start_pos or 0, pair[0].end_pos or 0, "", (pair[1].start_pos or 0,)
    )


@operator
def drop_a_closer(program: Program, rng: random.Random) -> Edit | None:
    pair = _bracket(program, rng, ")]}")
    return pair and Edit(
        pair[0].start_pos or 0, pair[0].end_pos or 0, "", (pair[1].start_pos or 0,)
    )


@operator
def double_a_bracket(program: Program, rng: random.Random) -> Edit | None:
    pair = _bracket(program, rng, "()[]{}")
    if pair is None:
        return None
    here, there = pair[0], pair[1].start_pos or 0
    return Edit(here.start_pos or 0, here.end_pos or 0, f"{here} {here}", (there,))


@operator
def drop_a_comma(program: Program, rng: random.Random) -> Edit | None:
    return _of(rng.choice(program.of_type("_COMMA")), "")


@operator
def break_an_arrow(program: Program, rng: random.Random) -> Edit | None:
    arrows = program.of_type("_ARROW")
    return _of(rng.choice(arrows), rng.choice([">", "-", "=>", "", "--"])) if arrows else None


@operator
def break_a_sign(program: Program, rng: random.Random) -> Edit | None:
    signs = program.of_type("_EQUALS", "COMPARISON", "_COLON", "_BAR", "_RANGE", "TILDE")
    if not signs:
        return None
    sign = rng.choice(signs)
    return _of(sign, rng.choice(["", "=", "==", ":", "|", "..", "...", ";"]))


# Words with a meaning ----------------------------------------------------------------------------


@operator
def misspell_a_keyword(program: Program, rng: random.Random) -> Edit | None:
    word = rng.choice([w for w in program.words if w.type != "NAME" and w.isalpha()])
    return _of(word, _misspelt(word, rng))


@operator
def misspell_a_layer(program: Program, rng: random.Random) -> Edit | None:
    step = rng.choice(program.of_kind(syntax.Layer))
    assert isinstance(step, syntax.Layer)
    return _at(step.name.span, _misspelt(step.name.id, rng))


@operator
def misspell_an_argument(program: Program, rng: random.Random) -> Edit | None:
    kinds = (syntax.Argument, syntax.SettingValue)
    named = [n for n in program.of_kind(*kinds) if getattr(n, "name", None) is not None]
    if not named:
        return None
    name: syntax.Name = getattr(rng.choice(named), "name")  # noqa: B009
    return _at(name.span, _misspelt(name.id, rng))


@operator
def misspell_a_name(program: Program, rng: random.Random) -> Edit | None:
    word = rng.choice(program.of_type("NAME"))
    return _of(word, _misspelt(word, rng))


@operator
def foreign_name(program: Program, rng: random.Random) -> Edit | None:
    step = rng.choice(program.of_kind(syntax.Layer))
    assert isinstance(step, syntax.Layer)
    names = ["Conv2d", "BatchNorm2d", "Linear", "ReLU", "MaxPool", "Dropout2d", "attention"]
    return _at(step.name.span, rng.choice(names))


@operator
def rename_a_definition(program: Program, rng: random.Random) -> Edit | None:
    """A parameter, a `let`, a block, a model or a value, where it is defined."""
    kinds = (syntax.Parameter, syntax.Let, syntax.Block, syntax.Model, syntax.Binding)
    node = rng.choice(program.of_kind(*kinds))
    name: syntax.Name = getattr(node, "name")  # noqa: B009
    return _at(name.span, rng.choice([_misspelt(name.id, rng), "another"]))


@operator
def layer_that_calls_its_block(program: Program, rng: random.Random) -> Edit | None:
    blocks = program.of_kind(syntax.Block)
    if not blocks:
        return None
    block = rng.choice(blocks)
    assert isinstance(block, syntax.Block)
    steps = [s for s in program.of_kind(syntax.Layer) if block.span.start < s.span.start]
    inside = [s for s in steps if s.span.end < block.span.end]
    given = "".join(
        f" 1{',' * (i < len(block.parameters) - 1)}" for i in range(len(block.parameters))
    )
    return _at(rng.choice(inside).span, f"{block.name.id}{given}") if inside else None


# Arguments ---------------------------------------------------------------------------------------


def _step_with_arguments(program: Program, rng: random.Random) -> syntax.Layer:
    steps = [s for s in program.of_kind(syntax.Layer) if getattr(s, "arguments", ())]
    step = rng.choice(steps)
    assert isinstance(step, syntax.Layer)
    return step


@operator
def remove_an_argument(program: Program, rng: random.Random) -> Edit | None:
    arguments = _step_with_arguments(program, rng).arguments
    place = rng.randrange(len(arguments))
    if place + 1 < len(arguments):
        return Edit(arguments[place].span.start, arguments[place + 1].span.start, "")
    start = arguments[place - 1].span.end if place else arguments[place].span.start
    return Edit(start, arguments[place].span.end, "")


@operator
def add_an_unknown_argument(program: Program, rng: random.Random) -> Edit | None:
    last = _step_with_arguments(program, rng).arguments[-1]
    return _behind(last.span, rng.choice([", padding=1", ", size=3", ", k=2", ", strides=2"]))


@operator
def add_an_argument(program: Program, rng: random.Random) -> Edit | None:
    last = _step_with_arguments(program, rng).arguments[-1]
    return _behind(last.span, rng.choice([", 3", ", 3x3", ", relu", ", /2", ', "x"']))


@operator
def repeat_an_argument(program: Program, rng: random.Random) -> Edit | None:
    step = _step_with_arguments(program, rng)
    argument = rng.choice(step.arguments)
    return _behind(step.arguments[-1].span, f", {argument.span.text}")


@operator
def argument_of_another_kind(program: Program, rng: random.Random) -> Edit | None:
    argument = rng.choice(_step_with_arguments(program, rng).arguments)
    values = ['"64"', "3x3x3", "[1, 2]", "true", "same", "relu", "0..3", "global"]
    return _at(argument.value.span, rng.choice(values))


# Numbers and sizes -------------------------------------------------------------------------------


def _changed(number: str, rng: random.Random) -> str:
    value = int(number.replace("_", ""))
    near = [str(value + 1), str(max(0, value - 1)), str(3 * value + 1)]
    return rng.choice(["0", "-1", f"{value}.5", "10000000000", "9" * 40, "1e99", *near])


@operator
def change_a_number(program: Program, rng: random.Random) -> Edit | None:
    word = rng.choice(program.of_type("INTEGER", "DECIMAL"))
    return _of(
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
    return _of(word, "x".join(extents))


@operator
def change_a_claim(program: Program, rng: random.Random) -> Edit | None:
    claims = program.of_kind(syntax.Claim)
    if not claims:
        return None
    claim = rng.choice(claims)
    assert isinstance(claim, syntax.Claim)
    texts = [": 3", ": 7x7x3", ": 1x1x(2 * 3)", ": nothing", f"{claim.span.text}1"]
    return _at(claim.span, rng.choice(texts))


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
        return _behind(item.span, rng.choice([", 1", ", relu", ", [1, 2]"]))
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
    return _behind(step.span, " -> input 8x8x3")


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
    return _behind(step.span, f" -> {rng.choice(endings)}")


@operator
def break_a_proof(program: Program, rng: random.Random) -> Edit | None:
    proofs = program.of_kind(syntax.Proof)
    if not proofs:
        return None
    proof = rng.choice(proofs)
    assert isinstance(proof, syntax.Proof)
    edits = [
        _at(proof.value.span, rng.choice(["1", "0x0", "nothing", "1e3 +", '"x"', "-7"])),
        _at(proof.quantity.span, _misspelt(proof.quantity.id, rng)),
    ]
    if proof.of is not None:
        edits.append(_at(proof.of.span, f"{proof.of.text}9"))
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
            _at(setting.name.span, _misspelt(setting.name.id, rng)),
            _at(value.span, rng.choice(["nothing", "-1", "1e99", "[1]", "lr=relu", '"x"'])),
            _behind(setting.span, rng.choice([", lr=0.1, lr=0.2", ", 3", ", flop", " 7"])),
            _behind(setting.span, f"\n    {setting.span.text}"),
        ]
    )


@operator
def break_a_section(program: Program, rng: random.Random) -> Edit | None:
    sections = program.of_kind(syntax.Train, syntax.Expect, syntax.Variant)
    if not sections:
        return None
    section = rng.choice(sections)
    name = section.base if isinstance(section, syntax.Variant) else getattr(section, "model", None)
    return _at(name.span, _misspelt(name.id, rng)) if name is not None else None
