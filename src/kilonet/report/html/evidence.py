"""What the test logits of a rung's runs, and the images they belong to, show beyond the rows.

The images are not in the records. Where they are gone, or are others now, the report says so in the
place of what needs them.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kilonet.analysis import Errors, rung_errors
from kilonet.data import Dataset
from kilonet.errors import DataError, KilonetError
from kilonet.report.html.pictures import Picture, picture
from kilonet.report.markdown import is_named_from_the_start
from kilonet.run import Images
from kilonet.store import RunFolder
from kilonet.study import RungResult
from kilonet.table import Table

MAX_MATRIX_CLASSES = 20
"""With more classes a confusion matrix is no longer read; the pairs are listed instead."""

MAX_PAIRS = 10
"""Pairs of classes that are listed."""

SHADES = (0.0005, 0.002, 0.005, 0.02)
"""Shares of a class's images from which on a cell of the matrix is a shade darker."""


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """A rung's errors and the images they were made on.

    Attributes:
        errors: of all its seeds.
        images: the test images as the network sees them, before normalisation, and the training
            images.
        classes: their names.
    """

    errors: Errors
    images: Images
    classes: tuple[str, ...]


class Archive:
    """Looks up evidence; each data set is loaded once.

    Args:
        load: name or path → data set.
    """

    def __init__(self, load: Callable[[str], Dataset]) -> None:
        self._load = load
        self._datasets: dict[str, Dataset] = {}

    def evidence(self, ran: RungResult) -> Evidence | str:
        """A rung's evidence, or the sentence that says why there is none."""
        try:
            dataset = self._dataset(ran)
            errors = rung_errors(ran, dataset)
            images = Images.of(ran.rung.run, dataset)
        except KilonetError as error:
            return _said(error, ran)
        return Evidence(errors=errors, images=images, classes=dataset.classes)

    def images(self, ran: RungResult) -> tuple[Images, tuple[str, ...]] | str:
        """A rung's images and the names of their classes, or why there are none."""
        try:
            dataset = self._dataset(ran)
            return Images.of(ran.rung.run, dataset), dataset.classes
        except KilonetError as error:
            return _said(error, ran)

    def weights(self, ran: RungResult) -> dict[str, NDArray[np.generic]] | str:
        """The weights of a rung's first run, or why there are none."""
        try:
            return RunFolder(ran.records[0].path).weights()
        except KilonetError as error:
            return _said(error, ran)

    def _dataset(self, ran: RungResult) -> Dataset:
        name = ran.rung.run.data.name
        if name not in self._datasets:
            self._datasets[name] = self._load(name)
        dataset = self._datasets[name]
        if ran.records[0].environment.get("data", {}).get("sha256") != dataset.fingerprint:
            raise DataError(f"{name} holds other images now than those it was trained on")
        return dataset


def _said(error: KilonetError, ran: RungResult) -> str:
    """Why something is not shown; a page that is published names no folder of this machine."""
    folder = ran.records[0].path.parent
    said = str(error).replace(f"{folder}{os.sep}", "")
    if isinstance(error, DataError) and is_named_from_the_start(ran.rung.run.data.name):
        said += "; its path begins at the folder the training was started in, so report from there"
    return f"Not shown: {said}."


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A cell of the confusion matrix: its text, and the class of its shade."""

    text: str
    shade: str


@dataclass(frozen=True, kw_only=True)
class MatrixRow:
    """Images of one class: how many of them were taken for each."""

    label: str
    cells: tuple[Cell, ...]


def matrix(evidence: Evidence) -> list[MatrixRow]:
    """The confusion matrix, a true class a row; none where there are too many classes to read."""
    if len(evidence.classes) > MAX_MATRIX_CLASSES:
        return []
    confusion = evidence.errors.confusion
    rows = []
    for i, label in enumerate(evidence.classes):
        total = float(confusion[i].sum())
        cells = tuple(
            Cell(
                text=mean_count(float(value), seeds=evidence.errors.seeds),
                shade="right" if i == j else _shade(float(value), total=total),
            )
            for j, value in enumerate(confusion[i])
        )
        rows.append(MatrixRow(label=label, cells=cells))
    return rows


def pairs(evidence: Evidence) -> Table:
    """The pairs of classes that are taken for one another most often."""
    errors = evidence.errors
    rows: tuple[tuple[str, ...], ...] = tuple(
        (
            evidence.classes[pair.label],
            evidence.classes[pair.predicted],
            mean_count(pair.mean_count, seeds=errors.seeds),
            f"{pair.seeds} of {errors.seeds}",
        )
        for pair in errors.pairs[:MAX_PAIRS]
    )
    columns: tuple[str, ...] = ("Class", "Taken for", "Images", "Seeds")
    if errors.seeds == 1:
        columns, rows = columns[:-1], tuple(row[:-1] for row in rows)
    return Table(columns=columns, rows=rows, left=frozenset({0, 1}))


def mean_count(value: float, *, seeds: int) -> str:
    """A count, or a mean of counts over the seeds, to one decimal where that says something."""
    return f"{value:,.0f}" if seeds == 1 or value == 0 or value >= 100 else f"{value:,.1f}"


def _shade(value: float, *, total: float) -> str:
    if value == 0:
        return "none"
    return f"shade-{sum(value >= share * total for share in SHADES)}"


@dataclass(frozen=True, kw_only=True)
class Mistake:
    """An image of the gallery.

    Attributes:
        picture: the image.
        index: in the test set.
        label, predicted: names of the classes.
        wrong: ``3 of 5``, seeds.
        probability_label, probability_predicted: percent, in words.
        doubtful: whether people asked doubted the label, :mod:`kilonet.analysis.doubtful`.
    """

    picture: Picture
    index: int
    label: str
    predicted: str
    wrong: str
    probability_label: str
    probability_predicted: str
    doubtful: bool


def gallery(evidence: Evidence, *, most: int) -> list[Mistake]:
    """The images that most seeds get wrong, the hardest first."""
    found = []
    doubtful = {image.index for image in evidence.errors.doubtful}
    for hard in evidence.errors.hard[:most]:
        label, predicted = evidence.classes[hard.label], evidence.classes[hard.predicted]
        alt = f"Test image {hard.index}, labelled {label}"
        found.append(
            Mistake(
                picture=picture(evidence.images.test_images[hard.index], alt=alt),
                index=hard.index,
                label=label,
                predicted=predicted,
                wrong=f"{hard.wrong} of {hard.seeds}",
                probability_label=f"{hard.probability_label:.0%}",
                probability_predicted=f"{hard.probability_predicted:.0%}",
                doubtful=hard.index in doubtful,
            )
        )
    return found


def calibration_table(evidence: Evidence) -> Table:
    """The bins of the calibration curve."""
    rows = tuple(
        (
            f"{b.low:.0%} to {b.high:.0%}",
            f"{100 * b.confidence:.1f}%",
            f"{100 * b.accuracy:.1f}%",
            f"{b.count:,}",
        )
        for b in evidence.errors.calibration.bins
    )
    columns = ("Confidence", "Mean confidence", "Accuracy", "Predictions")
    return Table(columns=columns, rows=rows)
