"""Random streams and orders that depend on nothing but their Philox keys."""

from __future__ import annotations

import numpy as np

#: What a stream is for; streams of different purposes never overlap.
ORDER, AUGMENTATION, SPLIT, PICTURES = range(4)


def stream(purpose: int, seed: int, epoch: int = 0, step: int = 0) -> np.random.Philox:
    """The bit stream of (purpose, seed, epoch, step), each an integer taken modulo 2**64.

    Two streams with different arguments share no counter before 2**128 blocks have been drawn.
    """
    word = 2**64
    key = np.array([seed % word, epoch % word], dtype=np.uint64)
    counter = np.array([0, 0, step % word, purpose], dtype=np.uint64)
    return np.random.Philox(counter=counter, key=key)


def generator(purpose: int, seed: int, epoch: int = 0, step: int = 0) -> np.random.Generator:
    """A NumPy generator over `stream(purpose, seed, epoch, step)`."""
    return np.random.Generator(stream(purpose, seed, epoch, step))


def permutation(count: int, bits: np.random.Philox) -> np.ndarray:
    """A random order of 0..count-1, int64 (count,).

    It sorts raw 64-bit words, which NumPy promises to keep, unlike the methods of `Generator`: the
    order is the same under every version.
    """
    return np.argsort(bits.random_raw(count), kind="stable")
