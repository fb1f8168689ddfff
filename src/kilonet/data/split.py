"""Which training images are held out for validation, and which of the others are trained on.

The same fraction of every class, in both.
"""

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
    """Split training images into a training and a validation part, stratified by class.

    The number of validation images of each class follows from the largest remainder method (the
    lower class first if remainders are equal), but at least one image of each class stays for
    training. Which images of a class are chosen is a pure function of (seed, index).

    Args:
        labels: (n,) integers from 0, the labels of the training images.
        amount: size of the validation part: a count (int) or a fraction of all images (float, in
            (0, 1)), rounded to the nearest count.
        seed: 0 to ``kilonet.randomness.MAX_SEED``.

    Returns:
        The training and the validation indices, each ascending, (n − k,) and (k,) int64.

    Raises:
        DataError: an empty validation part, or a class without a training image.
    """
    class_counts = np.bincount(labels)
    count = _validation_count(amount, class_counts=class_counts)
    held_out = _apportion(class_counts, count=count)

    order = permutation(len(labels), seed=seed, purpose=Purpose.VALIDATION_SPLIT)
    # Sorted by class, and within a class in random order: the first of each class are held out.
    by_class = order[np.argsort(labels[order], kind="stable")]
    first_of_class = np.cumsum(class_counts) - class_counts
    rank = np.arange(len(labels)) - np.repeat(first_of_class, class_counts)
    validation = rank < np.repeat(held_out, class_counts)
    return np.sort(by_class[~validation]), np.sort(by_class[validation])


def training_subset(
    labels: NDArray[np.int64], index: NDArray[np.int64], *, amount: float, seed: int
) -> NDArray[np.int64]:
    """Choose training images to train on, stratified by class.

    The images of each class, in random order, have the priorities 1/n, 3/n, 5/n, … (n: the class's
    images; the lower class first if equal), but the first of each class comes before all others.
    Those of the lowest priority are chosen: Webster's method of apportionment. Unlike that of the
    largest remainder it gives no class fewer images if more are chosen. So a subset contains every
    smaller one of the same seed.

    Args:
        labels: (n,) integers from 0, the labels of all training images.
        index: (m,) integers, the images to choose from, ascending.
        amount: a count (int) or a fraction of ``index`` (float, in (0, 1]), rounded to the nearest
            count.
        seed: 0 to ``kilonet.randomness.MAX_SEED``.

    Returns:
        (k,) int64, ascending.

    Raises:
        DataError: fewer images than classes, or more than there are.
    """
    class_counts = np.bincount(labels[index])
    count = _subset_count(amount, class_counts=class_counts)
    if count == len(index):
        return index
    # Of the whole training set, so that the choice among other images is the same for each split.
    shuffled = permutation(len(labels), seed=seed, purpose=Purpose.TRAINING_SUBSET)
    order = shuffled[np.isin(shuffled, index, assume_unique=True)]
    by_class = order[np.argsort(labels[order], kind="stable")]
    first_of_class = np.cumsum(class_counts) - class_counts
    rank = np.arange(len(index)) - np.repeat(first_of_class, class_counts)
    # Equal fractions are equal in float64, and others differ: they are of integers below 2²⁶.
    priority = np.where(rank == 0, 0.0, (2 * rank + 1) / np.repeat(class_counts, class_counts))
    chosen = np.argsort(priority, kind="stable")[:count]
    return np.sort(by_class[chosen])


def _subset_count(amount: float, *, class_counts: NDArray[np.int64]) -> int:
    total, classes = int(class_counts.sum()), int(np.count_nonzero(class_counts))
    if isinstance(amount, float):
        if not 0.0 < amount <= 1.0:
            raise DataError(
                f"a training subset of {amount}: a fraction must be above 0 and at most 1 (write a "
                "count without a decimal point)"
            )
        count = round(amount * total)
        stated = f"{amount} of {total:,} images ({count:,})"
    else:
        count = int(amount)
        stated = f"{count:,} of {total:,} images"
    if count < classes:
        raise DataError(
            f"a training subset of {stated}: must have an image of each of the {classes} classes; "
            "raise data.subset"
        )
    if count > total:
        raise DataError(f"a training subset of {stated}; lower data.subset, or remove it")
    return count


def _validation_count(amount: float, *, class_counts: NDArray[np.int64]) -> int:
    total = int(class_counts.sum())
    most = total - int(np.count_nonzero(class_counts))
    if isinstance(amount, float):
        if not 0.0 < amount < 1.0:
            raise DataError(
                f"a validation split of {amount}: a fraction must be between 0 and 1 (write a "
                f"count without a decimal point)"
            )
        count = round(amount * total)
        stated = f"{amount} of {total:,} images ({count:,})"
    else:
        count = int(amount)
        stated = f"{count:,} of {total:,} images"
    if count < 1:
        raise DataError(
            f"a validation split of {stated}: must have at least 1 image; raise data.validation"
        )
    if not most:
        raise DataError(
            f"a validation split of {stated}: each class has a single image, which is needed for "
            f"training; remove data.validation"
        )
    if count > most:
        raise DataError(
            f"a validation split of {stated} leaves a class without training images; it can have "
            f"at most {most:,}"
        )
    return count


def _apportion(class_counts: NDArray[np.int64], *, count: int) -> NDArray[np.int64]:
    """Validation images of each class; in integers, so that equal remainders compare equal."""
    sizes = [int(size) for size in class_counts]
    total = sum(sizes)
    taken = [count * size // total for size in sizes]
    by_remainder = sorted(range(len(sizes)), key=lambda i: -(count * sizes[i] % total))
    while (left := count - sum(taken)) > 0:
        # More than one round only if a class has no image to spare.
        able = [i for i in by_remainder if taken[i] < sizes[i] - 1]
        for i in able[:left]:
            taken[i] += 1
    return np.array(taken, dtype=np.int64)
