"""Teachers of a run: their networks, and what a student learns from them."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import zip_longest
from typing import TYPE_CHECKING

import numpy as np

from kilonet.errors import DataError, StorageError
from kilonet.spec import Run, graph
from kilonet.spec.lineage import TEACHER
from kilonet.storage.trained import read_source

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from kilonet.engine.base import Arrays
    from kilonet.spec import Net
    from kilonet.storage.provenance import Normalization
    from kilonet.storage.trained import TrainedNetwork


@dataclass(frozen=True, kw_only=True, eq=False)
class TeacherNetwork:
    """A trained network that a student learns from.

    Attributes:
        run: its network alone, with the defaults of a training: what an engine is created for.
        weights: by PyTorch's names.
        normalization: of its input, which may differ from the student's.
    """

    run: Run
    weights: Arrays
    normalization: Normalization


def read_teachers(run: Run) -> list[TeacherNetwork]:
    """The networks of a run's teachers; none of a run without.

    Raises:
        StorageError: as :func:`kilonet.storage.trained.read_source`; or a teacher is a module of
            the user's own, or its folder does not state its normalization.
        DataError: a teacher has another input or another number of classes than the run's network.
    """
    if run.train.teacher is None:
        return []
    return [
        _checked(read_source(TEACHER, source), run.net, source.folder)
        for source in run.train.teacher.runs
    ]


def check_classes(run: Run, classes: Sequence[str]) -> None:
    """Raise DataError if a teacher has learned other classes than those of the run's images.

    Args:
        run: whose teachers' folders are read.
        classes: the names of the images' classes, in the order of the labels.
    """
    for source in () if run.train.teacher is None else run.train.teacher.runs:
        own = read_source(TEACHER, source).record.provenance.data.classes
        if own and own != tuple(classes):
            pairs = enumerate(zip_longest(own, classes, fillvalue="missing"))
            label, (known, given) = next((i, pair) for i, pair in pairs if pair[0] != pair[1])
            raise DataError(
                f"{TEACHER}: {source.folder}: its class {label} is {known!r}, that of the images "
                f"{given!r}; a teacher needs the classes of the images"
            )


def soft_targets(
    logits: Sequence[NDArray[np.float32]], *, temperature: float
) -> NDArray[np.float32]:
    """The mean over the teachers of softmax(logits / temperature).

    Args:
        logits: of each teacher, (n, classes) float32.
        temperature: above 0.

    Returns:
        (n, classes) float32; computed in float64.
    """
    total = np.zeros(logits[0].shape, np.float64)
    for each in logits:
        shifted = each.astype(np.float64)
        shifted -= shifted.max(axis=1, keepdims=True)
        np.exp(shifted / temperature, out=shifted)
        total += shifted / shifted.sum(axis=1, keepdims=True)
    return (total / len(logits)).astype(np.float32)


def _checked(trained: TrainedNetwork, net: Net, folder: str) -> TeacherNetwork:
    """A teacher for a student of this network."""
    run = trained.record.run
    where = f"{TEACHER}: {folder}"
    if run.module is not None:
        raise StorageError(
            f"{where}: trained your own module {run.module.name!r}, which kilonet does not keep; "
            "a teacher is a network of kilonet's layers"
        )
    if not trained.normalization.mean:
        raise StorageError(
            f"{where}: a run of version 0.1, which did not record its normalization; train it again"
        )
    own = run.net
    if own.input != net.input:
        raise DataError(
            f"{where}: its input is {graph.show(own.input)}, that of the network "
            f"{graph.show(net.input)}; a teacher sees the same images"
        )
    if own.num_classes != net.num_classes:
        raise DataError(
            f"{where}: it has {own.num_classes} classes, the network {net.num_classes}; a teacher "
            "needs the same"
        )
    return TeacherNetwork(
        run=Run(net=own), weights=trained.weights, normalization=trained.normalization
    )
