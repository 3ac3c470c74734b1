"""Takes a graph apart into chains and branches, and lays these out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cnndsl.drawing.layered import layered
from cnndsl.drawing.pieces import Item, Key, Link, Piece, beside, single
from cnndsl.drawing.series import series


def arrange(keys: Sequence[Key], links: Sequence[Link], items: Mapping[Key, Item]) -> Piece:
    """Lay out items, which stand in a topological order, with their lines.

    `links` begin or end at one of the items, or pass them all by. An item through which every way
    leads cuts the graph into parts that stand one after the other; what lies between two cuts falls
    into branches; what can be cut neither way is laid out in rows.
    """
    cuts = _cuts(keys, links)
    if not cuts:
        parts, rails = _branches(keys, links)
        if len(parts) == 1 and not rails:
            return layered(keys, links, items)
        return beside([arrange(*part, items) for part in parts], rails)
    pieces: list[Piece] = []
    start = 0
    segments = _segments(keys, links, cuts)
    for number, cut in enumerate([*cuts, len(keys)]):
        between, own = keys[start:cut], segments[number]
        if between or _doubled(own):
            parts, rails = _branches(between, own)
            pieces.append(beside([arrange(*part, items) for part in parts], rails))
        if cut < len(keys):
            key = keys[cut]
            touching = [*segments[number], *segments[number + 1]]
            pieces.append(single(items[key], touching))
        start = cut + 1
    return series(pieces)


def _doubled(links: Sequence[Link]) -> bool:
    """Whether several lines lead from one item straight to the next."""
    return len(links) > 1 and len({(link.source, link.target) for link in links}) == 1


def _cuts(keys: Sequence[Key], links: Sequence[Link]) -> list[int]:
    """The places of the items through which every way from above to below leads."""
    place = {key: index for index, key in enumerate(keys)}
    farthest = list(range(len(keys)))
    begins, ends = set(place), set(place)
    reach = -1
    for link in links:
        source, target = place.get(link.source), place.get(link.target)
        begins.discard(link.target)
        ends.discard(link.source)
        to = len(keys) if target is None else target
        if source is None:
            reach = max(reach, to)
        else:
            farthest[source] = max(farthest[source], to)
    reach = max([reach, *(place[key] for key in begins)])
    for key in ends:
        farthest[place[key]] = len(keys)
    cuts = []
    for index, far in enumerate(farthest):
        if reach <= index:
            cuts.append(index)
        reach = max(reach, far)
    return cuts


def _segments(keys: Sequence[Key], links: Sequence[Link], cuts: Sequence[int]) -> list[list[Link]]:
    """The links between each two successive cuts, those before the first and after the last too."""
    number: dict[Key, int] = {}
    current = 0
    for index, key in enumerate(keys):
        is_cut = current < len(cuts) and index == cuts[current]
        number[key] = current
        current += is_cut
    cut_keys = {keys[index] for index in cuts}
    segments: list[list[Link]] = [[] for _ in range(len(cuts) + 1)]
    for link in links:
        if link.source in number:
            segment = number[link.source] + (link.source in cut_keys)
        else:
            segment = 0
        segments[segment].append(link)
    return segments


def _branches(
    keys: Sequence[Key], links: Sequence[Link]
) -> tuple[list[tuple[list[Key], list[Link]]], list[Link]]:
    """The parts that no line joins, each with its links, and the links that pass all of them by."""
    parent = {key: key for key in keys}

    def find(key: Key) -> Key:
        while parent[key] != key:
            parent[key] = parent[parent[key]]
            key = parent[key]
        return key

    for link in links:
        if link.source in parent and link.target in parent:
            parent[find(link.target)] = find(link.source)
    parts: dict[Key, tuple[list[Key], list[Link]]] = {}
    for key in keys:
        parts.setdefault(find(key), ([], []))[0].append(key)
    rails = []
    for link in links:
        if link.source in parent:
            parts[find(link.source)][1].append(link)
        elif link.target in parent:
            parts[find(link.target)][1].append(link)
        else:
            rails.append(link)
    return list(parts.values()), rails
