"""The folder in which the command lines and calls of the golden files are made."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image
from safetensors.numpy import save_file

TEXTS = {
    "net.cnn": """
model net(classes = 10) {
    input 8x8x1
    conv 4, 3x3 -> relu
    fc classes
}

train net {
    data    digits
    epochs  1
}
""",
    "other.cnn": """
model net(classes = 10) {
    input 8x8x1
    conv 6, 3x3 -> relu
    conv 6, 3x3 -> relu
    fc classes
}
""",
    "deeper.cnn": """
model net(classes = 10) {
    input 8x8x1
    conv 4, 3x3 -> relu
    conv 4, 3x3 -> relu
    fc classes
}
""",
    "several.cnn": """
model small { input 8x8x1 -> fc 10 }
model large { input 16x16x1 -> fc 10 }
""",
    "vector.cnn": "model vector { input 64 -> fc 10 }\n",
    "map.cnn": "model map { input 8x8x1 -> conv 10, 3x3 }\n",
    "three.cnn": "model three { input 8x8x1 -> fc 3 }\n",
    "tiny.cnn": "model tiny { input 4x4x1 -> fc 10 }\n",
    "one.cnn": "model one { input 8x8x1 -> fc 1 }\n",
    "stereo.cnn": "model stereo { input 8x8x2 -> fc 10 }\n",
    "cropped.cnn": """
model cropped { input 8x8x1 -> fc 10 }
train cropped { augment crop 6 }
""",
    "wild.cnn": """
model wild(classes = 10) { input 8x8x1 -> fc 16 -> relu -> fc classes }
train wild { epochs 1 }
""",
    "paired.cnn": """
model net(classes = 10) {
    input 8x8x2
    conv 4, 3x3, groups=2 -> relu
    fc classes
}
""",
    "wide.cnn": "model wide { input 1000 -> fc 600_000 }\n",
    "large.cnn": """
model large {
    input 8x8x3
    dense 1_000_000 { conv 1, 1x1 }
}
""",
    "long.cnn": """
model long {
    input 8x8x3
    for i in 0..100_000 { for j in 0..100_000 { let n = i * j } }
}
""",
    "notes.txt": "no picture, no weights, no arrays\n",
}


def fill(folder: Path) -> None:
    """Write everything that the commands read."""
    for name, text in TEXTS.items():
        (folder / name).write_text(text.lstrip("\n"), encoding="utf-8")
    (folder / "latin.cnn").write_bytes("# für alle\nmodel net { input 8x8x1 }\n".encode("latin-1"))
    Image.new("L", (8, 8), 128).save(folder / "grey.png")
    noise = np.random.default_rng(0).integers(256, size=(64, 64), dtype=np.uint8)
    Image.fromarray(noise).save(folder / "noise.png")
    (folder / "cut.png").write_bytes((folder / "noise.png").read_bytes()[:2000])
    colour = np.zeros((20, 8, 8, 3), np.uint8)
    np.savez(folder / "colour.npz", images=colour, labels=np.arange(20) % 10)
    array = {"conv1.weight": np.zeros(3, np.float32)}
    save_file(array, folder / "foreign.safetensors")
    future = {"format": "cnndsl", "cnndsl": json.dumps({"version": 99})}
    save_file(array, folder / "future.safetensors", metadata=future)


def contents(folder: Path) -> dict[str, bytes]:
    """Every file and folder below, with the bytes of the files."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else b""
        for path in sorted(folder.rglob("*"))
    }
