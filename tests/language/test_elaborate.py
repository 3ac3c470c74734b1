"""What programs mean: values, names, joins, padding, bounds."""

from __future__ import annotations

from pathlib import Path

import pytest

from cnndsl.compile import check, elaborate_text
from cnndsl.diagnostics import CnndslError, Source
from cnndsl.frontend.elaborate import Limits, elaborate
from cnndsl.frontend.library import load_file, load_text
from cnndsl.graph import analysis
from cnndsl.graph.graph import Graph
from cnndsl.graph.leaves import Parameter
from cnndsl.graph.types import Size


def graph_of(body: str, before: str = "") -> Graph:
    return elaborate_text(f"{before}\nmodel m(width = 16, kk = 3) {{\ninput 56x56x64\n{body}\n}}\n")


def shape(body: str, before: str = "") -> str:
    return str(graph_of(body, before).outputs["logits"].type)


def weights(graph: Graph) -> list[str]:
    return [graph.name(node) for node in graph.of(Parameter)]


def codes(body: str, before: str = "") -> list[str]:
    with pytest.raises(CnndslError) as caught:
        graph_of(body, before)
    return [d.code for d in caught.value.diagnostics]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("conv 2*width, kk, /2 : 28x28x(2*width)", "28x28x32"),
        ("conv width, 3x3 : 56x56xwidth", "56x56x16"),
        ("fc width : width", "16"),
        ("conv 4, 3x3\n    -> bn   # c\n    # comment\n    -> relu", "56x56x4"),
        ("concat {\n # first\n |\n   conv 4, 3x3 # x\n # second\n | conv 5, 3x3\n}", "56x56x9"),
        ("conv 8, 4x4, /4, pad=0", "14x14x8"),
        ("conv 8, 2x2, pad=0", "55x55x8"),
        ("let y = -2 ^ 2\nconv 8 - y, 3x3", "56x56x12"),
        ("let a = [1,\n 2,\n 3]\nfor i, x in a { conv x + i, 3x3 }", "56x56x5"),
        ("residual project { conv 64, 3x3, /2 -> bn }", "28x28x64"),
        ("residual pad { conv 128, 3x3, /2 -> bn }", "28x28x128"),
        ("residual if_same { conv 128, 3x3, /2 -> bn }", "28x28x128"),
        ("residual project { maxpool 3x3, /2, pad=1 -> conv 64, 3x3 -> bn }", "28x28x64"),
        ("if width == 16 {\n conv 3, 3x3\n}\nelse {\n conv 4, 3x3\n}", "56x56x3"),
        ("conv floor(channels / 3), 1x1", "56x56x21"),
        ("concat { | conv 3, 3x3\n for i in 0..2 { | conv 4, 3x3 } | conv 5, 1x1 }", "56x56x16"),
        ("conv 3, 1x1 -> if true { conv 4, 1x1 } -> bn", "56x56x4"),
        ("maxpool 3x3, /2", "27x27x64"),
        ("maxpool 3x3, /2, ceil=true", "28x28x64"),
        ("conv 8, size(1, 7)", "56x56x8"),
        ("slice 8..24 -> shuffle 4 -> upsample 2 -> crop 1 -> pad top=2", "112x110x16"),
        ("dense 3 { conv 4, 3x3 }", "56x56x76"),
        ("gate { avgpool global -> conv channels, 1x1 -> sigmoid }", "56x56x64"),
        ("aux 0.3 { avgpool global -> fc 3 }", "56x56x64"),
        ("conv round_to(width * 1.4, 8), 1x1", "56x56x24"),
        ("conv [w for w, ok in [[8, false], [9, true]] if ok][0], 1x1", "56x56x9"),
        ("conv 8 if width > 3 and not false else 9, 1x1", "56x56x8"),
    ],
)
def test_a_body_leaves_its_shape(body: str, expected: str) -> None:
    assert shape(body) == expected


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("maxpool 3x3 /2", "E0408"),
        ("conv 64 /2, 3x3", "E0408"),
        ("conv 8, 2x2", "E0201"),
        ("residual project { conv 64, 5x5, pad=0 -> bn }", "E0204"),
        ("conv channels / 3, 1x1", "E0406"),
        ("for i in 0..2 { conv 4, 3x3 as y }\nfrom y", "E0303"),
        ("conv 4, 3x3 as y\nconv 4, 3x3 as y", "E0304"),
        ("concat { | conv 4, 3x3 as y | from y }", "E0303"),
        ("concat { }", "E0412"),
        ("gate { from width }", "E0303"),
        ("add { | conv 4, 1x1 | avgpool global -> conv 4, 1x1 }", "E0202"),
    ],
)
def test_a_mistake_has_its_code(body: str, code: str) -> None:
    assert codes(body) == [code]


def test_all_mistakes_of_a_stage_are_reported_at_once() -> None:
    body = "cnv 3, 3x3\nconv 3, 3x3, sride=2\nfc clases\nlet a = b\nfor x in 3 { relu }"
    assert codes(body) == ["E0301", "E0401", "E0302", "E0302", "E0405"]


def test_the_same_mistake_in_a_block_is_reported_once() -> None:
    block = "block b(w) { conv w, 2x2 }"
    assert codes("for i in 1..9 { b i }", block) == ["E0201"]


def test_weights_have_stable_names() -> None:
    graph = elaborate_text(
        """
        block unit(w, stride = 1) {
            residual project { conv w, 3x3, /stride -> bn -> relu -> conv w, 3x3 -> bn as last }
        }
        block layer(g) { conv g, 3x3 }
        model m(block_of = unit) {
            input 16x16x4
            for stage, depth in [1, 2] { for i in 0..depth { block_of 8, /2 } }
            dense 2 { layer 3 }
            if false { fc 3 }
            fc 5 as top
            fc 2
        }
        """
    )
    names = [name for name in weights(graph) if name.endswith("weight")]
    assert names == [
        "stage0.0.unit1.conv1.weight",
        "stage0.0.unit1.conv2.weight",
        "stage0.0.unit1.shortcut1.conv.weight",
        "stage1.0.unit1.conv1.weight",
        "stage1.0.unit1.conv2.weight",
        "stage1.0.unit1.shortcut1.conv.weight",
        "stage1.1.unit1.conv1.weight",
        "stage1.1.unit1.conv2.weight",
        "stage1.1.unit1.shortcut1.conv.weight",
        "dense1.0.layer1.conv1.weight",
        "dense1.1.layer1.conv1.weight",
        "top.weight",
        "fc3.weight",
    ]
    assert "stage0.0.unit1.last.gamma" in weights(graph)


def test_a_convolution_before_a_batch_norm_has_no_bias_unless_it_says_so() -> None:
    assert "conv1.bias" not in weights(graph_of("conv 8, 3x3 -> bn"))
    assert "conv1.bias" in weights(graph_of("conv 8, 3x3, bias=true -> bn"))
    assert "conv1.bias" in weights(graph_of("conv 8, 3x3 -> relu -> bn"))
    two_readers = "conv 8, 3x3 as a -> bn -> add { | from a | identity }"
    assert "a.bias" in weights(graph_of(two_readers))
    assert "fc1.bias" not in weights(graph_of("fc 8, bias=false"))


def test_parameters_are_set_by_variants_and_by_callers() -> None:
    text = """
        model net(width, depth = 2, classes = 10) {
            input 8x8x3
            for i in 0..depth { conv width, 3x3 }
            fc classes                              : 10
        }
        model small = net(4)
        model deep = small(depth = 3)
        """
    module = load_text(Source("net.cnn", text))
    assert module.complete() == ["small", "deep"]
    assert len(elaborate(module, "deep").graph) > len(elaborate(module, "small").graph)
    changed = elaborate(module, "small", parameters={"classes": 7, "width": "2 * 3"})
    assert str(changed.graph.outputs["logits"].type) == "7"
    assert changed.changed
    assert not elaborate(module, "small", parameters={"classes": 10}).changed
    resized = elaborate(module, "small", input_size=Size(16, 12, 1))
    assert str(resized.graph.inputs["image"].type) == "16x12x1"
    with pytest.raises(CnndslError) as caught:
        elaborate(module, "small", parameters={"clases": 3})
    assert caught.value.status == 2


def test_use_brings_blocks_in_and_stays_in_its_folder(tmp_path: Path) -> None:
    (tmp_path / "blocks").mkdir()
    (tmp_path / "blocks" / "se.cnn").write_text("let r = 2\nblock se { conv channels / r, 1x1 }\n")
    (tmp_path / "net.cnn").write_text('use "blocks/se.cnn"\nmodel net { input 4x4x8 -> se }\n')
    graph = elaborate(load_file(tmp_path / "net.cnn")).graph
    assert str(graph.outputs["logits"].type) == "4x4x4"
    (tmp_path / "blocks" / "evil.cnn").write_text('use "../net.cnn"\n')
    with pytest.raises(CnndslError, match="E0311"):
        load_file(tmp_path / "blocks" / "evil.cnn")
    (tmp_path / "a.cnn").write_text('use "b.cnn"\n')
    (tmp_path / "b.cnn").write_text('use "a.cnn"\n')
    with pytest.raises(CnndslError, match="cycle"):
        load_file(tmp_path / "a.cnn")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("for i in 0..50000 { relu }", "E0601"),
        ("for i in 0..100000 { for j in 0..100000 { let x = i } }", "E0602"),
        ("let x = 9 ^ (9 ^ 9)\nrelu", "E0407"),
        ("conv 2 ^ 200, 1x1", "E0405"),
        ("let x = [i for i in 0..1000000]\nrelu", "E0407"),
    ],
)
def test_a_program_of_a_stranger_is_bounded(body: str, code: str) -> None:
    text = f"model m {{ input 8x8x3\n{body}\n}}"
    with pytest.raises(CnndslError) as caught:
        elaborate(load_text(Source("m", text)), limits=Limits(20_000, 100_000))
    assert caught.value.diagnostics[0].code == code


def test_doubling_blocks_meet_the_limit_and_not_the_end_of_memory() -> None:
    blocks = "block b0 { relu }\n" + "".join(
        f"block b{i} {{ b{i - 1} -> b{i - 1} }}\n" for i in range(1, 40)
    )
    with pytest.raises(CnndslError, match=r"E060[12]"):
        elaborate_text(f"{blocks}model m {{ input 4x4x1 -> b39 }}")


def test_a_gate_in_a_residual_is_no_branch_off_centre() -> None:
    gate = "gate { avgpool global -> conv 64, 1x1 -> sigmoid }"
    text = f"model m {{ input 56x56x64\nresidual {{ conv 64, 3x3 -> bn -> {gate} }}\n}}"
    diagnostics, _ = check(load_text(Source("m", text)), lints=True)
    assert diagnostics == []


def test_receptive_fields_on_branching_graphs_are_hulls() -> None:
    graph = graph_of(
        "concat { | conv 4, 1x1 | conv 4, 3x3 -> conv 4, 5x5 as deep } as joined -> conv 2, 3x3, /2"
    )
    fields = {graph.name(n): str(f) for n, f in analysis.receptive_fields(graph).items()}
    assert fields["conv1"] == "1x1"
    assert fields["deep"] == "7x7"
    assert fields["joined"] == "7x7"
    assert fields["conv4"] == "9x9"


def test_depth_is_the_longest_path_of_layers_with_weights() -> None:
    graph = graph_of("add { | conv 4, 1x1 | conv 4, 3x3 -> conv 4, 3x3 } -> relu -> fc 3")
    assert analysis.depth(graph)[graph.outputs["logits"].node] == 3


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("maxpool 4x4, /3", "W0101"),
        ("concat { | conv 4, 3x3, pad=0 | crop top=2, left=2 }", "W0102"),
        ("conv 4, 3x3 as dead\nfrom dead -> conv 3, 1x1 as end\nfrom dead", "W0103"),
        ("residual { conv 64, 3x3 -> relu }", "W0104"),
        ("avgpool 50x50, /50 -> conv 4, 3x3", "W0105"),
    ],
)
def test_lints_name_what_is_allowed_and_hardly_meant(body: str, code: str) -> None:
    text = f"model m {{ input 56x56x64\n{body}\n}}"
    diagnostics, _ = check(load_text(Source("m", text)), lints=True)
    assert code in [d.code for d in diagnostics]
    assert all(d.severity == "warning" for d in diagnostics)
