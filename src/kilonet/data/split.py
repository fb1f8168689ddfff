"""The validation split: training images set aside, the same share of every class."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kilonet.errors import DataError
from kilonet.randomness import Purpose, permutation

if TYPE_CHECKING:
    from numpy.typing import NDArray


def validation_split(
    labels: NDArray[np.int64], *, amount: float, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Divide training images into those that train and those that validate.

    Stratified: each class gives its share of ``amount`` by the method of the largest remainder (of
    equal remainders the lower class first), but keeps at least one image to train on. Which images
    of a class go is a pure function of (seed, index).

    Args:
        labels: (n,) integers from 0, the labels of the training images.
        amount: how many images validate: a count (int) or a fraction of all (float, in (0, 1)),
            rounded to the nearest count.
        seed: 0 to ``kilonet.randomness.MAX_SEED``.

    Returns:
        The indices that train and those that validate, each ascending, (n − k,) and (k,) int64.

    Raises:
        DataError: nothing to validate on, or not an image of every class left to train on.
    """
    class_counts = np.bincount(labels)
    count = _validation_count(amount, class_counts=class_counts)
    taken = _apportion(class_counts, count=count)

    order = permutation(len(labels), seed=seed, purpose=Purpose.VALIDATION_SPLIT)
    # Sorted by class, and within a class by the random order: the first of each class validate.
    by_class = order[np.argsort(labels[order], kind="stable")]
    first_of_class = np.cumsum(class_counts) - class_counts
    rank = np.arange(len(labels)) - np.repeat(first_of_class, class_counts)
    validates = rank < np.repeat(taken, class_counts)
    return np.sort(by_class[~validates]), np.sort(by_class[validates])


def _validation_count(amount: float, *, class_counts: NDArray[np.int64]) -> int:
    total = int(class_counts.sum())
    most = total - int(np.count_nonzero(class_counts))
    if isinstance(amount, float):
        if not 0.0 < amount < 1.0:
            raise DataError(
                f"a validation split of {amount}: a fraction must lie between 0 and 1 (a count is "
                f"written without a decimal point)"
            )
        count = round(amount * total)
        stated = f"{amount} of {total:,} images ({count:,})"
    else:
        count = int(amount)
        stated = f"{count:,} of {total:,} images"
    if count < 1:
        raise DataError(f"a validation split of {stated}: at least 1 image must validate")
    if count > most:
        raise DataError(
            f"a validation split of {stated} leaves no training image for every class; at most "
            f"{most:,} can validate"
        )
    return count


def _apportion(class_counts: NDArray[np.int64], *, count: int) -> NDArray[np.int64]:
    """How many of each class validate: whole numbers, so that equal remainders are really equal."""
    sizes = [int(size) for size in class_counts]
    total = sum(sizes)
    taken = [count * size // total for size in sizes]
    by_remainder = sorted(range(len(sizes)), key=lambda i: -(count * sizes[i] % total))
    while (left := count - sum(taken)) > 0:
        # More than one round only where a class has no image left to give.
        able = [i for i in by_remainder if taken[i] < sizes[i] - 1]
        for i in able[:left]:
            taken[i] += 1
    return np.array(taken, dtype=np.int64)
