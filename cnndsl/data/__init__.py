"""Data sets by name, and the way of their images into batches."""

from __future__ import annotations

from pathlib import Path

from cnndsl.data.dataset import Dataset, Progress, Request, Split, stratified_split
from cnndsl.data.registry import entries, find

__all__ = ["Dataset", "Progress", "Request", "Split", "entries", "load", "stratified_split"]


def load(
    name: str,
    *,
    data_dir: Path | None = None,
    classes: int | None = None,
    extent: tuple[int, int] | None = None,
    channels: int | None = None,
    seed: int = 0,
    download: bool = True,
    progress: Progress | None = None,
) -> Dataset:
    """The data set `name`: `digits`, `synthetic`, `cifar10`, `cifar100` or `npz:PATH`.

    `data_dir` holds a copy on disk of what would be downloaded. `classes`, `extent` (height, width)
    and `channels` are what the model wants: generated data sets follow them, stored ones come as
    they are and `Preprocessing` adapts them. `seed` draws generated images and the split of an
    `npz` file that has none; it does not touch the test split of the others.
    """
    entry, argument = find(name)
    folder = Path(data_dir) if data_dir is not None else None
    return entry.load(
        Request(argument, folder, classes, extent, channels, seed, download, progress)
    )
