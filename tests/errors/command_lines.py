"""Wrong command lines, by the golden file of what is said about them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Line:
    """A command line, the exit status that it must have, and what it may leave behind."""

    words: str
    status: int
    leaves: tuple[str, ...] = ()


#: Network or data wrong: 1. Wrong usage: 2.
LINES: dict[str, list[Line]] = {
    "C0101_files": [
        Line("check nothing.cnn", 1),
        Line("check lenett", 2),
        Line("fmt nothing.cnn", 1),
        Line("fmt latin.cnn", 1),
        Line("check latin.cnn", 1),
        Line("zoo show lenett", 2),
    ],
    "C0102_writing": [
        Line("zoo copy lenet net.cnn", 2),
        Line("run net.cnn --train digits --out net.cnn/run", 1),
        Line("graph net.cnn -o net.cnn/net.svg", 1),
        Line("export net.cnn -o net.cnn/net.onnx", 1),
    ],
    "C0103_ops": [Line("ops convolution", 2)],
    "C0203_memory": [Line("run net.cnn --train digits --out m --memory 1KB --backend numpy", 1)],
    "C0204_too_large": [
        Line("run net.cnn --batch 1000000000 --backend numpy", 1),
        Line("run net.cnn --batch auto", 2),
        Line("run net.cnn --batch many", 2),
    ],
    "C0201_engine": [Line("run net.cnn --backend tpu", 2)],
    "C0205_tf32": [
        Line("run net.cnn --precision tf32 --backend numpy", 2),
        Line("run net.cnn --train digits --precision tf32 --backend numpy --out m", 2),
        Line("summary net.cnn --batch 8 --precision tf32 --backend numpy", 2),
    ],
    "C0302_export": [Line("export wide.cnn -o wide.onnx", 1)],
    "D0401_data_sets": [
        Line("run net.cnn --train cifer10", 1),
        Line("run net.cnn --train colour.npz", 1),
    ],
    "D0402_made": [
        Line("run net.cnn --train npz", 1),
        Line("run net.cnn --train digits:3", 1),
        Line("run stereo.cnn --train synthetic", 1),
        Line("run tiny.cnn --train synthetic", 1),
        Line("run one.cnn --train synthetic", 1),
    ],
    "D0403_not_there": [
        Line("run net.cnn --train npz:nothing.npz", 1),
        Line("run net.cnn --train cifar10 --data-dir nothing", 1),
        Line("run net.cnn --predict nothing.png --weights runs/net-digits", 1),
    ],
    "D0412_pictures": [
        Line("run net.cnn --predict notes.txt --weights runs/net-digits", 1),
        Line("run net.cnn --predict runs --weights runs/net-digits", 1),
    ],
    "D0413_channels": [
        Line("run stereo.cnn --train npz:colour.npz", 1),
        Line("export paired.cnn --weights runs/net-digits -o net.onnx", 1),
    ],
    "E0309_which": [
        Line("check net.cnn:nett", 1),
        Line("summary several.cnn", 1),
        Line("summary several.cnn:medium", 1),
    ],
    "E0401_set": [
        Line("check net.cnn --set clases=3", 2),
        Line("check vector.cnn --set width=3", 2),
    ],
    "E0402_and_others_in_set": [
        Line("check net.cnn --set classes=3,", 1),
        Line("check net.cnn --set classes=none", 1),
        Line("check net.cnn --set classes=1.5", 1),
    ],
    "E0601_nodes": [Line("check large.cnn --max-nodes 1000", 1)],
    "E0602_steps": [Line("check long.cnn --max-steps 1000", 1)],
    "T0101_not_a_number": [
        Line("run wild.cnn --train digits --lr 1e30 --out wild", 1, ("wild", "wild/metrics.jsonl")),
    ],
    "T0102_misfits": [
        Line("run vector.cnn --train digits", 1),
        Line("run cropped.cnn --train digits", 1),
        Line("run three.cnn --train digits", 1),
        Line("run map.cnn --train digits", 1),
    ],
    "T0201_checkpoints": [
        Line("run net.cnn --eval digits --weights nothing", 1),
        Line("run net.cnn --eval digits --weights notes.txt", 1),
        Line("run net.cnn --eval digits --weights foreign.safetensors", 1),
        Line("run net.cnn --eval digits --weights future.safetensors", 1),
        Line("run net.cnn --train digits --weights nothing", 1),
        Line("export net.cnn --weights nothing -o net.onnx", 1),
    ],
    "T0202_weights": [
        Line("run other.cnn --eval digits --weights runs/net-digits", 1),
        Line("run deeper.cnn --eval digits --weights runs/net-digits", 1),
        Line("run three.cnn --predict grey.png --weights runs/net-digits", 1),
        Line("run other.cnn --train digits --weights runs/net-digits", 1),
        Line("export other.cnn --weights runs/net-digits -o net.onnx", 1),
    ],
    "T0203_resumed": [
        Line("run net.cnn --train digits --out runs/net-digits", 2),
        Line("run net.cnn --train digits --out runs/net-digits --resume --seed 3 --batch 16", 1),
    ],
    "usage": [
        Line("chek net.cnn", 2),
        Line("check net.cnn --set classes", 2),
        Line("check net.cnn --set classes=1 --set classes=2", 2),
        Line("check net.cnn --input 8x8", 2),
        Line("run net.cnn --train digits --eval digits", 2),
        Line("run net.cnn grey.png", 2),
        Line("run net.cnn --train digits --resume", 2),
        Line("run net.cnn --eval digits", 2),
        Line("export net.cnn -o net.pt", 2),
        Line("export net.cnn --weights runs/net-digits --seed 3 -o net.onnx", 2),
        Line("export net.cnn --batch many -o net.onnx", 2),
    ],
}
#: Wrong usage that the library for command lines reports in words of its own.
USAGE = (
    "check",
    "check net.cnn --lints",
    "check net.cnn --max-nodes 0",
    "run net.cnn --train digits --batch 0",
    "run net.cnn --train digits --epochs many",
    "export net.cnn",
    "fmt",
    "zoo shov lenet",
    "zoo show",
    "summary net.cnn --format yaml",
)
