"""The arena's plan: what lives together never overlaps, and little is wasted."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from cnndsl.runtime.memory import ALIGNMENT, Lifetime, plan, round_up

lifetimes = st.lists(
    st.builds(
        lambda size, first, length: Lifetime(size, first, first + length),
        st.integers(0, 10_000),
        st.integers(0, 40),
        st.integers(0, 12),
    ),
    max_size=40,
)


def lower_bound(lifetimes: Sequence[Lifetime]) -> int:
    """The most bytes alive at one step: no arena can be smaller."""
    changes: dict[int, int] = {}
    for item in lifetimes:
        changes[item.first] = changes.get(item.first, 0) + round_up(item.nbytes)
        changes[item.last + 1] = changes.get(item.last + 1, 0) - round_up(item.nbytes)
    alive = most = 0
    for step in sorted(changes):
        alive += changes[step]
        most = max(most, alive)
    return most


@given(lifetimes)
def test_buffers_that_live_together_never_overlap(items: list[Lifetime]) -> None:
    layout = plan(items)
    for i, a in enumerate(items):
        assert layout.offsets[i] % ALIGNMENT == 0
        assert layout.offsets[i] + a.nbytes <= layout.nbytes
        for j, b in enumerate(items[:i]):
            together = a.first <= b.last and b.first <= a.last
            apart = (
                layout.offsets[i] + a.nbytes <= layout.offsets[j]
                or layout.offsets[j] + b.nbytes <= layout.offsets[i]
            )
            assert apart or not together


@given(lifetimes)
def test_the_arena_is_between_the_bound_and_the_sum(items: list[Lifetime]) -> None:
    total = sum(round_up(item.nbytes) for item in items)
    assert lower_bound(items) <= plan(items).nbytes <= total


def test_a_chain_needs_two_buffers() -> None:
    chain = [Lifetime(1024, i, i + 1) for i in range(10)]
    assert plan(chain).nbytes == 2048
