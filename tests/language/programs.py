"""Random valid programs, as text: a Hypothesis strategy for whichever tests need many networks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from fractions import Fraction

from hypothesis import strategies as st

ACTIVATIONS = (
    "relu",
    "relu6",
    "leaky_relu 0.1",
    "sigmoid",
    "tanh",
    "silu",
    "gelu",
    "hardswish",
    "hardsigmoid",
    "softmax",
)
MOST_CHANNELS = 24


@dataclass(frozen=True)
class Flow:
    """What flows: a map, or with extent None a vector; and the product of the strides before it."""

    extent: tuple[int, int] | None
    channels: int
    jump: Fraction = Fraction(1)

    def joins(self, other: Flow) -> bool:
        """Whether `concat` takes both."""
        return self.extent == other.extent and self.jump == other.jump


@dataclass
class Writer:
    """Writes steps that fit the value that flows, which is `flow`."""

    draw: st.DrawFn
    flow: Flow
    names: int = 0
    blocks: list[str] = field(default_factory=list)
    visible: list[tuple[str, Flow]] = field(default_factory=list)
    looping: bool = False

    # Choices -------------------------------------------------------------------------------------

    def choose(self, *options: str) -> str:
        return self.draw(st.sampled_from(options))

    def number(self, low: int, high: int) -> int:
        return self.draw(st.integers(low, high))

    def chance(self) -> bool:
        return self.draw(st.booleans())

    def new_name(self, stem: str) -> str:
        self.names += 1
        return f"{stem}_{self.names}"

    # Bodies --------------------------------------------------------------------------------------

    def chain(self, steps: int, depth: int, *, keep: bool) -> list[str]:
        """Some steps; with `keep` they leave extent and jump as they were."""
        return [self.step(depth, keep=keep) for _ in range(steps)]

    def scoped(self, write: Callable[[], list[str]]) -> list[str]:
        """Steps within braces, whose names nobody sees afterwards."""
        before = list(self.visible)
        lines = write()
        self.visible = before
        return lines

    def branch(self, depth: int, *, channels: int | None = None) -> list[str]:
        """A few steps that keep the extent, and leave a number of channels if one is given."""
        lines = self.scoped(lambda: self.chain(self.number(0, 2), depth - 1, keep=True))
        if channels is not None and self.flow.channels != channels:
            lines.append(self.to_channels(channels))
        return lines or ["identity"]

    def to_channels(self, channels: int) -> str:
        self.flow = replace(self.flow, channels=channels)
        return f"conv {channels}, 1x1" if self.flow.extent else f"fc {channels}"

    # Steps ---------------------------------------------------------------------------------------

    def step(self, depth: int, *, keep: bool) -> str:
        simple = [self.convolution, self.simple, self.normalization, self.channel_mover]
        nested = [
            self.join, self.residual, self.dense, self.gate, self.loop, self.choice, self.tower,
            self.restart, self.call, self.aux,
        ]  # fmt: skip
        reshaping = [self.pool, self.strided, self.mover, self.projection, self.vector]
        kinds = simple + (nested if depth > 0 else []) + ([] if keep else reshaping)
        text = self.draw(st.sampled_from(kinds))(depth)
        if self.number(0, 4) == 0 and "\n" not in text and text[-1] != "}":
            name = self.new_name("v")
            self.visible.append((name, self.flow))
            text += f" as {name}"
        return text

    def convolution(self, depth: int) -> str:
        if self.flow.extent is None:
            return self.to_channels(self.number(1, 8))
        options = self.choose("", "", ", bias=true", ", bias=false")
        kernel = self.choose("1x1", "3x3", "1x3")
        if kernel != "1x1":
            options += self.choose("", "", ", dilation=2")
        if self.chance() and self.flow.channels <= MOST_CHANNELS // 2:
            times = self.number(1, 2)
            self.flow = replace(self.flow, channels=self.flow.channels * times)
            return f"dwconv {kernel}{options}" + (f", multiplier={times}" if times > 1 else "")
        channels = self.number(1, 8)
        if self.flow.channels % 2 == 0 and channels % 2 == 0:
            options += self.choose("", ", groups=2")
        self.flow = replace(self.flow, channels=channels)
        return f"conv {channels}, {kernel}{options}" + self.choose("", " -> bn", " -> bn -> relu")

    def simple(self, depth: int) -> str:
        return self.choose(
            *ACTIVATIONS, "identity", "dropout", "dropout 0.25", "drop_path 0.2", "scale init=0.5"
        )

    def normalization(self, depth: int) -> str:
        groups = 2 if self.flow.channels % 2 == 0 else 1
        return self.choose(
            "bn", "bn epsilon=1e-3, momentum=0.99", "layernorm", f"groupnorm {groups}", "lrn 3"
        )

    def channel_mover(self, depth: int) -> str:
        channels = self.flow.channels
        if channels % 2 == 0 and self.chance():
            return "shuffle 2"
        if channels == 1:
            return "identity"
        first = self.number(0, channels - 2)
        last = self.number(first + 1, channels)
        self.flow = replace(self.flow, channels=last - first)
        return f"slice {first}..{last}"

    def pool(self, depth: int) -> str:
        if self.flow.extent is None:
            return "relu"
        kind = self.choose("maxpool", "avgpool")
        if self.number(0, 5) == 0:
            self.flow = replace(self.flow, extent=(1, 1))
            return f"{kind} global"
        if min(self.flow.extent) < 3:
            return f"{kind} 3x3, /1, pad=1"
        option = self.choose("", ", pad=same", ", ceil=true")
        height, width = (_pooled(n, option) for n in self.flow.extent)
        self.flow = replace(self.flow, extent=(height, width), jump=self.flow.jump * 2)
        return f"{kind} 3x3, /2{option}"

    def strided(self, depth: int) -> str:
        if self.flow.extent is None:
            return "tanh"
        channels = self.number(1, 8)
        height, width = (-(-n // 2) for n in self.flow.extent)
        self.flow = Flow((height, width), channels, self.flow.jump * 2)
        return f"conv {channels}, 3x3, /2" + self.choose("", " -> bn")

    def mover(self, depth: int) -> str:
        if self.flow.extent is None:
            return "flatten"
        height, width = self.flow.extent
        kind = self.choose("pad", "top", "crop", "upsample")
        if kind == "crop" and min(height, width) > 3:
            self.flow = replace(self.flow, extent=(height - 2, width - 2))
            return "crop 1"
        if kind == "top":
            channels = self.flow.channels + 1
            self.flow = replace(self.flow, extent=(height + 1, width), channels=channels)
            return "pad top=1, channels=1"
        if kind == "upsample" and height * width < 64:
            flow = replace(self.flow, extent=(2 * height, 2 * width))
            self.flow = replace(flow, jump=self.flow.jump / 2)
            return "upsample 2"
        self.flow = replace(self.flow, extent=(height + 2, width + 2))
        return "pad 1"

    def vector(self, depth: int) -> str:
        if self.number(0, 3) or self.flow.extent is None:
            return "relu"
        self.flow = replace(self.flow, extent=None, channels=self.number(1, 8))
        return f"fc {self.flow.channels}" + self.choose("", ", bias=false")

    # Joins ---------------------------------------------------------------------------------------

    def join(self, depth: int) -> str:
        start = self.flow
        kind = self.choose("concat", "add", "mul")
        channels = None if kind == "concat" else start.channels
        total = 0
        branches = []
        for _ in range(self.number(1, 3)):
            self.flow = start
            fitting = [name for name, flow in self.visible if flow == start]
            if fitting and self.chance():
                lines = [f"from {self.draw(st.sampled_from(fitting))}"]
            else:
                lines = self.branch(depth, channels=channels)
            total += self.flow.channels
            branches.append("| " + "\n".join(lines).replace("\n", "\n  "))
        self.flow = replace(start, channels=total if kind == "concat" else start.channels)
        text = f"{kind} {{\n" + "\n".join(branches) + "\n}"
        return text + self.narrow()

    def narrow(self) -> str:
        """Fewer channels again where there are many."""
        return f"\n{self.to_channels(4)}" if self.flow.channels > MOST_CHANNELS else ""

    def residual(self, depth: int) -> str:
        start = self.flow
        mode = self.choose("", "", "drop=0.1", "if_same", "if_same, drop=0.2")
        body = self.branch(depth, channels=None if mode.startswith("if") else start.channels)
        return f"residual {mode} {{\n" + "\n".join(body) + "\n}"

    def projection(self, depth: int) -> str:
        """`residual project` and `residual pad`, whose bodies may halve the extent."""
        if self.flow.extent is None:
            return "sigmoid"
        mode = self.choose("project", "pad")
        stride = self.number(1, 2)
        channels = self.flow.channels + self.number(0, 3)
        height, width = (-(-n // stride) for n in self.flow.extent)
        self.flow = Flow((height, width), channels, self.flow.jump * stride)
        drop = self.choose("", ", drop=0.3")
        body = [f"conv {channels}, 3x3, /{stride} -> bn -> relu", f"conv {channels}, 3x3 -> bn"]
        return f"residual {mode}{drop} {{\n" + "\n".join(body) + "\n}" + self.narrow()

    def dense(self, depth: int) -> str:
        if self.flow.extent is None or self.flow.channels > MOST_CHANNELS // 2:
            return "relu"
        growth, times = self.number(1, 3), self.number(0, 3)
        before = self.flow
        body = [self.choose("bn", "layernorm", "lrn 3"), self.choose(*ACTIVATIONS)]
        self.flow = replace(before, channels=before.channels + growth * times)
        lines = [*body, f"conv {growth}, 3x3"]
        return f"dense {times} {{ " + " -> ".join(lines) + " }" + self.narrow()

    def gate(self, depth: int) -> str:
        start = self.flow
        if start.extent is None or self.chance():
            body = self.branch(depth, channels=start.channels)
        else:
            squeeze = self.choose("maxpool global", "avgpool global")
            body = [squeeze, self.choose(f"conv {start.channels}, 1x1", f"fc {start.channels}")]
        self.flow = start
        return "gate {\n" + "\n".join([*body, "sigmoid"]) + "\n}"

    def aux(self, depth: int) -> str:
        start, weight = self.flow, self.choose("0.3", "0.4", "1")
        body = self.scoped(lambda: self.chain(self.number(0, 2), 0, keep=False))
        self.flow = start
        return f"aux {weight} {{\n" + "\n".join([*body, "fc 3"]) + "\n}"

    # Names, loops, blocks ------------------------------------------------------------------------

    def restart(self, depth: int) -> str:
        """`from`: what flowed before may be a dead end now, or a branch of a later join."""
        fitting = [name for name, flow in self.visible if flow.joins(self.flow)]
        if not fitting:
            return "identity"
        name = self.draw(st.sampled_from(fitting))
        here = self.new_name("w")
        other = next(flow for known, flow in self.visible if known == name)
        if self.chance():
            self.flow = other
            return f"from {name}"
        self.flow = replace(self.flow, channels=self.flow.channels + other.channels)
        return f"identity as {here}\nconcat {{ | from {here} | from {name} }}" + self.narrow()

    def tower(self, depth: int) -> str:
        """A family of values by index, all of which meet."""
        if self.flow.extent is None or self.looping:
            return "silu"
        name, count, width = self.new_name("x"), self.number(1, 3), self.number(1, 4)
        self.flow = replace(self.flow, channels=self.flow.channels + count * width)
        return (
            f"identity as {name}[0]\n"
            f"for k in 1..{count + 1} {{ conv {width}, 3x3 -> relu as {name}[k] }}\n"
            f"concat {{ for k in 0..{count + 1} {{ | from {name}[k] }} }}" + self.narrow()
        )

    def loop(self, depth: int) -> str:
        channels, times = self.flow.channels, self.number(0, 3)
        start, before, outside = self.flow, list(self.visible), self.looping
        self.visible, self.looping = [], True
        body = self.branch(depth, channels=channels)
        self.visible, self.looping = before, outside
        self.flow = start
        index = self.choose("i", "stage")
        return f"for {index} in 0..{times} {{\n" + "\n".join(body) + "\n}"

    def choice(self, depth: int) -> str:
        holds = self.chance()
        condition = f"channels {'==' if holds else '!='} {self.flow.channels}"
        body = self.branch(depth)
        taken, other = "\n".join(body), "softmax"
        first, second = (taken, other) if holds else (other, taken)
        return f"if {condition} {{\n{first}\n}} else {{\n{second}\n}}"

    def call(self, depth: int) -> str:
        if self.flow.extent is None:
            return "gelu"
        if not self.blocks:
            self.blocks.append(
                "block unit(width, act, reduction = 1) {\n"
                "    let c = channels\n"
                "    conv width, 3x3 -> bn -> act as inner\n"
                "    residual { conv width, 1x1 -> gate { avgpool global -> fc width } }\n"
                "    concat { | identity | from inner | conv c, 1x1 -> act }\n"
                "}"
            )
        width, act = self.number(1, 4), self.choose("relu", "hardswish")
        self.flow = replace(self.flow, channels=2 * width + self.flow.channels)
        return f"unit {width}, {act}" + self.narrow()


def _pooled(extent: int, option: str) -> int:
    """What a window of 3 at stride 2 leaves."""
    if "same" in option:
        return -(-extent // 2)
    return (extent - 3) // 2 + 1 if "ceil" not in option else -(-(extent - 3) // 2) + 1


@st.composite
def programs(draw: st.DrawFn, most_steps: int = 8, depth: int = 2) -> str:
    """The text of a file with one valid model, called `random`."""
    extent = (draw(st.integers(3, 9)), draw(st.integers(3, 9)))
    flow = Flow(extent, draw(st.integers(1, 4)))
    if draw(st.integers(0, 5)) == 0:
        flow = Flow(None, draw(st.integers(1, 6)))
    writer = Writer(draw, flow)
    shape = "x".join(map(str, (*(flow.extent or ()), flow.channels)))
    body = writer.chain(draw(st.integers(0, most_steps)), depth, keep=False)
    return "\n".join([*writer.blocks, "model random {", f"input {shape}", *body, "}", ""])
