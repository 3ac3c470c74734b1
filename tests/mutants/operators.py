"""Mutation operators on characters, words, brackets and arguments."""

from __future__ import annotations

import random

from edits import Edit, at, behind, misspelt, of, operator
from lark import Token
from originals import OPENERS, Program
from structure import OPERATORS

from cnndsl.frontend import syntax

__all__ = ["OPERATORS"]


# Characters and words ----------------------------------------------------------------------------


@operator
def delete_a_character(program: Program, rng: random.Random) -> Edit | None:
    return _character(program, rng.choice(program.code), 1, "")


@operator
def double_a_character(program: Program, rng: random.Random) -> Edit | None:
    place = rng.choice(program.code)
    return _character(program, place, 0, program.text[place])


@operator
def replace_a_character(program: Program, rng: random.Random) -> Edit | None:
    place = rng.choice(program.code)
    return _character(program, place, 1, rng.choice("abxyz019()[]{}|,:=+-*/%^<>.;#\"'é"))


def _character(program: Program, place: int, length: int, text: str) -> Edit:
    """Another text for a character; where that renames a definition, its uses are struck too."""
    start, word = next(
        (w.start_pos, w) for w in reversed(program.words) if (w.start_pos or 0) <= place
    )
    at_word = place - (start or 0)
    renamed = (word[:at_word] + text + word[at_word + length :]).isidentifier()
    return Edit(place, place + length, text, program.uses(start or 0) if renamed else ())


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
    return of(rng.choice([w for w in program.words if w not in brackets]), "")


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
    return of(rng.choice(program.of_type("_COMMA")), "")


@operator
def break_an_arrow(program: Program, rng: random.Random) -> Edit | None:
    arrows = program.of_type("_ARROW")
    return of(rng.choice(arrows), rng.choice([">", "-", "=>", "", "--"])) if arrows else None


@operator
def break_a_sign(program: Program, rng: random.Random) -> Edit | None:
    signs = program.of_type("_EQUALS", "COMPARISON", "_COLON", "_BAR", "_RANGE", "TILDE")
    if not signs:
        return None
    sign = rng.choice(signs)
    return of(sign, rng.choice(["", "=", "==", ":", "|", "..", "...", ";"]))


# Words with a meaning ----------------------------------------------------------------------------


@operator
def misspell_a_keyword(program: Program, rng: random.Random) -> Edit | None:
    word = rng.choice([w for w in program.words if w.type != "NAME" and w.isalpha()])
    return of(word, misspelt(word, rng))


@operator
def misspell_a_layer(program: Program, rng: random.Random) -> Edit | None:
    step = rng.choice(program.of_kind(syntax.Layer))
    assert isinstance(step, syntax.Layer)
    return at(step.name.span, misspelt(step.name.id, rng))


@operator
def misspell_an_argument(program: Program, rng: random.Random) -> Edit | None:
    kinds = (syntax.Argument, syntax.SettingValue)
    named = [n for n in program.of_kind(*kinds) if getattr(n, "name", None) is not None]
    if not named:
        return None
    name: syntax.Name = getattr(rng.choice(named), "name")  # noqa: B009
    return at(name.span, misspelt(name.id, rng))


@operator
def misspell_a_name(program: Program, rng: random.Random) -> Edit | None:
    """Any name; where it is a definition, that is `rename_a_definition`."""
    word = rng.choice(program.of_type("NAME"))
    start, text = word.start_pos or 0, misspelt(word, rng)
    return Edit(start, word.end_pos or 0, text, program.uses(start))


@operator
def foreign_name(program: Program, rng: random.Random) -> Edit | None:
    step = rng.choice(program.of_kind(syntax.Layer))
    assert isinstance(step, syntax.Layer)
    names = ["Conv2d", "BatchNorm2d", "Linear", "ReLU", "MaxPool", "Dropout2d", "attention"]
    return at(step.name.span, rng.choice(names))


@operator
def rename_a_definition(program: Program, rng: random.Random) -> Edit | None:
    """A parameter, a `let`, a block, a model or a value, where it is defined.

    The definition is still in order; what it breaks are its uses, which are struck as well: where
    a name stands for nothing, the use is what a compiler has to report.
    """
    kinds = (syntax.Parameter, syntax.Let, syntax.Block, syntax.Model, syntax.Binding)
    node = rng.choice(program.of_kind(*kinds))
    name: syntax.Name = getattr(node, "name")  # noqa: B009
    text = rng.choice([misspelt(name.id, rng), "another"])
    return Edit(name.span.start, name.span.end, text, program.uses(name.span.start))


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
    return at(rng.choice(inside).span, f"{block.name.id}{given}") if inside else None


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
    return behind(last.span, rng.choice([", padding=1", ", size=3", ", k=2", ", strides=2"]))


@operator
def add_an_argument(program: Program, rng: random.Random) -> Edit | None:
    last = _step_with_arguments(program, rng).arguments[-1]
    return behind(last.span, rng.choice([", 3", ", 3x3", ", relu", ", /2", ', "x"']))


@operator
def repeat_an_argument(program: Program, rng: random.Random) -> Edit | None:
    step = _step_with_arguments(program, rng)
    argument = rng.choice(step.arguments)
    return behind(step.arguments[-1].span, f", {argument.span.text}")


@operator
def argument_of_another_kind(program: Program, rng: random.Random) -> Edit | None:
    argument = rng.choice(_step_with_arguments(program, rng).arguments)
    values = ['"64"', "3x3x3", "[1, 2]", "true", "same", "relu", "0..3", "global"]
    return at(argument.value.span, rng.choice(values))
