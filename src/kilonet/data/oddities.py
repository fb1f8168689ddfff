"""What is odd about a data set: allowed, but rarely meant."""

from __future__ import annotations

import hashlib
import logging
import multiprocessing
from typing import TYPE_CHECKING

import numpy as np

from kilonet.data.doubtful_labels import MNIST_FINGERPRINT
from kilonet.formatting import listed, percent

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from kilonet.data.dataset import Dataset

_log = logging.getLogger(__name__)

_IMBALANCE = 10
"""The largest class is said to dominate if it has as many times the images of the smallest."""

_MOST_NAMES = 5

_warned: set[tuple[str, str]] = set()


def warn_of_oddities(dataset: Dataset) -> None:
    """Log each oddity as a warning, once a data set; not in a study's worker, whose parent did."""
    where = dataset.source or dataset.name
    key = (where, dataset.fingerprint)
    if key in _warned or multiprocessing.parent_process() is not None:
        return
    if (dataset.fingerprint, dataset.num_classes) == (MNIST_FINGERPRINT, 10):
        return  # has none, and to look again takes a fifth of the time before training
    _warned.add(key)
    for line in oddities(dataset):
        _log.warning("kilonet: %s: %s", where, line)


def oddities(dataset: Dataset) -> tuple[str, ...]:
    """A sentence for each: classes without images, imbalance, test images that are trained on.

    And equal images of different classes. Reads every pixel: 0.15 s for MNIST.
    """
    train = np.bincount(dataset.train_labels, minlength=dataset.num_classes)
    test = None
    if dataset.has_test:
        test = np.bincount(dataset.test_labels, minlength=dataset.num_classes)
    return (
        *_missing(dataset.classes, train, test),
        *_imbalance(dataset.classes, train),
        *_duplicates(dataset),
    )


def _missing(
    classes: Sequence[str], train: NDArray[np.int64], test: NDArray[np.int64] | None
) -> Iterator[str]:
    """Classes that lack images of a split.

    ``train`` and ``test`` count those of each class; ``test`` is None without test images.
    """
    has_test = test is not None
    test = train if test is None else test

    def those(which: NDArray[np.bool_]) -> str:
        named = _named([classes[i] for i in np.flatnonzero(which).tolist()])
        return f"{named} {'has' if which.sum() == 1 else 'have'}"

    empty = (train == 0) & (test == 0)
    first = int(np.argmin(empty))
    if first and all(classes[i] == str(i) for i in range(first)):
        below = empty & (np.arange(len(empty)) < first)
        yield (
            f"the labels begin at {first}: {those(below)} no images, but the network needs "
            f"{'an output' if first == 1 else 'outputs'} for {'it' if first == 1 else 'them'}; "
            f"subtract {first} if the labels count from {first}"
        )
        empty &= ~below
    if empty.any():
        yield f"{those(empty)} no images"
    if (only_test := (train == 0) & (test > 0)).any():
        yield f"{those(only_test)} test images but no training images"
    if has_test and (only_train := (train > 0) & (test == 0)).any():
        yield f"{those(only_train)} no test images"
    if (single := train == 1).any():
        yield f"{those(single)} a single training image"


def _imbalance(classes: Sequence[str], train: NDArray[np.int64]) -> Iterator[str]:
    present = np.flatnonzero(train)
    if len(present) == 1:
        yield f"all training images are of {_named([classes[present[0]]])}"
        return
    most, least = present[np.argmax(train[present])], present[np.argmin(train[present])]
    if train[most] >= _IMBALANCE * train[least]:
        shares = [100 * train[i] / train.sum() for i in (most, least)]
        yield (
            f"{_named([classes[most]])} has {percent(shares[0])} of the training images, "
            f"{_named([classes[least]])} {percent(shares[1])}"
        )


def _duplicates(dataset: Dataset) -> Iterator[str]:
    train = [_digest(image) for image in dataset.train_images]
    test = [_digest(image) for image in dataset.test_images]
    trained = set(train)
    both = sum(digest in trained for digest in test)
    if both:
        number = f"{both:,} of {len(test):,} test images"
        yield f"{number} {'is a training image' if both == 1 else 'are training images'} too"
    yield from _relabeled(dataset, [*train, *test])


def _relabeled(dataset: Dataset, digests: Sequence[bytes]) -> Iterator[str]:
    """Equal images of different classes; a digest for each training image, then each test image."""
    labels = np.concatenate([dataset.train_labels, dataset.test_labels]).tolist()
    first: dict[bytes, int] = {}
    unlike: dict[bytes, int] = {}
    for i, digest in enumerate(digests):
        if labels[first.setdefault(digest, i)] != labels[i]:
            unlike.setdefault(digest, i)

    def place(i: int) -> str:
        num_train = len(dataset.train_labels)
        split, index = ("training", i) if i < num_train else ("test", i - num_train)
        return f"{split} image {index:,} ({_named([dataset.classes[labels[i]]])})"

    if unlike:
        number = f"{len(unlike):,} image{' has' if len(unlike) == 1 else 's have'}"
        digest, i = next(iter(unlike.items()))
        example = f"{place(first[digest])} and {place(i)}"
        yield f"{number} different labels in different places, such as {example}"


def _digest(image: NDArray[np.uint8]) -> bytes:
    return hashlib.blake2b(image.tobytes(), digest_size=16).digest()


def _named(names: Sequence[str]) -> str:
    """``class 3``, ``classes 'cat' and 'dog'``, ``classes 0, 1, 2, 3, 4 and 7 more``."""
    shown = [name if name.isdigit() else f"'{name}'" for name in names[:_MOST_NAMES]]
    if len(names) > len(shown):
        shown.append(f"{len(names) - len(shown)} more")
    return f"class{'es' if len(names) > 1 else ''} {listed(shown)}"
