"""What the formatter promises: one form, the same program, every comment."""

from __future__ import annotations

import random
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from layouts import EXAMPLES, OPEN_PROGRAMS, PROGRAMS, fill, without_spans

from cnndsl.diagnostics import CnndslError, Source
from cnndsl.frontend.format import format_source
from cnndsl.frontend.parse import parse

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted([*ROOT.glob("zoo/**/*.cnn"), *ROOT.glob("examples/**/*.cnn")])


def formatted(text: str) -> str:
    return format_source(Source("test.cnn", text))


def meaning(text: str) -> object:
    return without_spans(parse(Source("test.cnn", text)))


def comments(text: str) -> list[str]:
    return [found.rstrip() for found in re.findall(r'"[^"\n]*"|(#.*)', text) if found]


def body(*lines: str) -> str:
    """A model with these lines, each indented as it stands."""
    return "model m {\n" + "".join(f"    {line}\n" if line else "\n" for line in lines) + "}\n"


@settings(max_examples=150, deadline=None)
@given(PROGRAMS)
def test_formatting_keeps_the_program_and_formatting_twice_changes_nothing(text: str) -> None:
    once = formatted(text)
    assert meaning(once) == meaning(text)
    assert comments(once) == comments(text)
    assert formatted(once) == once


@settings(max_examples=75, deadline=None)
@given(OPEN_PROGRAMS, st.integers(), st.integers(), st.integers())
def test_spaces_in_the_source_mean_nothing(program: str, breaks: int, one: int, two: int) -> None:
    texts = [fill(program, random.Random(breaks), random.Random(blanks)) for blanks in (one, two)]
    assert formatted(texts[0]) == formatted(texts[1])


@pytest.mark.parametrize("text", EXAMPLES.values(), ids=EXAMPLES.keys())
def test_the_examples_stand_as_they_are_drawn(text: str) -> None:
    drawn = text.removeprefix("\n")
    assert formatted(drawn) == drawn


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_networks_that_are_shipped_are_formatted(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert formatted(text) == text


@pytest.mark.parametrize(
    ("written", "canonical"),
    [
        ("conv   64 ,3x3,pad = 1", "conv 64, 3x3, pad=1"),
        ("conv 4 * width, 1x1", "conv 4*width, 1x1"),
        ("unit 64*2 ^ stage", "unit 64 * 2^stage"),
        ("unit a*b/c%d", "unit a * b / c % d"),
        ("unit 4*width*2", "unit 4 * width * 2"),
        ("unit 2*x[1], 2*max(1,a)", "unit 2 * x[1], 2 * max(1, a)"),
        ("unit 0.5*drop", "unit 0.5 * drop"),
        ("slice 0 .. n+1", "slice 0..n + 1"),
        ("leaky_relu - 0.1", "leaky_relu -0.1"),
        ("unit - a - - b, - 2^ - c", "unit -a - -b, -2^-c"),
        ("maxpool 3x3, / 2", "maxpool 3x3, /2"),
        ("conv w, / s if a else b", "conv w, /s if a else b"),
        ("unit stride=2 if i==0 else 1", "unit stride = 2 if i == 0 else 1"),
        ("unit init=-1, at=[1,2], k=max(1,n+1)", "unit init=-1, at=[1, 2], k=max(1, n + 1)"),
        ("unit [1,2,], (a+b)*c", "unit [1, 2], (a + b) * c"),
        ("x[ k-1 ]", "x [k - 1]"),
        ("from x [k-1] as y [k]", "from x[k - 1] as y[k]"),
        ("let a=1", "let a = 1"),
        ("let q = [a for a,b in c if not(a==b)]", "let q = [a for a, b in c if not (a == b)]"),
        ("conv 3:28x28x(2*width)", "conv 3  : 28x28x(2*width)"),
        ("a->b  ->c", "a -> b -> c"),
        ("concat{|a|b->c}", "concat { | a | b -> c }"),
        ("if a{b}else if c{d}else{e}", "if a { b } else if c { d } else { e }"),
        ("gate{}", "gate { }"),
    ],
)
def test_a_step_has_one_form(written: str, canonical: str) -> None:
    assert formatted(body(written)) == body(canonical)


def test_a_chain_keeps_its_line_breaks() -> None:
    text = body("conv 3, 3x3 -> bn", "    -> relu", "relu")
    assert formatted(body("conv 3, 3x3->bn->", "relu", "relu")) == body(
        "conv 3, 3x3 -> bn -> relu", "relu"
    )
    assert formatted(body("conv 3, 3x3->bn", "->relu", "relu")) == text


def test_a_body_on_one_line_is_spread_if_it_does_not_fit() -> None:
    chain = " -> ".join(["hardswish"] * 9)
    assert formatted(body(f"gate {{ {chain} }}")) == body("gate {", f"    {chain}", "}")
    assert formatted(body(f"gate {{ {chain[:80]} }}")) == body(f"gate {{ {chain[:80]} }}")


def test_branches_that_are_spread_stand_below_one_another() -> None:
    written = body("concat { | conv 3, 3x3", "    | bn", "       relu", "   | identity }")
    assert formatted(written) == body(
        "concat {", "    | conv 3, 3x3", "    | bn", "      relu", "    | identity", "}"
    )


def test_neighbouring_steps_of_one_name_stand_in_columns() -> None:
    written = body(
        "conv width, 1x1 -> bn -> relu",
        "conv width, 3x3, /s -> bn -> relu",
        "conv 4*width, 1x1 -> bn",
    )
    assert formatted(written) == body(
        "conv width,   1x1     -> bn -> relu",
        "conv width,   3x3, /s -> bn -> relu",
        "conv 4*width, 1x1     -> bn",
    )


def test_steps_of_the_same_chain_have_their_arrows_below_one_another() -> None:
    written = body("relu -> dwconv k, /s, pad=same -> bn", "relu -> dwconv k, pad=same -> bn")
    assert formatted(written) == body(
        "relu -> dwconv k, /s, pad=same -> bn", "relu -> dwconv k, pad=same     -> bn"
    )


def test_steps_that_are_too_unlike_stay_apart() -> None:
    text = body("conv round_to(c / 4, 8), 1x1 -> relu", "conv c, 1x1 -> sigmoid")
    assert formatted(text) == text


def test_calls_with_numbers_are_a_table_through_the_body() -> None:
    written = body("inception 64, 96, 128", "maxpool 3x3, /2", "inception 128, 8, 192")
    assert formatted(written) == body(
        "inception  64, 96, 128", "maxpool 3x3, /2", "inception 128,  8, 192"
    )


def test_claims_stand_in_a_column_until_a_blank_line() -> None:
    written = body("conv 3, 3x3:3x3x3", "relu", "bn:3x3x3", "", "relu : 3x3x3")
    assert formatted(written) == body(
        "conv 3, 3x3  : 3x3x3", "relu", "bn           : 3x3x3", "", "relu  : 3x3x3"
    )


def test_comments_at_the_end_of_lines_stand_in_a_column() -> None:
    written = body("relu # one", "conv 64, 3x3", "bn -> relu   # two")
    assert formatted(written) == body("relu        # one", "conv 64, 3x3", "bn -> relu  # two")


def test_a_table_has_a_row_a_line_and_its_numbers_to_the_right() -> None:
    written = "let rows = [ [3,16,relu,1],\n[5,240,hardswish,2] ]"
    assert formatted(written) == (
        "let rows = [\n    [3,  16, relu,      1],\n    [5, 240, hardswish, 2],\n]\n"
    )


def test_a_list_keeps_its_line_breaks() -> None:
    assert formatted("let a = [1,2,\n3,4]") == "let a = [\n    1, 2,\n    3, 4,\n]\n"
    assert formatted("let a = [1,2,3,4,]") == "let a = [1, 2, 3, 4]\n"


def test_variants_stand_in_columns() -> None:
    assert formatted("model a=net(basic,[1])\nmodel bcd=net(bottleneck,[2],k=3)\n") == (
        "model a   = net(basic,      [1])\nmodel bcd = net(bottleneck, [2], k = 3)\n"
    )


def test_settings_and_proofs_stand_in_columns() -> None:
    written = (
        "train m {\n batch 128\n optimizer sgd,lr = 0.1\n}\n"
        "expect m {\n depth==8\n parameters ~1e6\n shape of x==3\n}\n"
    )
    assert formatted(written) == (
        "train m {\n    batch     128\n    optimizer sgd, lr=0.1\n}\n\n"
        "expect m {\n    depth      == 8\n    parameters ~  1e6\n    shape of x == 3\n}\n"
    )


def test_one_blank_line_is_kept_and_items_of_many_lines_have_one() -> None:
    written = (
        '\n\nuse "a"\nlet b = 1\n\n\n\nlet c = 2\n# about d\n'
        "block d {\n\n relu\n\n\n relu\n\n}\nblock e { relu }\n\n\n"
    )
    assert formatted(written) == (
        'use "a"\nlet b = 1\n\nlet c = 2\n\n# about d\n'
        "block d {\n    relu\n\n    relu\n}\n\nblock e { relu }\n"
    )


@pytest.mark.parametrize("text", ["", "\n\n", "# only a comment", "\n\n# one\n\n\n# two\n\n"])
def test_a_file_without_items_keeps_its_comments(text: str) -> None:
    assert comments(formatted(text)) == comments(text)
    assert formatted(formatted(text)) == formatted(text)


def test_line_ends_become_line_feeds_and_there_is_one_at_the_end() -> None:
    text = body("conv 3, 3x3  # a", "    -> relu", "", "relu")
    assert formatted(text.replace("\n", "\r\n").rstrip()) == text


def test_comments_in_every_place_are_kept() -> None:
    written = (
        "# a\nmodel m( # b\n x, # c\n # d\n) { # e\n # f\n conv 1 # g\n -> # h\n bn # i\n"
        " # j\n -> relu\n concat { # k\n | # l\n  relu # m\n # n\n | bn\n # o\n } # p\n"
        " if x { relu }\n # q\n else { bn }\n let y = [ # r\n 1, # s\n # t\n 2 # u\n ] # v\n"
        " let z = 1 + # w\n 2\n # x\n} # y\n# z\n"
    )
    once = formatted(written)
    assert comments(once) == comments(written)
    assert meaning(once) == meaning(written)
    assert formatted(once) == once


def test_what_does_not_parse_is_not_formatted() -> None:
    with pytest.raises(CnndslError):
        formatted("model m {")
