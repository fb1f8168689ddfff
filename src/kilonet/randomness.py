"""Random numbers as pure functions of (seed, purpose, epoch, index).

There is no shared stream. The counter-based generator Philox4x32-10 computes each draw from its
seed, purpose, epoch and index, so the order of work, the number of threads and a restart change
nothing. Source: Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy
as 1, 2, 3", SC 2011; the bits equal those of the authors' Random123.

The layout of the counter, which the native engine shares:

======  ==========================================================
word    holds
======  ==========================================================
0       index: the image, or the element of a tensor
1       epoch, or the step for draws that are made every step
2       block: one of several draws (a transform, a layer, a name)
3       purpose
======  ==========================================================

The key is the 64-bit seed, low word first.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

_MULTIPLIERS = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
_WEYL = (0x9E3779B9, 0xBB67AE85)
_ROUNDS = 10
# These fit a core's cache: a quarter of the time of 60,000 at once.
_COUNTERS_AT_ONCE = 2**14
_LOW = np.uint64(0xFFFFFFFF)
_WORD = np.uint64(32)

MAX_SEED = 2**63 - 1
"""The largest seed, and the largest TOML integer."""


class Purpose(IntEnum):
    """The purpose of a draw: the last word of the counter, so that purposes share no bits."""

    INITIAL_WEIGHTS = 1
    SHUFFLE = 2
    AUGMENTATION = 3
    DROPOUT = 4
    VALIDATION_SPLIT = 5
    TRAINING_SUBSET = 6
    DISPLACEMENT = 7


def philox4x32(counter: NDArray[np.uint32], *, seed: int) -> NDArray[np.uint32]:
    """Philox4x32-10 of each counter.

    Args:
        counter: (..., 4) uint32.
        seed: the 64-bit key, low word first.

    Returns:
        (..., 4) uint32, every bit uniform.
    """
    counters = counter.reshape(-1, 4)
    result = np.empty(counters.shape, dtype=np.uint32)
    for start in range(0, len(counters), _COUNTERS_AT_ONCE):
        part = slice(start, start + _COUNTERS_AT_ONCE)
        result[part] = _philox(counters[part], seed=seed)
    return result.reshape(counter.shape)


def _philox(counter: NDArray[np.uint32], *, seed: int) -> NDArray[np.uint64]:
    # In uint64, which holds the product of two 32-bit words.
    c0, c1, c2, c3 = (counter[..., i].astype(np.uint64) for i in range(4))
    k0, k1 = seed & 0xFFFFFFFF, (seed >> 32) & 0xFFFFFFFF
    for _ in range(_ROUNDS):
        p0, p1 = _MULTIPLIERS[0] * c0, _MULTIPLIERS[1] * c2
        c0, c1, c2, c3 = (
            (p1 >> _WORD) ^ c1 ^ np.uint64(k0),
            p1 & _LOW,
            (p0 >> _WORD) ^ c3 ^ np.uint64(k1),
            p0 & _LOW,
        )
        k0, k1 = (k0 + _WEYL[0]) & 0xFFFFFFFF, (k1 + _WEYL[1]) & 0xFFFFFFFF
    return np.stack([c0, c1, c2, c3], axis=-1)


def random_words(
    index: ArrayLike, *, seed: int, purpose: Purpose, epoch: int = 0, block: int = 0
) -> NDArray[np.uint32]:
    """Four random words for each index.

    Args:
        index: (...) integers, 0 to 2³² − 1.
        seed: 0 to ``MAX_SEED``.
        purpose: of the draw.
        epoch: the epoch, or the step for draws that are made every step.
        block: one of several draws for the same index.

    Returns:
        (..., 4) uint32.
    """
    index = np.asarray(index)
    counter = np.empty((*index.shape, 4), dtype=np.uint32)
    counter[..., 0] = index
    counter[..., 1] = epoch
    counter[..., 2] = block
    counter[..., 3] = purpose
    return philox4x32(counter, seed=seed)


def random_uniform(
    index: ArrayLike, *, seed: int, purpose: Purpose, epoch: int = 0, block: int = 0
) -> NDArray[np.float64]:
    """Four uniform numbers in [0, 1) for each index: (..., 4) float64, each a word / 2³²."""
    words = random_words(index, seed=seed, purpose=purpose, epoch=epoch, block=block)
    return words.astype(np.float64) * np.float64(2.0**-32)


def permutation(count: int, *, seed: int, purpose: Purpose, epoch: int = 0) -> NDArray[np.int64]:
    """A random order of 0 … count − 1: (count,) int64, sorted by 64 random bits each."""
    words = random_words(np.arange(count), seed=seed, purpose=purpose, epoch=epoch)
    keys = words[:, 0].astype(np.uint64) << _WORD | words[:, 1]
    # NumPy's unstable sort is five times as fast, and gives the same unless two keys are equal.
    order = np.argsort(keys)
    ordered = keys[order]
    if (ordered[1:] == ordered[:-1]).any():
        order = np.argsort(keys, kind="stable")
    return order.astype(np.int64, copy=False)
