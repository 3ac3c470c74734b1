"""The reference of the language's words, from the docstrings of what they stand for."""

from __future__ import annotations

import inspect
from dataclasses import MISSING, fields

import cnndsl.ops  # noqa: F401
from cnndsl.frontend.arguments import signature
from cnndsl.graph.op import LOSSES, OPS, OPTIMIZERS, Op, spell_value
from cnndsl.graph.rewrite import Rewrite

#: The joins and what they mean; they are of the language, not of the graph.
JOINS = {
    "concat": (
        "concat { | branch | branch }",
        "Joins branches along the channels; their extents agree.",
    ),
    "add": ("add { | branch | branch }", "The sum of branches of one shape; never broadcasts."),
    "mul": ("mul { | branch | branch }", "The product of branches of one shape."),
    "residual": (
        "residual [project | pad | if_same], [drop=] { body }",
        """Adds the value that enters to what the body leaves; their shapes agree.

        `project` puts a 1x1 convolution and a `bn` on the shortcut where shape or stride differ
        (option B); `pad` takes every stride-th element and adds channels of zeros (option A);
        `if_same` has no shortcut there. `drop=p` skips the body of an image with probability p in
        training.

        Source: He et al., Deep residual learning, 2016; Huang et al., Stochastic depth, 2016.
        """,
    ),
    "dense": (
        "dense n { body }",
        """n times x = concat(x, body(x)).

        Source: Huang et al., Densely connected convolutional networks, 2017.
        """,
    ),
    "gate": (
        "gate { body }",
        """The value times body(value), which has its shape or is 1x1xC.

        Source: Hu et al., Squeeze-and-excitation networks, 2018.
        """,
    ),
    "aux": (
        "aux weight { body }",
        """A side head: its loss counts `weight` in training; the value stays as it was.

        Source: Szegedy et al., Going deeper with convolutions, 2015.
        """,
    ),
}

Entries = dict[str, dict[str, tuple[str, str]]]


def entries() -> Entries:
    """Signature and text of every word, by group."""
    return {
        "layers": {
            "input": ("input HxWxC", "The image that enters; the first step of a model."),
            **_of(OPS),
        },
        "joins": JOINS,
        "losses": _of(LOSSES),
        "optimizers": _of(OPTIMIZERS),
    }


def _of(registry: dict[str, type[Op]]) -> dict[str, tuple[str, str]]:
    return {name: (_signature(kind), inspect.getdoc(kind) or "") for name, kind in registry.items()}


def _signature(kind: type[Op]) -> str:
    """How it is written, with its defaults and an example."""
    defaults = [
        f"{f.name}={spell_value(f.default)}"
        for f in fields(kind)  # type: ignore[arg-type]
        if f.default is not MISSING and f.default is not None
    ]
    lines = [signature(kind)]
    if defaults:
        lines.append("defaults: " + ", ".join(defaults))
    if kind.examples:
        lines.append("example:  " + kind.examples[0])
    return "\n".join(lines)


def markdown() -> str:
    """The reference as `docs/layers.md` holds it: `cnndsl ops --format markdown`."""
    lines = [
        "# Layers, joins, losses and optimizers",
        "",
        "Written by `cnndsl ops --format markdown`, from the docstrings.",
    ]
    for group, members in entries().items():
        lines += ["", f"## {group.capitalize()}"]
        for name, (signature_lines, text) in members.items():
            lines += ["", f"### {name}", "", "```", signature_lines, "```", ""]
            lines += [inspect.cleandoc(text)]
    return "\n".join(lines) + "\n"


def rewrites() -> dict[str, str]:
    """The pages of `docs/rewrites/` by file name: one a rewrite, its equation first, and a list."""
    from cnndsl.passes import FOR_INFERENCE, FOR_TRAINING, FUSIONS
    from cnndsl.passes.chains import CHAINS
    from cnndsl.passes.gpu import ON_A_GPU
    from cnndsl.passes.together import TOGETHER

    uses: dict[str, list[Rewrite]] = {
        "For training and inference": [r for r in FOR_INFERENCE if r in FOR_TRAINING],
        "For inference, where weights and statistics are constant": [
            r for r in FOR_INFERENCE if r not in FOR_TRAINING
        ],
        "For training": [r for r in FOR_TRAINING if r not in FOR_INFERENCE],
        "For engines that ask for it": list(FUSIONS),
        "For GPUs": [*(r for r in ON_A_GPU if r not in FUSIONS), *CHAINS, *TOGETHER],
    }
    pages = {}
    lines = ["# Rewrites", "", *_ABOUT.strip().splitlines()]
    for use, members in uses.items():
        lines += ["", f"## {use}", "", "| rewrite | equation |", "|---|---|"]
        for rewrite in members:
            equation = rewrite.equation.split("\n\n")[0].replace("\n", " ").replace("|", "\\|")
            lines.append(f"| [{rewrite.name}]({rewrite.name}.md) | {equation} |")
            pages[f"{rewrite.name}.md"] = _page(rewrite, use)
    return {"README.md": "\n".join(lines) + "\n", **pages}


_ABOUT = """
Written by `python docs/write.py`, from the docstrings. A rewrite is an equation, applied from left
to right wherever its left side stands, until none does. `cnndsl optimize MODEL` shows which fire on
a network, where, which declined and why, and what the network costs before and after.

Each is proved on numbers in float64 at 1e-9: on its examples, on networks of the zoo and of
`examples/`, and with all others on random networks (`pytest tests/test_random_programs.py`; with
`--profile nightly`, 1,000 of them). Those for training have the same gradients too, and 50 steps of
training have the same losses. What they save is measured in
[the table](../../benchmarks/results/rewrites.md), on the reference engine: kernels, multiply-adds
and bytes never rise. Siblings that would wait for one another where the most memory is needed are
not merged, so that the planned peak does not rise either; but for narrow paths side by side, which
need little memory when they run one by one (a ResNeXt drawn so by 49 %, a module of Inception by
10 %), and for transitions that pool first in training (DenseNet-40 by 1 %). On the
[CPU engine](../cpu.md) slices are copies: `merge_siblings`, which leaves some, is not run there.

Not in the list, because it is no equation between graphs: slices are views and parts of a concat
are computed in the concat's memory (`runtime/placement.py`); parameters that stand side by side are
one array with one gradient and one update (`passes/join.py`); and `--memory` recomputes in the
backward pass what would not fit (`runtime/recompute.py`).
"""


def _page(rewrite: Rewrite, use: str) -> str:
    lines = [f"# {rewrite.name}", "", inspect.cleandoc(rewrite.equation), "", f"{use}."]
    for title, examples in (
        ("Fires on", rewrite.fires_on),
        ("Leaves alone", rewrite.leaves_alone),
    ):
        if examples:
            lines += ["", f"{title}:", "", "```", *examples, "```"]
    return "\n".join(lines) + "\n"
