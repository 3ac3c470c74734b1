"""The networks of the zoo are those of the papers: published figures, and sizes of their files."""

from __future__ import annotations

from pathlib import Path

import pytest

from cnndsl.compile import check, elaborate_file
from cnndsl.diagnostics import Source
from cnndsl.frontend.format import format_source
from cnndsl.frontend.library import load_file
from cnndsl.graph import analysis
from cnndsl.graph.check import verify
from cnndsl.graph.op import OPS
from cnndsl.resources import resource

ZOO = resource("zoo")
FILES = sorted(ZOO.glob("*.cnn"))

#: Parameters and multiply-adds, computed from other implementations of the same networks.
PUBLISHED = {
    "lenet:lenet": (61_706, 416_520),
    "alexnet:alexnet": (62_378_344, 1_135_256_096),
    "alexnet:alexnet_towers": (60_965_224, 724_406_816),
    "vgg:vgg11": (132_863_336, 7_609_090_048),
    "vgg:vgg13": (133_047_848, 11_308_466_176),
    "vgg:vgg16": (138_357_544, 15_470_264_320),
    "vgg:vgg19": (143_667_240, 19_632_062_464),
    "vgg:vgg16_bn": (138_365_992, 15_470_264_320),
    "googlenet:googlenet": (13_378_280, 1_582_671_872),
    "resnet:resnet18": (11_689_512, 1_814_073_344),
    "resnet:resnet34": (21_797_672, 3_663_761_408),
    "resnet:resnet50": (25_557_032, 4_089_184_256),
    "resnet:resnet101": (44_549_160, 7_801_405_440),
    "resnet:resnet152": (60_192_808, 11_513_626_624),
    "resnet:resnet20": (269_722, 40_551_040),
    "resnet:resnet32": (464_154, 68_862_592),
    "resnet:resnet44": (658_586, 97_174_144),
    "resnet:resnet56": (853_018, 125_485_696),
    "resnet:resnet110": (1_727_962, 252_887_680),
    "resnext:resnext50_32x4d": (25_028_904, 4_230_479_872),
    "resnext:resnext101_32x4d": (44_177_704, 7_969_996_800),
    "resnext:resnext101_32x8d": (88_791_336, 16_414_015_488),
    "resnext:resnext101_64x4d": (83_455_272, 15_460_270_080),
    "mobilenet:mobilenet_v1": (4_231_976, 568_740_352),
    "mobilenet:mobilenet_v2": (3_504_872, 300_774_272),
    "densenet:densenet121": (7_978_856, 2_834_161_664),
    "densenet:densenet161": (28_681_000, 7_727_907_072),
    "densenet:densenet169": (14_149_480, 3_359_843_328),
    "densenet:densenet201": (20_013_928, 4_291_365_888),
    "densenet:cifar_densenet": (769_162, 287_929_692),
}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_file_is_right_and_proves_its_expectations(path: Path) -> None:
    module = load_file(path)
    diagnostics, networks = check(module)
    assert diagnostics == []
    assert networks
    for network in networks:
        verify(network.graph, "elaboration")
    assert any(module.expectations(network.name) for network in networks)


def test_every_model_of_the_zoo_is_compared_with_a_published_one() -> None:
    models = {f"{p.stem}:{name}" for p in FILES for name in load_file(p).complete()}
    assert models == set(PUBLISHED)


@pytest.mark.parametrize("reference", PUBLISHED)
def test_parameters_and_multiply_adds_are_the_published_ones(reference: str) -> None:
    file, name = reference.split(":")
    graph = elaborate_file(ZOO / f"{file}.cnn", name).graph
    work = sum(analysis.multiply_adds(graph, n) for n in analysis.main_path(graph))
    assert (analysis.parameters(graph), work) == PUBLISHED[reference]


def lines_of_code(text: str) -> int:
    """Lines that are neither empty nor comments, without recipes and expectations."""
    count, skipping = 0, False
    for line in text.splitlines():
        if line.startswith(("train", "expect")):
            skipping = not line.rstrip().endswith("}")
            continue
        if skipping:
            skipping = not line.startswith("}")
        elif line.strip() and not line.strip().startswith("#"):
            count += 1
    return count


@pytest.mark.parametrize(
    ("file", "budget", "until"),
    [
        ("alexnet", 16, "model alexnet_towers"),
        ("googlenet", 45, None),
        ("resnet", 38, "block cifar_basic"),
        ("densenet", 24, "model cifar_densenet"),
    ],
)
def test_the_networks_stay_short(file: str, budget: int, until: str | None) -> None:
    text = (ZOO / f"{file}.cnn").read_text()
    if until is not None:
        text = text[: text.index(until)]
    assert lines_of_code(text) <= budget


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_zoo_is_formatted(path: Path) -> None:
    text = path.read_text()
    assert format_source(Source(path.name, text)) == text


def test_every_layer_of_the_zoo_is_an_operation_of_the_language() -> None:
    for path in FILES:
        module = load_file(path)
        for network in check(module)[1]:
            for node in analysis.layers(network.graph):
                word = network.graph.op(node).name
                assert word in {*OPS, "input", "add", "concat", "mul", "gate"}
