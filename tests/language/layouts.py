"""Texts for the tests of parser and formatter: examples, and random ones in any layout."""

from __future__ import annotations

import dataclasses
import random
from typing import Any

from hypothesis import strategies as st

from cnndsl.diagnostics import Source, Span

LENET = """
# LeNet-5
model lenet(classes = 10) {
    input 28x28x1
    conv 6, 5x5, pad=2 -> relu   : 28x28x6
    maxpool 2x2, /2
    conv 16, 5x5, pad=0 -> relu  : 10x10x16
    maxpool 2x2, /2
    fc 120 -> relu -> fc 84 -> relu
    fc classes
}

train lenet {
    augment   crop 28, flip
    batch     128
    optimizer sgd, lr=0.01, momentum=0.9
}

expect lenet {
    parameters    == 61_706
    multiply_adds ~  4.2e5
    shape of conv2 == 10x10x16
}
"""

RESNET = """
block basic(width, stride = 1) {
    residual project {
        conv width, 3x3, /stride -> bn -> relu
        conv width, 3x3          -> bn
    }
    relu
}

model resnet(unit, depths, classes = 1000) {
    input 224x224x3
    conv 64, 7x7, /2 -> bn -> relu
    maxpool 3x3, /2, pad=1
    for stage, depth in depths {
        for i in 0..depth {
            unit 64 * 2^stage, stride = 2 if stage > 0 and i == 0 else 1
        }
    }
    avgpool global
    fc classes
}

model resnet18 = resnet(basic, [2, 2, 2, 2])
model resnet34 = resnet(basic, [3, 4, 6, 3])
"""

GRAPHS = """
use "blocks/se.cnn"

let rows = [
    [3,  16, relu],
    [5, 240, hardswish],
]

block se(reduction = 16) {
    let c = channels
    gate { avgpool global -> conv c / reduction, 1x1 -> relu -> conv c, 1x1 -> sigmoid }
}

block aggregate(mid, out, n = 5) {
    identity as x[0]
    for k in 1..n + 1 { conv mid, 3x3 -> bn -> relu as x[k] }
    concat { for k in 0..n + 1 { | from x[k] } }
    if out > mid {
        conv out, 1x1  : 28x28x(2*mid)
    } else if out == mid {
        add {
            | conv [d for s, d in rows if s < 3][0], 1x1
              relu
            | identity
        }
    } else { relu }
}
"""

EXAMPLES = {"lenet": LENET, "resnet": RESNET, "graphs": GRAPHS}


def without_spans(node: Any) -> Any:
    """A node as nested tuples that say everything except where it stands."""
    if isinstance(node, tuple):
        return tuple(without_spans(item) for item in node)
    if not dataclasses.is_dataclass(node) or isinstance(node, type):
        return (type(node).__name__, node)
    fields = [getattr(node, field.name) for field in dataclasses.fields(node)]
    kept = [without_spans(f) for f in fields if not isinstance(f, Source | Span)]
    return (type(node).__name__, *kept)


# Random programs ---------------------------------------------------------------------------------
#
# A program is first written with marks in the places where its layout is free: `·` any number of
# spaces, `•` at least one, `¶` a place where a line may break, `;` the end of a step or an item,
# and `&` the end of a step in a branch. Layout then fills them in.


def _one_of(words: str) -> st.SearchStrategy[str]:
    return st.sampled_from(words.split(" "))


NAMES = _one_of("a b width conv relu bn x h stage se unit d2 hard_swish")
NUMBERS = _one_of("0 1 7 64 62_378 0.5 5e-4 1.135e9 3x3 1x7 224x224x3")
WORDS = st.one_of(NAMES, NUMBERS, st.sampled_from(["true", "false", '"a b # c"']))
SIGNS = _one_of("+ - * / % ^ == != < <= > >= .. •and• •or•")


def _grouped(operands: list[str], sign: str) -> str:
    return f"(·{operands[0]}·)·{sign}·(·{operands[1]}·)"


def _joined(inner: st.SearchStrategy[str], separator: str, most: int = 3) -> st.SearchStrategy[str]:
    return st.lists(inner, min_size=1, max_size=most).map(separator.join)


def _deeper(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    two = st.lists(inner, min_size=2, max_size=2)
    listed = _joined(inner, "·,·¶")
    comma = st.sampled_from(["", "·,"])
    return st.one_of(
        st.builds(_grouped, two, SIGNS),
        st.builds("{}·*·{}".format, _one_of("4 0.5 k"), NAMES),
        st.builds("{}·^·{}·-·1".format, NAMES, NAMES),
        st.builds("-·{}".format, NAMES),
        st.builds("(·not•{}·)".format, inner),
        st.builds("(·{}•if•{}•else•{}·)".format, inner, NAMES, inner),
        st.builds("[·¶{}{}·¶]".format, listed, comma),
        st.builds("[·{}•¶for•{}•in•{}•¶if•{}·]".format, inner, NAMES, NAMES, NAMES),
        st.builds("max·(·¶{}{}·¶)".format, listed, comma),
        st.builds("{}·[·{}·]".format, NAMES, inner),
    )


VALUES = st.recursive(WORDS, _deeper, max_leaves=6)
ARGUMENTS = st.one_of(
    VALUES, st.builds("{}·=·{}".format, NAMES, VALUES), st.builds("/·{}".format, VALUES)
)
BINDINGS = st.one_of(
    st.just(""), st.builds("•as•{}".format, NAMES), st.builds("•as•x·[·{}·]".format, VALUES)
)
CLAIMS = st.sampled_from(["", "", "·:·3x3x64", "·:·28x28x(·2·*·width·)", "·:·3x3xwidth", "·:·10"])


def _layers(bodies: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    arguments = st.one_of(st.just(""), _joined(ARGUMENTS, "·,·").map("•{}".format))
    return st.builds("{}{}{}{}{}".format, NAMES, arguments, bodies, BINDINGS, CLAIMS)


SIMPLE = st.one_of(
    _layers(st.just("")),
    st.builds("from•{}{}{}".format, NAMES, BINDINGS, CLAIMS),
    st.builds("let•{}·=·{}".format, NAMES, VALUES),
)


def _compound(steps: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    chains = _joined(steps, "·->·")
    straight = _joined(chains, ";").map("·{{·{}·}}".format)
    branches = _joined(_joined(chains, "&").map("|·{}".format), "·¶", 3).map("·{{·¶{}·¶}}".format)
    bodies = st.one_of(st.just("·{·}"), straight, branches)
    return st.one_of(
        _layers(bodies),
        st.builds("for•{}•in•{}{}".format, NAMES, VALUES, bodies),
        st.builds("if•{}{}".format, VALUES, bodies),
        st.builds("if•{}{}·else•if•{}{}·else{}".format, VALUES, bodies, VALUES, bodies, bodies),
    )


STEPS = st.recursive(SIMPLE, _compound, max_leaves=5)
BODIES = _joined(_joined(STEPS, "·->·"), ";").map("·{{·{}·}}".format)
PARAMETERS = st.one_of(NAMES, st.builds("{}·=·{}".format, NAMES, VALUES))
HEADS = st.one_of(st.just(""), _joined(PARAMETERS, "·,·¶").map("·(·¶{}·¶)".format))
SETTINGS = st.one_of(VALUES, st.builds("{}·=·{}".format, NAMES, VALUES), st.just("crop•227"))
PROOFS = st.sampled_from(["a·==·3", "depth·~·1.5e3", "shape•of•a.0.b·==·3x3x4", "field•of•x·<·-·2"])
ITEMS = st.one_of(
    st.just('use•"blocks/se.cnn"'),
    st.builds("let•{}·=·{}".format, NAMES, VALUES),
    st.builds("block•{}{}{}".format, NAMES, HEADS, BODIES),
    st.builds("model•{}{}{}".format, NAMES, HEADS, BODIES),
    st.builds("model•{}·=·net·(·{}·)".format, NAMES, _joined(PARAMETERS, "·,·¶")),
    st.builds(
        "train•net·{{·{}·}}".format,
        _joined(st.builds("{}•{}".format, NAMES, _joined(SETTINGS, "·,·")), ";"),
    ),
    st.builds("expect•net·{{·{}·}}".format, _joined(PROOFS, ";")),
)


def fill(text: str, breaks: random.Random, blanks: random.Random) -> str:
    """The text with its marks filled in: with line ends, blank lines and comments by `breaks`,
    with spaces by `blanks`."""
    filled = []
    quoted = False
    for mark in text:
        quoted ^= mark == '"'
        filled.append(mark if quoted else _filling(mark, breaks, blanks))
    return "".join(filled)


_ENDS = ["\n", "\n", "\n\n", "\n\n\n", " # note\n", "\n  # a line\n", "\n\n# one\n\n# two\n"]


def _filling(mark: str, breaks: random.Random, blanks: random.Random) -> str:
    if mark == "·":
        return " " * blanks.choice([0, 1, 1, 3])
    if mark == "•":
        return " " * blanks.choice([1, 1, 4])
    if mark == ";":
        return breaks.choice(_ENDS) + " " * blanks.choice([0, 4, 9])
    if mark == "&":
        return breaks.choice(_ENDS) + " " * blanks.choice([90, 94])
    if mark == "¶":
        return breaks.choice(["", "", "", *_ENDS]) + " " * blanks.choice([1, 2])
    return mark


#: Programs with their layout still open, and programs and expressions with a random one.
OPEN_PROGRAMS = st.lists(ITEMS, max_size=4).map(lambda items: ";".join([*items, ""]))
_CHANCE = st.randoms(use_true_random=False)
PROGRAMS = st.builds(fill, OPEN_PROGRAMS, _CHANCE, _CHANCE)
EXPRESSIONS = st.builds(fill, VALUES, _CHANCE, _CHANCE)
