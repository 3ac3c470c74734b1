"""A graph printed as text is the same graph again when the text is read."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from programs import programs

from cnndsl.compile import elaborate_text
from cnndsl.diagnostics import Source
from cnndsl.frontend.elaborate import elaborate
from cnndsl.frontend.format import format_source
from cnndsl.frontend.library import Module, load_file
from cnndsl.frontend.unparse import unparse, written
from cnndsl.graph.check import verify
from cnndsl.graph.compare import isomorphic
from cnndsl.graph.graph import Graph, Head
from cnndsl.graph.types import Size

ZOO = Path(__file__).resolve().parents[2] / "zoo"


def zoo_models() -> list[tuple[Path, str]]:
    return [
        (path, name)
        for path in sorted(ZOO.glob("*.cnn"))
        for name in load_file(path, [ZOO]).complete()
    ]


@pytest.fixture(scope="module")
def modules() -> dict[Path, Module]:
    return {path: load_file(path, [ZOO]) for path in ZOO.glob("*.cnn")}


def printed(graph: Graph) -> str:
    """The text of a graph, after a look at whether it is the same graph again."""
    text = unparse(graph, "printed")
    again = elaborate_text(text)
    verify(again, "printing and elaboration")
    assert isomorphic(graph, again), text
    assert format_source(Source("text", text)) == text
    return text


def body(*lines: str) -> str:
    return "model m {\n" + "\n".join(lines) + "\n}\n"


def shown(*lines: str) -> list[str]:
    """The lines of the printed model, its input left out."""
    text = printed(elaborate_text(body(*lines)))
    return [line.strip() for line in text.splitlines()[2:-1]]


@pytest.mark.parametrize(
    ("path", "name"), zoo_models(), ids=lambda part: getattr(part, "stem", part)
)
def test_every_zoo_network_prints_and_reads_back_the_same(
    path: Path, name: str, modules: dict[Path, Module]
) -> None:
    printed(elaborate(modules[path], name).graph)


@settings(max_examples=150, deadline=None)
@given(programs())
def test_any_program_prints_and_reads_back_the_same(program: str) -> None:
    printed(elaborate_text(program))


# What it looks like ------------------------------------------------------------------------------


def test_a_chain_has_a_line_a_convolution() -> None:
    assert shown("input 8x8x3 -> conv 4, 3x3 -> bn -> relu -> maxpool 2x2, /2 -> fc 3") == [
        "conv 4, 3x3 -> bn -> relu",
        "maxpool 2x2, /2",
        "fc 3",
    ]


def test_residuals_and_dense_layers_are_called_so() -> None:
    assert shown(
        "input 8x8x4",
        "residual project { conv 4, 3x3 -> bn }",
        "residual project { conv 8, 3x3, /2 -> bn }",
        "dense 2 { bn -> relu -> conv 2, 3x3 }",
    ) == [
        "residual { conv 4, 3x3 -> bn }",
        "residual project { conv 8, 3x3, /2 -> bn }",
        "dense 2 { bn -> relu -> conv 2, 3x3 }",
    ]


def test_a_projection_with_another_convolution_has_branches() -> None:
    assert shown("input 8x8x4", "add { | conv 4, 3x3 -> bn | conv 4, 1x1, bias=true -> bn }") == [
        "add {",
        "| conv 4, 3x3 -> bn",
        "| conv 4, 1x1, bias=true -> bn",
        "}",
    ]


def test_branches_with_a_stride_that_shapes_hide_are_no_residual() -> None:
    lines = shown("input 1x1x4", "add { | conv 4, 3x3, /2 | identity }")
    assert lines == ["add {", "| conv 4, 3x3, /2", "| identity", "}"]
    lines = shown("input 1x1x4 as x", "add { | conv 4, 3x3, /2 | from x }")
    assert lines == ["add {", "| conv 4, 3x3, /2", "| from x", "}"]


def test_values_that_fork_have_their_own_names_back() -> None:
    assert shown(
        "input 8x8x4",
        "conv 4, 3x3 as left",
        "conv 4, 3x3 as right",
        "conv 4, 3x3",
        "concat { | from right | from left | relu }",
    ) == [
        "conv 4, 3x3 as left",
        "conv 4, 3x3 as right",
        "conv 4, 3x3 -> relu as relu_1",
        "concat { | from right | from left | from relu_1 }",
    ]


def test_names_hide_no_word_and_no_generated_name() -> None:
    text = printed(
        elaborate_text(
            body(
                "input 8x8x4",
                "relu as same",
                "conv 4, 3x3 as conv2",
                "conv 4, 1x1",
                "add { | from same | from conv2 | relu }",
                "maxpool 3x3, /1, pad = 1",
            )
        )
    )
    assert "as conv_2" in text
    assert "as same" not in text


def test_gates_and_side_heads_have_their_bodies() -> None:
    assert shown(
        "input 8x8x4",
        "gate { avgpool global -> fc 4 -> sigmoid }",
        "aux 0.3 { avgpool global -> fc 2 }",
        "conv 8, 3x3 -> fc 2",
    ) == [
        "gate { avgpool global -> fc 4 -> sigmoid }",
        "aux 0.3 { avgpool global -> fc 2 }",
        "conv 8, 3x3",
        "fc 2",
    ]


def test_a_side_head_of_a_value_that_goes_on_names_it() -> None:
    lines = shown("input 4 -> fc 3 as logits", "aux 0.3 { identity }", "aux 0.2 { }", "relu")
    assert lines == ["fc 3 as logits", "aux 0.3 { identity }", "aux 0.2 { from logits }", "relu"]


def test_bias_is_said_only_where_it_is_not_the_default() -> None:
    assert shown(
        "input 8x8x4",
        "conv 4, 3x3 -> bn",
        "conv 4, 3x3, bias=true -> bn",
        "conv 4, 3x3, bias=false",
        "dwconv 3x3, bias=false -> relu",
    ) == [
        "conv 4, 3x3            -> bn",
        "conv 4, 3x3, bias=true -> bn",
        "conv 4, 3x3, bias=false",
        "dwconv 3x3, bias=false -> relu",
    ]


def test_dead_ends_are_printed_too() -> None:
    lines = shown("input 8x8x4 as x", "conv 4, 3x3 -> bn", "from x", "relu")
    assert lines == ["conv 4, 3x3 -> bn", "from x -> relu"]


def test_long_numbers_keep_their_value() -> None:
    graph = elaborate_text(body("input 4", "drop_path 1 / 81", "scale init = 2^60 / 3", "fc 2"))
    text = printed(graph)
    assert "1.2345679012345678e-2" in text


def test_an_operation_of_a_transformed_graph_is_refused() -> None:
    from cnndsl.graph.leaves import Ones

    graph = elaborate_text("model m { input 4 -> fc 2 }")
    logits = graph.outputs["logits"]
    graph.apply(Ones(logits.type), like=logits)
    with pytest.raises(ValueError, match="one input"):
        unparse(graph, "m")


def test_a_layer_is_written_as_in_the_language() -> None:
    graph = elaborate_text("model m { input 4x4x4 -> dwconv 3x3, /2 -> bn }")
    assert [written(graph, node) for node in graph.nodes() if graph.operands(node)] == [
        "dwconv 3x3, /2",
        "bn",
    ]


# What isomorphic means ---------------------------------------------------------------------------

ONE = body("input 8x8x4 as x", "conv 4, 3x3 as a", "from x -> conv 4, 1x1 as b")


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("concat { | from a | from b }", "concat { | from a | from b }", True),
        ("concat { | from a | from b }", "concat { | from b | from a }", False),
        ("add { | from a | from a }", "add { | from a | relu }", False),
        ("bn", "bn epsilon=1e-3", False),
        ("fc 3", "fc 4", False),
        ("relu", "relu -> relu", False),
    ],
)
def test_isomorphic_graphs_have_the_same_operations_and_operands(
    one: str, other: str, same: bool
) -> None:
    first, second = (elaborate_text(ONE.replace("\n}", f"\n{end}\n}}")) for end in (one, other))
    assert isomorphic(first, second) is same
    assert isomorphic(second, first) is same


def test_one_value_read_twice_is_not_two_that_are_computed_alike() -> None:
    shared = elaborate_text(
        "model m { input 4x4x2 -> conv 2, 1x1 as a\nadd { | from a | from a } }"
    )
    apart = elaborate_text("model m { input 4x4x2\nadd { | conv 2, 1x1 | conv 2, 1x1 } }")
    assert not isomorphic(shared, apart)


def test_dead_ends_and_heads_count() -> None:
    plain = elaborate_text(body("input 4 as x", "fc 2"))
    ends = elaborate_text(body("input 4 as x", "relu", "from x -> tanh", "from x -> fc 2"))
    swapped = elaborate_text(body("input 4 as x", "tanh", "from x -> relu", "from x -> fc 2"))
    assert not isomorphic(plain, ends)
    assert isomorphic(ends, swapped)
    heavier = plain.copy()
    heavier.heads = [Head(0.3, heavier.outputs["logits"], "h")]
    assert not isomorphic(plain, heavier)


def test_a_graph_is_isomorphic_to_its_copy_and_not_to_another_input() -> None:
    graph = elaborate_text("model m { input 8x8x4 -> conv 4, 3x3 -> relu }")
    assert isomorphic(graph, graph.copy())
    larger = elaborate_text("model m { input 9x9x4 -> conv 4, 3x3 -> relu }")
    assert larger.inputs["image"].type.extent == Size(9, 9)
    assert not isomorphic(graph, larger)
