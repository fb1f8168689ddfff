"""Plots for a notebook: learning curves, the ladder, a confusion matrix, and those of a search.

Each takes ``ax``, the Matplotlib axes to draw on, and returns the axes. Without ``ax`` pyplot makes
a figure, which a notebook shows.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

from kilonet.analysis import describe
from kilonet.errors import UsageError
from kilonet.formatting import percent
from kilonet.report.figures.axes import (
    COLORS,
    STYLES,
    axes_of,
    plain_legend,
    set_axes_title,
)
from kilonet.report.figures.search import front, importances, search
from kilonet.report.figures.text import plain
from kilonet.storage.record import RunRecord, Split, choosing_split
from kilonet.study import StudyResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import ArrayLike, NDArray

__all__ = ["confusion", "front", "importances", "ladder", "learning_curves", "search"]

MAX_NUMBERED_CLASSES = 20
"""With more classes the cells of a confusion matrix have no room for numbers."""

MAX_TICK_LETTERS = 24
"""Characters of a stage's or a class's name beside the axes."""


@runtime_checkable
class Classifier(Protocol):
    """What :func:`confusion` needs of a trained model."""

    @property
    def classes(self) -> Sequence[str]:
        """Names of the classes."""

    def evaluate(self, images: Any, labels: Any) -> Any:
        """An object whose ``confusion`` is (classes, classes) int64."""


def learning_curves(
    result: StudyResult | RunRecord | Sequence[RunRecord], *, ax: Axes | None = None
) -> Axes:
    """Accuracy by epoch.

    A run has a line for each of its accuracies. A study has a color a stage: a thin line a seed,
    and their mean over the epochs that all seeds have; validation accuracy, where every run has it,
    else test accuracy. Several records are drawn as a study's stage.

    Raises:
        UsageError: if there is no epoch, or it is none of the three.
    """
    if isinstance(result, RunRecord):
        groups: list[tuple[str, list[RunRecord]]] = [("", [result])]
        title, target = f"seed {result.run.train.seed}", None
    elif isinstance(result, StudyResult):
        groups = [(f"{s.stage.number}. {s.stage.name}", list(s.records)) for s in result.stages]
        title, target = result.study.name, result.study.target
    else:
        given: Any = result  # from an untyped notebook
        records = list(given) if isinstance(given, Sequence) else []
        if not records or not all(isinstance(record, RunRecord) for record in records):
            raise UsageError(
                f"an object of type {type(result).__name__} has no learning curves; give a study's "
                "result, a run's record, or a list of records"
            )
        groups, title, target = [("mean", records)], f"{len(records)} runs", None
    if not all(record.rows for _, records in groups for record in records) or not groups:
        raise UsageError("no epoch is finished, so there are no learning curves")
    axes = axes_of(ax)
    if isinstance(result, RunRecord):
        _draw_run(axes, result)
    else:
        split = choosing_split([record for _, records in groups for record in records])
        for i, (label, records) in enumerate(groups):
            _draw_seeds(axes, records, split=split, label=label, place=i)
        axes.set_ylabel(f"{split} accuracy, %")
    if target is not None:
        label = f"target {percent(target)}"
        axes.axhline(target, color="#333333", linewidth=1, linestyle=(0, (4, 3)), label=label)
    axes.set_xlabel("epoch")
    _whole_ticks(axes)
    set_axes_title(axes, title)
    plain_legend(axes.legend(frameon=False))
    return axes


def ladder(result: StudyResult, *, ax: Axes | None = None) -> Axes:
    """Final accuracy of each stage: a dot a seed, their mean, its 95 % interval, and the target.

    Validation accuracy, where every run has it, else test accuracy.

    Raises:
        UsageError: if no stage is finished, or it is no study's result.
    """
    if not isinstance(result, StudyResult):  # from an untyped notebook
        raise UsageError(
            f"an object of type {type(result).__name__} has no ladder; give a study's result"
        )
    if not result.stages:
        raise UsageError("no stage is finished, so there is no ladder")
    split = choosing_split([record for stage in result.stages for record in stage.records])
    axes = axes_of(ax)
    names = []
    for y, stage in enumerate(result.stages):
        finals = [split.final(record) for record in stage.records]
        found = describe(finals, limits=(0.0, 100.0))
        first = y == 0
        if len(finals) > 1:
            label = "a seed" if first else None
            axes.plot(finals, [y] * len(finals), "o", color=COLORS[5], markersize=5, label=label)
        if found.ci95 is not None:
            label = "95% interval of the mean" if first else None
            axes.plot(found.ci95, [y, y], "-", color=COLORS[0], linewidth=1.5, label=label)
        label = "mean" if first else None
        axes.plot([found.mean], [y], "D", color=COLORS[0], markersize=7, label=label)
        names.append(f"{stage.stage.number}. {stage.stage.name}")
    target = result.study.target
    label = f"target {percent(target)}"
    axes.axvline(target, color=COLORS[2], linewidth=1.2, linestyle="--", label=label)
    shown, style = plain(*names, most=MAX_TICK_LETTERS)
    axes.set_yticks(range(len(names)), shown, **style)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlabel(f"final {split} accuracy, %")
    set_axes_title(axes, result.study.name)
    plain_legend(axes.legend(frameon=False))
    return axes


def confusion(
    model: Classifier | ArrayLike,
    images: ArrayLike | None = None,
    labels: ArrayLike | None = None,
    *,
    classes: Sequence[str] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """A confusion matrix: true classes in rows, predicted ones in columns.

    A cell's number is its count of images, its shade the share of its row. With more than
    :data:`MAX_NUMBERED_CLASSES` classes there are no numbers.

    Args:
        model: a trained model with ``images`` and ``labels`` to evaluate it on; or a matrix,
            (classes, classes) counts.
        images: (n, h, w[, c]) uint8.
        labels: (n,) class indices.
        classes: their names; default the model's, or 0 upwards.
        ax: the axes to draw on.

    Raises:
        UsageError: if there is neither a model with images nor a square matrix of counts, or there
            are too many or too few names.
    """
    if isinstance(model, Classifier):
        if images is None or labels is None:
            raise UsageError("a model's confusion takes images and labels to evaluate it on")
        counts = _matrix(model.evaluate(images, labels).confusion)
        names = list(model.classes if classes is None else classes)
    else:
        if images is not None or labels is not None:
            raise UsageError("images and labels go with a model; this is a matrix")
        counts = _matrix(model)
        names = [str(i) for i in range(len(counts))] if classes is None else list(classes)
    if len(names) != len(counts):
        raise UsageError(f"{len(names)} class names for {len(counts)} classes")
    axes = axes_of(ax)
    totals = counts.sum(axis=1, keepdims=True)
    share = np.divide(counts, totals, out=np.zeros(counts.shape), where=totals > 0)
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    shown, style = plain(*names, most=MAX_TICK_LETTERS)
    places = range(len(names))
    turned: dict[str, Any] = {"rotation": 90} if max(map(len, shown)) > 3 else {}
    axes.set_xticks(places, shown, **style, **turned)
    axes.set_yticks(places, shown, **style)
    if len(names) <= MAX_NUMBERED_CLASSES:
        for (row, column), count in np.ndenumerate(counts):
            color = "white" if share[row, column] > 0.5 else "black"
            text = f"{count:,.4g}" if count % 1 else f"{count:,.0f}"
            axes.text(column, row, text, ha="center", va="center", color=color, fontsize=8)
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    total = counts.sum()
    right = f", {percent(100 * np.trace(counts) / total)} correct" if total else ""
    set_axes_title(axes, f"{total:,.0f} images{right}")
    return axes


def _draw_run(axes: Axes, record: RunRecord) -> None:
    """The training, test and, with a split, validation accuracy of a run."""
    epochs = [row.epoch for row in record.rows]
    lines = {"train": [row.train_accuracy for row in record.rows]}
    splits = (choosing_split([record]), *([Split.TEST] if record.tested else []))
    for split in dict.fromkeys(splits):
        lines[split.value] = split.accuracies(record)
    # Test is blue and whole, as in the reports; train vermilion and dashed.
    looks = {"train": (COLORS[1], "--"), "test": (COLORS[0], "-"), "validation": (COLORS[2], "-.")}
    for name, values in lines.items():
        color, style = looks[name]
        axes.plot(epochs, values, color=color, linestyle=style, marker=".", label=name)
    axes.set_ylabel("accuracy, %")


def _draw_seeds(
    axes: Axes, records: Sequence[RunRecord], *, split: Split, label: str, place: int
) -> None:
    """A thin line a seed and, of several, their mean."""
    color = COLORS[place % len(COLORS)]
    style = STYLES[place // len(COLORS) % len(STYLES)]
    curves = [split.accuracies(record) for record in records]
    several = len(curves) > 1
    look: dict[str, Any] = {"color": color, "linestyle": style}
    look |= {"linewidth": 0.8, "alpha": 0.4} if several else {"linewidth": 2.0, "label": label}
    for record, curve in zip(records, curves, strict=True):
        axes.plot([row.epoch for row in record.rows], curve, **look)
    if several:
        shared = min(map(len, curves))
        epochs = [row.epoch for row in records[0].rows[:shared]]
        mean = [fmean(values) for values in zip(*(c[:shared] for c in curves), strict=True)]
        axes.plot(epochs, mean, color=color, linestyle=style, linewidth=2.0, label=label)


def _whole_ticks(axes: Axes) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def _matrix(counts: object) -> NDArray[np.float64]:
    """Square counts as float64: a mean of several seeds is no whole number."""
    try:
        matrix = np.asarray(counts, dtype=np.float64)
    except (TypeError, ValueError):
        raise UsageError(
            f"an object of type {type(counts).__name__} is neither a trained model nor a confusion "
            "matrix"
        ) from None
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or not matrix.size:
        raise UsageError(
            f"an array of shape {matrix.shape} is no confusion matrix; it has a row and a column "
            "for each class"
        )
    if not np.isfinite(matrix).all() or (matrix < 0).any():
        raise UsageError("a confusion matrix holds counts, which are at least 0")
    return matrix
