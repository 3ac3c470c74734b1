"""Pictures show every layer and every edge once, with nothing on top of anything else."""

from __future__ import annotations

import random
import re
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

import pytest
from geometry import ambiguous, faults
from hypothesis import given, settings
from programs import programs

from cnndsl.compile import elaborate_file, elaborate_text
from cnndsl.drawing import DIRECTIONS, FORMATS, draw
from cnndsl.drawing.folding import fold
from cnndsl.drawing.layout import place
from cnndsl.drawing.lettering import short_number, width, wrap
from cnndsl.drawing.scene import Box, Frame, Scene, scene
from cnndsl.frontend.library import load_file
from cnndsl.graph import analysis
from cnndsl.graph.graph import Graph

ZOO = Path(__file__).resolve().parents[2] / "zoo"
HARD = Path(__file__).with_name("networks.cnn")
PICTURED = [
    (ZOO / "lenet.cnn", "lenet"),
    (ZOO / "googlenet.cnn", "googlenet"),
    (ZOO / "resnet.cnn", "resnet50"),
    (ZOO / "vgg.cnn", "vgg16"),
    (ZOO / "densenet.cnn", "densenet121"),
    *((HARD, name) for name in load_file(HARD).complete()),
]


@pytest.fixture(scope="module")
def graphs() -> dict[str, Graph]:
    return {name: elaborate_file(path, name).graph for path, name in PICTURED}


def shown(text: str, expand: bool = False) -> Scene:
    whole = scene(elaborate_text(text))
    return whole if expand else fold(whole)


def outline(frame: Frame) -> list[object]:
    """Titles of frames with what is in them, and the lines of boxes."""
    return [
        " / ".join(child.lines) if isinstance(child, Box) else {child.title: outline(child)}
        for child in frame.children
    ]


# Geometry ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("name", [name for _, name in PICTURED])
def test_nothing_overlaps_and_every_edge_is_drawn(
    name: str, direction: str, graphs: dict[str, Graph]
) -> None:
    folded = fold(scene(graphs[name]))
    placement = place(folded, direction)
    assert faults(folded, placement) == []
    assert ambiguous(placement) == []


@pytest.mark.parametrize("name", ["googlenet", "cells", "exchanges", "aggregates"])
def test_nothing_overlaps_in_an_expanded_picture(name: str, graphs: dict[str, Graph]) -> None:
    expanded = scene(graphs[name])
    assert faults(expanded, place(expanded)) == []


@settings(max_examples=60, deadline=None)
@given(programs(most_steps=10, depth=3))
def test_nothing_overlaps_in_the_picture_of_any_program(text: str) -> None:
    for direction in DIRECTIONS:
        folded = shown(text)
        assert faults(folded, place(folded, direction)) == []


@pytest.mark.parametrize("seed", range(40))
def test_nothing_overlaps_however_tangled_the_graph_is(seed: int) -> None:
    chance = random.Random(seed)
    lines = ["input 8x8x4 as x[0]"]
    for k in range(1, chance.randint(4, 25)):
        reach = chance.choice([2, 4, 30])
        sources = [chance.randint(max(0, k - reach), k - 1) for _ in range(chance.randint(1, 3))]
        branches = " ".join(f"| from x[{source}]" for source in sources)
        step = f"concat {{ {branches} }} -> conv 4, 1x1 as x[{k}]"
        lines.append(f"for part{k // 4} in 0..1 {{ {step} }}" if k % 8 > 3 else step)
        if chance.random() < 0.2:
            lines.append("aux 0.3 { avgpool global -> fc 2 }")
    tangle = shown("model tangle {\n" + "\n".join(lines) + "\n}")
    assert faults(tangle, place(tangle, chance.choice(DIRECTIONS))) == []


def test_the_checks_see_a_box_that_is_moved() -> None:
    folded = shown("model m { input 8x8x3 -> conv 4, 3x3 -> conv 4, 3x3 }")
    placement = place(folded)
    moved = placement.boxes[1]
    placement.boxes[1] = type(moved)(
        moved.box, moved.x, placement.boxes[2].y - 5, moved.width, moved.height, moved.texts
    )
    found = faults(folded, placement)
    assert any("overlap" in fault for fault in found)
    assert any("no line leads" in fault for fault in found)


def test_the_flow_through_a_residual_block_is_straight() -> None:
    folded = shown(
        "model m { input 8x8x4 -> residual { conv 4, 3x3 -> relu -> conv 4, 3x3 } -> fc 2 }"
    )
    middles = {placed.x + placed.width / 2 for placed in place(folded).boxes}
    assert len(middles) == 1


# Boxes and frames --------------------------------------------------------------------------------


def test_norms_and_activations_stand_in_the_box_of_the_layer_before() -> None:
    text = (
        "model m { input 8x8x3 -> conv 4, 3x3 -> bn -> relu -> maxpool 2x2, /2 -> fc 2 -> softmax }"
    )
    assert outline(shown(text).root) == [
        "input 8x8x3",
        "conv 4, 3x3 / bn / relu",
        "maxpool 2x2, /2",
        "fc 2 / softmax",
    ]


def test_a_value_that_is_read_twice_ends_its_box() -> None:
    text = "model m { input 8x8x3 -> conv 3, 3x3 as c -> relu -> add { | from c | identity } }"
    assert outline(shown(text).root) == ["input 8x8x3", "conv 3, 3x3", "relu", "identity", "add"]


def test_identical_blocks_in_a_row_are_drawn_once() -> None:
    folded = fold(scene(elaborate_file(ZOO / "resnet.cnn", "resnet50").graph))
    titles = [list(part) for part in outline(folded.root) if isinstance(part, dict)]
    assert titles == [["stage0"], ["stage1"], ["stage2"], ["stage3"]]
    stage2 = next(c for c in folded.root.children if isinstance(c, Frame) and "2" in c.title)
    assert [child.title for child in stage2.children if isinstance(child, Frame)] == [
        "bottleneck [0]",
        "bottleneck ×5",
    ]
    assert [c.caption for c in stage2.children if isinstance(c, Frame)] == [
        "1.51M params",
        "1.12M params each",
    ]


def test_blocks_that_widen_are_folded_and_show_their_channels() -> None:
    folded = shown(
        "block grow(n) { bn -> relu -> conv n, 3x3 }\n"
        "model m { input 8x8x4 -> dense 3 { grow 2 } -> fc 2 }"
    )
    (dense,) = (child for child in folded.root.children if isinstance(child, Frame))
    assert dense.title == "dense ×3"
    assert dense.caption.endswith("params in all")
    assert [box.shape for box in dense.boxes()] == ["8x8x(4…8)", "8x8x2", "8x8x(6…10)"]


@pytest.mark.parametrize(
    "model",
    [
        "for i in 0..3 { unit 4 }\nfc 2",
        "for i in 0..2 { unit 4 }\nunit 4 as tap\nunit 4\nadd { | from tap | identity }",
        "for i in 0..2 { unit 4 }\nunit 8\nunit 8\nfc 2",
        "for i in 0..3 { unit 4 -> aux 0.3 { avgpool global -> fc 2 } }\nfc 2",
    ],
)
def test_folding_loses_no_parameters(model: str) -> None:
    text = (
        "block unit(n) { conv n, 3x3 -> bn -> relu\nmaxpool 3x3, /1, pad=1 }\n"
        f"model m {{ input 8x8x4\n{model} }}"
    )
    graph = elaborate_text(text)
    for picture in (scene(graph), fold(scene(graph))):
        assert picture.root.parameters == analysis.parameters(graph)
    assert len(shown(text).edges) <= len(shown(text, expand=True).edges)


def test_a_block_whose_value_is_used_elsewhere_is_not_folded_away() -> None:
    text = (
        "block unit { conv 4, 3x3 -> relu\nmaxpool 3x3, /1, pad=1 }\n"
        "model m { input 8x8x4\nunit as a\nunit as b\nadd { | from a | from b } }"
    )
    assert [frame.title for frame in shown(text).root.children if isinstance(frame, Frame)] == [
        "a",
        "b",
    ]


def test_every_layer_is_in_one_box(graphs: dict[str, Graph]) -> None:
    for graph in graphs.values():
        named = Counter(name for box in scene(graph).root.boxes() for name in box.names)
        expected = Counter(graph.name(node) for node in analysis.layers(graph))
        expected += Counter(head.name for head in graph.heads)
        assert named == expected


# Formats -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for _, name in PICTURED])
def test_svg_is_well_formed_and_shows_each_box(name: str, graphs: dict[str, Graph]) -> None:
    root = ElementTree.fromstring(draw(graphs[name], "svg"))
    space = "{http://www.w3.org/2000/svg}"
    boxes = [r for r in root.iter(f"{space}rect") if r.get("rx") == "5"]
    assert len(boxes) == len(list(fold(scene(graphs[name])).root.boxes()))
    texts = " ".join(text.text or "" for text in root.iter(f"{space}text"))
    assert f"{analysis.parameters(graphs[name]):,} parameters" in texts
    assert not list(root.iter(f"{space}marker"))


def test_text_is_escaped_in_every_format() -> None:
    folded = shown("model m { input 8x8x3 -> conv 4, 3x3 }")
    for box in folded.root.boxes():
        box.lines = ['<&"#`\\>']
    assert "&lt;&amp;" in FORMATS["svg"](folded, "down")
    ElementTree.fromstring(FORMATS["svg"](folded, "down"))
    assert 'label="<&\\"#`\\\\>\\n8x8x4"' in FORMATS["dot"](folded, "down")
    assert "#lt;#amp;#quot;#35;#96;\\#gt;" in FORMATS["mermaid"](folded, "down")


@pytest.mark.parametrize("name", ["googlenet", "resnet50", "cells"])
def test_dot_has_every_box_edge_and_frame(name: str, graphs: dict[str, Graph]) -> None:
    text, folded = draw(graphs[name], "dot"), fold(scene(graphs[name]))
    assert text.count("{") == text.count("}")
    nodes = re.findall(r"^\s*(n\d+) \[label=", text, re.MULTILINE)
    assert len(nodes) == len(set(nodes)) == len(list(folded.root.boxes()))
    edges = re.findall(r"^\s*(n\d+) -> (n\d+)$", text, re.MULTILINE)
    assert len(edges) == len(folded.edges)
    assert {end for edge in edges for end in edge} == set(nodes)
    clusters = re.findall(r"subgraph (cluster_\d+) ", text)
    assert len(clusters) == len(set(clusters)) > 0


@pytest.mark.parametrize("name", ["googlenet", "resnet50", "cells"])
def test_mermaid_has_every_box_edge_and_frame(name: str, graphs: dict[str, Graph]) -> None:
    text, folded = draw(graphs[name], "mermaid", direction="right"), fold(scene(graphs[name]))
    lines = [line.strip() for line in text.splitlines()]
    assert lines[0] == "flowchart LR"
    assert sum(bool(re.fullmatch(r'n\d+\[".*"\]:::\w+', line)) for line in lines) == len(
        list(folded.root.boxes())
    )
    assert sum(bool(re.fullmatch(r"n\d+ --> n\d+", line)) for line in lines) == len(folded.edges)
    subgraphs = sum(bool(re.fullmatch(r'subgraph f\d+\["[^"]*"\]', line)) for line in lines)
    assert subgraphs == lines.count("end") > 0


def test_a_picture_is_the_same_every_time(graphs: dict[str, Graph]) -> None:
    assert draw(graphs["cells"], "svg") == draw(graphs["cells"], "svg")


# Lettering ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0"),
        (999, "999"),
        (1000, "1.00k"),
        (9_994, "9.99k"),
        (70_400, "70.4k"),
        (999_499, "999k"),
        (999_500, "1.00M"),
        (25_557_032, "25.6M"),
        (4_089_184_256, "4.09G"),
    ],
)
def test_counts_are_shown_with_three_digits(number: int, text: str) -> None:
    assert short_number(number) == text


def test_wide_text_is_broken_after_commas() -> None:
    lines = wrap("conv 64, 3x3, /2, groups=32, dilation=2", 11, 130)
    assert " ".join(lines) == "conv 64, 3x3, /2, groups=32, dilation=2"
    assert len(lines) > 1
    assert all(width(line, 11) <= 130 for line in lines)
    assert wrap("one", 11, 1) == ["one"]
