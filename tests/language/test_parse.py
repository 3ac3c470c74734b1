"""What the parser makes of texts: the syntax, its spans, and all mistakes of a wrong one."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from layouts import EXAMPLES, EXPRESSIONS, PROGRAMS, without_spans

from cnndsl.diagnostics import CnndslError, Diagnostic, Source
from cnndsl.frontend import syntax
from cnndsl.frontend.newlines import DEEPEST
from cnndsl.frontend.parse import parse, parse_expression

ROOT = Path(__file__).resolve().parents[2]


def parsed(text: str) -> syntax.File:
    return parse(Source("test.cnn", text))


def value(text: str) -> Any:
    return parse_expression(Source("--set", text))


def steps(text: str) -> tuple[syntax.Step, ...]:
    """The steps of a model with this body."""
    (model,) = parsed(f"model m {{\n{text}\n}}\n").items
    assert isinstance(model, syntax.Model)
    return model.body.steps


def step(text: str) -> Any:
    (found,) = steps(text)
    return found


def mistakes(text: str) -> tuple[Diagnostic, ...]:
    with pytest.raises(CnndslError) as caught:
        parsed(text)
    return caught.value.diagnostics


def codes(text: str) -> list[str]:
    return [diagnostic.code for diagnostic in mistakes(text)]


def nodes(node: Any) -> Iterator[syntax.Node]:
    """A node and all below it."""
    if isinstance(node, tuple):
        for item in node:
            yield from nodes(item)
    elif isinstance(node, syntax.Node):
        yield node
        for field in dataclasses.fields(node):
            yield from nodes(getattr(node, field.name))


# Values ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("64", 64),
        ("62_378_344", 62_378_344),
        ("0.1", Fraction(1, 10)),
        ("1.0", Fraction(1)),
        ("5e-4", Fraction(1, 2000)),
        ("1.135e9", Fraction(1_135_000_000)),
        ("true", True),
        ("false", False),
        ('"a # b"', "a # b"),
    ],
)
def test_literals_are_exact(text: str, expected: object) -> None:
    found = value(text)
    assert (found.value, type(found.value)) == (expected, type(expected))


def test_sizes_are_whole_words() -> None:
    assert value("3x3").extents == (3, 3)
    assert value("1x7").extents == (1, 7)
    assert value("227x227x3").extents == (227, 227, 3)


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("a + b * c", "a + (b * c)"),
        ("a - b - c", "(a - b) - c"),
        ("-a ^ b", "-(a ^ b)"),
        ("2 ^ -a ^ b", "2 ^ (-(a ^ b))"),
        ("a / b % c", "(a / b) % c"),
        ("0..n + 1", "0..(n + 1)"),
        ("not a == b", "not (a == b)"),
        ("a or b and not c", "a or (b and (not c))"),
        ("a if b else c if d else e", "a if b else (c if d else e)"),
        ("a < b if c or d else e + 1", "(a < b) if (c or d) else (e + 1)"),
        ("f(x)[1][2]", "((f(x))[1])[2]"),
        ("[a, b,]", "[a, b]"),
        ("max(a, b,)", "max(a, b)"),
    ],
)
def test_operators_bind_as_in_arithmetic(text: str, same: str) -> None:
    assert without_spans(value(text)) == without_spans(value(same))


def test_a_comprehension_takes_rows_apart() -> None:
    found = value("[ceil(n * d) for t, n in rows if t > 1]")
    assert isinstance(found, syntax.Comprehension)
    assert [name.id for name in found.names] == ["t", "n"]
    assert isinstance(found.condition, syntax.Binary)


def test_an_expression_may_have_line_ends_inside_brackets_and_after_operators() -> None:
    assert without_spans(value("\n[1,\n2] +\n3\n")) == without_spans(value("[1, 2] + 3"))


# Steps -------------------------------------------------------------------------------------------


def test_arguments_have_a_place_a_name_or_the_slash_of_the_stride() -> None:
    width, size, stride, pad = step("conv 4*width, 3x3, /2, pad=1").arguments
    assert isinstance(width.value, syntax.Binary)
    assert (size.name, size.is_stride) == (None, False)
    assert (stride.name, stride.is_stride, stride.value.value) == (None, True, 2)
    assert (pad.name.id, pad.value.value) == ("pad", 1)


def test_a_slash_without_a_comma_is_a_division() -> None:
    (argument,) = step("maxpool 3x3 /2").arguments
    assert isinstance(argument.value, syntax.Binary)
    assert argument.value.operator == "/"


@pytest.mark.parametrize(
    ("claim", "extents"),
    [
        (": 27x27x96", ["27", "27", "96"]),
        (": 27x27xwidth", ["27", "27", "width"]),
        (": 28x28x(2*width)", ["28", "28", "2*width"]),
        (": classes", ["classes"]),
        (": 4096", ["4096"]),
        (": (2*width)", ["2*width"]),
    ],
)
def test_a_claim_has_one_expression_an_extent(claim: str, extents: list[str]) -> None:
    assert [extent.span.text for extent in step(f"relu {claim}").claim.extents] == extents


def test_names_and_claims_follow_layers_and_bodies() -> None:
    found = step("concat { | relu } as x[k + 1] : 3x3x3")
    assert found.binding.name.id == "x"
    assert found.binding.index.operator == "+"
    assert len(found.claim.extents) == 3


def test_steps_come_before_branches() -> None:
    body = step("concat { let c = 3 -> relu | bn -> relu\n bn | identity }").body
    assert [type(found) for found in body.steps] == [syntax.Let, syntax.Layer]
    assert [len(branch.steps) for branch in body.branches] == [3, 1]


def test_else_if_is_an_otherwise_that_holds_one_if() -> None:
    found = step("if a { relu } else if b { bn } else { tanh }")
    (inner,) = found.otherwise.steps
    assert isinstance(inner, syntax.If)
    assert found.otherwise.span == inner.span
    assert inner.otherwise.steps[0].name.id == "tanh"


@pytest.mark.parametrize(
    "text",
    [
        "conv 64, 3x3 -> bn -> relu",
        "conv 64,\n 3x3 -> bn\n -> relu",
        "conv 64, 3x3 ->\n bn ->\n\n relu",
        "conv 64, # a comment\n 3x3 -> bn # another\n # and a third\n -> relu",
        "conv 64, 3x3\nbn\nrelu",
        "conv 64, 3x3 -> bn\n\n\nrelu",
        "\tconv 64, 3x3\t-> bn\r\n\trelu",
    ],
)
def test_line_ends_part_steps_only_where_nothing_is_open(text: str) -> None:
    assert without_spans(steps(text)) == without_spans(steps("conv 64, 3x3\nbn\nrelu"))


def test_a_line_may_begin_with_a_branch_a_closing_brace_and_an_else() -> None:
    found = step("if a == 3 {\n relu\n}\nelse {\n concat {\n |\n  relu\n }\n}")
    assert found.otherwise.steps[0].body.branches


# Items -------------------------------------------------------------------------------------------


def test_items_are_what_they_are_called() -> None:
    file = parsed(
        'use "blocks/se.cnn"\nlet a = 3\nblock b(c, d = 2,) { relu }\nmodel m { input 3x3x3 }\n'
        "model v = m(1, k=2,)\ntrain { batch 3 }\ntrain m { batch 3 }\nexpect m { depth == 1 }\n"
    )
    kinds = ["Use", "Global", "Block", "Model", "Variant", "Train", "Train", "Expect"]
    assert [type(item).__name__ for item in file.items] == kinds
    use, _, block, model, variant, for_all, for_one, _ = file.items
    assert isinstance(use, syntax.Use)
    assert (use.path, use.path_span.text) == ("blocks/se.cnn", '"blocks/se.cnn"')
    assert isinstance(block, syntax.Block)
    assert [p.default is None for p in block.parameters] == [True, False]
    assert isinstance(model, syntax.Model)
    assert model.parameters == ()
    assert isinstance(variant, syntax.Variant)
    assert [a.name and a.name.id for a in variant.arguments] == [None, "k"]
    assert isinstance(for_all, syntax.Train)
    assert for_all.model is None
    assert isinstance(for_one, syntax.Train)
    assert for_one.model is not None


def test_settings_have_values_words_and_names() -> None:
    (train,) = parsed("train m {\n augment crop 227, flip\n optimizer sgd, lr=0.01\n}\n").items
    assert isinstance(train, syntax.Train)
    augment, optimizer = train.settings
    crop, flip = augment.values
    assert crop.word is not None
    assert (crop.word.id, crop.value.span.text) == ("crop", "227")
    assert isinstance(flip.value, syntax.Name)
    assert (flip.word, flip.name) == (None, None)
    assert optimizer.values[1].name is not None


def test_proofs_speak_of_the_model_or_of_a_path_in_it() -> None:
    text = (
        "parameters == 62_378_344\nshape of stage2.0.1.conv1 == 13x13x256\nmultiply_adds ~ 1.135e9"
    )
    (expect,) = parsed(f"expect m {{\n{text}\n}}\n").items
    assert isinstance(expect, syntax.Expect)
    assert [proof.operator for proof in expect.proofs] == ["==", "==", "~"]
    assert expect.proofs[0].of is None
    assert expect.proofs[1].of is not None
    assert expect.proofs[1].of.text == "stage2.0.1.conv1"


def test_files_may_be_empty_or_hold_comments_alone() -> None:
    assert parsed("").items == parsed("# a\n\n  # b").items == ()


# Spans -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", EXAMPLES.values(), ids=EXAMPLES.keys())
def test_the_span_of_a_node_is_its_text_alone(text: str) -> None:
    file = parsed(text)
    for node in nodes(file.items):
        assert node.span.text == node.span.text.strip()
        if isinstance(node, syntax.Name):
            assert node.span.text == node.id
        if isinstance(node, syntax.SizeLiteral):
            assert node.span.text == "x".join(map(str, node.extents))


@settings(max_examples=100, deadline=None)
@given(EXPRESSIONS)
def test_an_expression_parses_again_from_its_span(text: str) -> None:
    for node in nodes(value(text)):
        if isinstance(node, syntax.Expression):
            assert without_spans(value(node.span.text)) == without_spans(node)


def test_a_layer_reaches_from_its_name_to_the_end_of_its_claim() -> None:
    layer, other = steps("conv 3, 3x3 as x : 3x3x3 -> relu")
    assert layer.span.text == "conv 3, 3x3 as x : 3x3x3"
    assert other.span.text == "relu"


def test_bodies_and_branches_have_their_brackets_in_their_spans() -> None:
    body = step("concat { | relu -> bn | tanh }").body
    assert body.span.text == "{ | relu -> bn | tanh }"
    assert [branch.span.text for branch in body.branches] == ["| relu -> bn", "| tanh"]


def test_parentheses_belong_to_what_is_around_them() -> None:
    outer = value("(a + b) * c")
    assert outer.span.text == "(a + b) * c"
    assert outer.left.span.text == "a + b"


# Mistakes ----------------------------------------------------------------------------------------


def test_all_mistakes_of_a_file_are_told_in_its_order() -> None:
    found = mistakes(
        "model a {\n conv 64 3x3\n concat {\n | conv 3 relu\n | bn\n }\n gate { conv 3,, 3 }\n}\n"
        "modle b { relu }\nblock c(3) { relu }\ntrain a {\n batch\n epochs 3 4\n}\n"
        "block d {\n relu\n\nlet e = \nlet f = 3xkk\n"
    )
    assert [(d.code, d.span.line) for d in found if d.span] == [
        ("E0106", 2),
        ("E0105", 4),
        ("E0107", 7),
        ("E0119", 9),
        ("E0113", 10),
        ("E0117", 12),
        ("E0106", 13),
        ("E0102", 15),
        ("E0116", 19),
    ]


@pytest.mark.parametrize("text", ["model m {{ relu{} }}", "model m {{ relu }} # {}", 'use "{}"\n'])
@pytest.mark.parametrize("character", ["\0", "\x1b", "\x7f", "\u202e"])
def test_invisible_characters_stand_nowhere(text: str, character: str) -> None:
    (found,) = mistakes(text.format(character))
    assert found.code == "E0101"
    assert f"U+{ord(character):04X}" in found.message


def test_a_carriage_return_alone_ends_no_line() -> None:
    assert codes("model m {\r relu }") == ["E0101"]


@pytest.mark.parametrize(
    "text",
    [
        "model m { " + "residual { " * 500 + "}" * 501,
        "let x = " + "(" * 500 + "1" + ")" * 500,
        "let x = " + "[" * 500 + "]" * 500,
        "let x = " + "-" * 5000 + "1",
        "let x = " + "not " * 5000 + "a",
        "let x = 1" + " + 1" * 5000,
        "let x = 1" + " ^ 1" * 5000,
        "let x = a" + "[0]" * 5000,
        "let x = " + "a if b else " * 5000 + "c",
        "model m { if a { relu }" + " else if b { relu }" * 5000 + "}",
    ],
)
def test_what_is_too_deep_is_an_error_and_never_a_traceback(text: str) -> None:
    assert codes(text) == ["E0118"]


def test_what_is_just_deep_enough_parses() -> None:
    parsed("model m " + "{ gate " * (DEEPEST - 1) + "{ relu " + "}" * DEEPEST)
    parsed("let x = " + "(" * DEEPEST + "1" + ")" * DEEPEST)
    parsed("let x = 1" + " + 1" * DEEPEST)


@pytest.mark.parametrize("text", ["9" * 19, "0." + "1" * 18, "1e100", "1e-100", f"{'9' * 19}x3"])
def test_numbers_have_a_largest_length(text: str) -> None:
    with pytest.raises(CnndslError, match="E0116"):
        value(text)


@pytest.mark.parametrize("text", ["", " ", "1 +", "a b", "[1", "1)", "x = 3", "a\nb", "# only"])
def test_what_is_no_expression_is_an_error(text: str) -> None:
    with pytest.raises(CnndslError):
        value(text)


_SIGNS = '{ } ( ) [ ] | -> , : = == ~ .. / - \n \n # " $ . 3 3x3 3xk 3x3x 0.5'
_WORDS = "if else for in let from as of not use model block train expect relu conv a.b"
PIECES = st.sampled_from(f"{_SIGNS} {_WORDS}".split(" "))


def reports(text: str) -> tuple[Diagnostic, ...]:
    """What is told of a text that may be right or wrong."""
    try:
        parsed(text)
    except CnndslError as error:
        return error.diagnostics or pytest.fail("an error that says nothing")
    return ()


@settings(max_examples=300, deadline=None)
@given(st.lists(PIECES, max_size=30).map(" ".join))
def test_no_text_gives_anything_but_syntax_or_reports(text: str) -> None:
    assert all(d.span and d.span.end <= len(text) for d in reports(text))


@settings(max_examples=100, deadline=None)
@given(PROGRAMS, st.data())
def test_a_damaged_program_gives_syntax_or_reports(text: str, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(text)))
    damaged = text[:start] + data.draw(PIECES) + text[start + data.draw(st.integers(0, 9)) :]
    assert all(d.span and d.span.end <= len(damaged) for d in reports(damaged))
