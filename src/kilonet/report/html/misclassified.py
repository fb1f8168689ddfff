"""A stage's errors: confusion matrix, pairs of classes, hardest images, calibration."""

from __future__ import annotations

from kilonet.analysis.misclassified import HardImage
from kilonet.report.html.artifacts import StageErrors
from kilonet.report.html.pictures import Picture, picture
from kilonet.table import Table

MAX_MATRIX_CLASSES = 20
"""With more classes a confusion matrix is unreadable; the pairs alone are listed."""

MAX_PAIRS = 10
"""Pairs of classes that are listed."""

SHADES = (0.0005, 0.002, 0.005, 0.02)
"""Shares of a class's images at which a cell of the matrix gets a darker shade."""


def matrix(stage: StageErrors) -> list[tuple[str, list[tuple[str, str]]]]:
    """The confusion matrix: the name of each class, then (text, CSS class) of its row's cells.

    Rows are true classes, columns predicted ones. Empty with too many classes to read.
    """
    classes, errors = stage.images.classes, stage.errors
    if len(classes) > MAX_MATRIX_CLASSES:
        return []
    rows = []
    for i, label in enumerate(classes):
        counts = [float(value) for value in errors.confusion[i]]
        cells = [
            (
                mean_count(value, seeds=errors.seeds),
                "right" if i == j else _shade(value, total=sum(counts)),
            )
            for j, value in enumerate(counts)
        ]
        rows.append((label, cells))
    return rows


def pairs(stage: StageErrors) -> Table:
    """The pairs of classes confused most often."""
    errors = stage.errors
    rows: tuple[tuple[str, ...], ...] = tuple(
        (
            stage.images.classes[pair.label],
            stage.images.classes[pair.predicted],
            mean_count(pair.mean_count, seeds=errors.seeds),
            f"{pair.seeds} of {errors.seeds}",
        )
        for pair in errors.pairs[:MAX_PAIRS]
    )
    columns: tuple[str, ...] = ("Class", "Predicted", "Images", "Seeds")
    if errors.seeds == 1:
        columns, rows = columns[:-1], tuple(row[:-1] for row in rows)
    return Table(columns=columns, rows=rows, left=frozenset({0, 1}))


def mean_count(value: float, *, seeds: int) -> str:
    """A count; a mean over several seeds has one decimal, where it is small."""
    return f"{value:,.0f}" if seeds == 1 or value == 0 or value >= 100 else f"{value:,.1f}"


def _shade(value: float, *, total: float) -> str:
    if value == 0:
        return "none"
    return f"shade-{sum(value >= share * total for share in SHADES)}"


def gallery(stage: StageErrors, *, most: int) -> list[tuple[HardImage, Picture]]:
    """The images that most seeds get wrong, the hardest first; ``most`` at most."""
    return [
        (
            hard,
            picture(
                stage.images.data.test_images[hard.index],
                alt=f"Test image {hard.index}, labeled {stage.images.classes[hard.label]}",
            ),
        )
        for hard in stage.errors.hard[:most]
    ]


def calibration_table(stage: StageErrors) -> Table:
    """The bins of the calibration curve."""
    rows = tuple(
        (
            f"{b.low:.0%} to {b.high:.0%}",
            f"{100 * b.confidence:.1f}%",
            f"{100 * b.accuracy:.1f}%",
            f"{b.count:,}",
        )
        for b in stage.errors.calibration.bins
    )
    columns = ("Confidence", "Mean confidence", "Accuracy", "Predictions")
    return Table(columns=columns, rows=rows)
