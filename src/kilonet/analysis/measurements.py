"""A stage's runs in numbers: levels, gap, movement and trend.

There are two windows: the last five epochs and the five before; of shorter runs half the epochs
each, and where a half is less than three the last epoch alone (:func:`window_of`). So a window
never covers a run, whose first epochs show how it starts, not where it ends. Every number is an
average over the seeds; spreads are pooled within runs, so that differences between seeds do not
count as movement between epochs.

Accuracies are read from a split. The test set is for reporting; what leads to a choice, as a
suggestion does, is read from the validation split where the runs have one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean, linear_regression, variance

from kilonet.analysis.descriptive import binomial_error
from kilonet.formatting import last_epochs
from kilonet.storage.record import RunRecord, Split

WINDOW = 5
"""Epochs in a window."""

MIN_WINDOW = 3
"""The fewest epochs that have a movement about their trend: a line takes two. Shorter halves of a
run are no window: then the last epoch stands for the end."""


def window_of(epochs: int) -> int:
    """Epochs in the last window of a run of ``epochs``: five, three or four, or the last alone."""
    half = min(WINDOW, epochs // 2)
    return half if half >= MIN_WINDOW else 1


@dataclass(frozen=True, kw_only=True)
class Change:
    """From the window before to the last one, or within the last one; percentage points.

    Attributes:
        value: the change, a mean over the seeds.
        error: its standard error, from the movement within the windows.
    """

    value: float
    error: float


@dataclass(frozen=True, kw_only=True)
class Measurements:
    """A stage's runs in numbers; accuracies in percent, differences in percentage points.

    Accuracies are of ``split``, but for the training accuracy.

    Attributes:
        split: the images that accuracies are measured on.
        images: how many they are.
        seeds: how many runs.
        epochs: of each run.
        window: epochs in the last window: 1, or 3 to 5.
        train_accuracy, accuracy: means of the last window.
        range: highest minus lowest accuracy of the last window, a run's, averaged.
        gap: mean training accuracy minus accuracy of the last window.
        binomial: standard error of ``accuracy`` that comes from the number of images.
        movement: standard deviation of the last window's accuracies about their straight line; None
            for a window of fewer than three epochs.
        fall: the largest fall of accuracy from one epoch of the last window to the next, a run's,
            averaged; 0 where it never falls.
        accuracy_change, gap_change: from the window before; None for runs too short for two.
        rise: of accuracy from the first to the last epoch of the last window, along its straight
            line; None for a window of fewer than three epochs.
        losses: mean training loss of each epoch, nats, over the epochs that all runs have.
        both_windows: epochs of both windows together, without the first of the run.
        both_gap, both_movement: ``gap`` and ``movement`` over these.
        lr_before: learning rate where the window before begins, first seed's.
        lr_last: of the last epoch, first seed's.
        lr_peak: the highest of the whole run, first seed's.
    """

    split: Split
    images: int
    seeds: int
    epochs: int
    window: int
    train_accuracy: float
    accuracy: float
    range: float
    gap: float
    binomial: float
    movement: float | None
    fall: float
    accuracy_change: Change | None
    gap_change: Change | None
    rise: Change | None
    losses: tuple[float, ...]
    both_windows: int
    both_gap: float
    both_movement: float | None
    lr_before: float
    lr_last: float
    lr_peak: float

    @property
    def material(self) -> float:
        """The least difference worth a sentence: half the binomial error, and one image at least.

        A smaller one adds at most an eighth (√(1 + ½²)) to the binomial error.
        """
        return max(0.5 * self.binomial, 100 / self.images)

    @property
    def at_end(self) -> str:
        """``over the last 5 epochs``, or ``in the last epoch``: where the last window is."""
        return f"{'in' if self.window == 1 else 'over'} {last_epochs(self.window)}"

    @property
    def mean_at_end(self) -> str:
        """``the mean test accuracy of the last 5 epochs``, or ``the test accuracy of …``."""
        mean = "" if self.window == 1 else "mean "
        return f"the {mean}{self.split} accuracy of {last_epochs(self.window)}"

    @property
    def gap_share(self) -> float:
        """The gap as a share of the error; 0 where there is no error."""
        return self.gap / (100 - self.accuracy) if self.accuracy < 100 else 0.0


def measure(
    records: Sequence[RunRecord], *, images: int, split: Split = Split.TEST
) -> Measurements:
    """Measure a stage's runs.

    Args:
        records: at least one, each with an epoch.
        images: how many the split has.
        split: the images whose accuracies are read.

    Raises:
        ValueError: if there is no run, or one without an epoch or without the split.
    """
    if not records or not all(record.rows for record in records):
        raise ValueError("nothing to measure: a stage needs a run, and a run an epoch")
    epochs = min(len(record.rows) for record in records)
    window = window_of(epochs)
    accuracies = [split.accuracies(record)[-2 * window :] for record in records]
    trains = [[row.train_accuracy for row in record.rows][-2 * window :] for record in records]
    # As one window they may not cover the run: its first epoch shows how it starts.
    both = max(1, min(2 * window, epochs - 1))
    gaps = [
        [train - accuracy for train, accuracy in zip(*run, strict=True)]
        for run in zip(trains, accuracies, strict=True)
    ]
    last = [run[-window:] for run in accuracies]
    accuracy = _mean_of_means(last)
    rows = records[0].rows
    return Measurements(
        split=split,
        images=images,
        seeds=len(records),
        epochs=epochs,
        window=window,
        train_accuracy=_mean_of_means([run[-window:] for run in trains]),
        accuracy=accuracy,
        range=fmean([max(run) - min(run) for run in last]),
        gap=_mean_of_means([run[-window:] for run in gaps]),
        binomial=binomial_error(accuracy, images=images),
        movement=_movement(last),
        fall=fmean([max([0.0, *(a - b for a, b in pairwise(run))]) for run in last]),
        accuracy_change=_change(accuracies, window=window),
        gap_change=_change(gaps, window=window),
        rise=_rise(last),
        losses=tuple(
            fmean([record.rows[i].train_loss for record in records]) for i in range(epochs)
        ),
        both_windows=both,
        both_gap=_mean_of_means([run[-both:] for run in gaps]),
        both_movement=_movement([run[-both:] for run in accuracies]),
        lr_before=rows[-2 * window :][0].lr,
        lr_last=rows[-1].lr,
        lr_peak=max(row.lr for row in rows),
    )


def _mean_of_means(runs: Sequence[Sequence[float]]) -> float:
    return fmean(map(fmean, runs))


def _movement(runs: Sequence[Sequence[float]]) -> float | None:
    """Pooled standard deviation about each run's least-squares line (n − 2 degrees of freedom)."""
    if len(runs[0]) < MIN_WINDOW:
        return None
    return math.sqrt(fmean(_line(run)[1] for run in runs))


def _rise(runs: Sequence[Sequence[float]]) -> Change | None:
    """Least-squares slopes times the window's length; the error from the pooled residuals."""
    n, movement = len(runs[0]), _movement(runs)
    if movement is None:
        return None
    spread = math.sqrt(len(runs) * variance(range(n)) * (n - 1))
    return Change(
        value=(n - 1) * fmean(_line(run)[0] for run in runs), error=(n - 1) * movement / spread
    )


def _line(values: Sequence[float]) -> tuple[float, float]:
    """Slope of the least-squares line over 0, 1, 2, …, and the variance of the residuals."""
    slope, start = linear_regression(range(len(values)), values)
    residuals = math.fsum((y - start - slope * x) ** 2 for x, y in enumerate(values))
    return slope, residuals / (len(values) - 2)


def _change(runs: Sequence[Sequence[float]], *, window: int) -> Change | None:
    """From each run's window before to its last, with Welch's standard error.

    Epochs count as independent draws; their trend inflates the error, so it errs high.
    """
    if window < MIN_WINDOW or len(runs[0]) < 2 * window:
        return None
    pairs = [(run[:window], run[window:]) for run in runs]
    variances = [(variance(before) + variance(last)) / window for before, last in pairs]
    value = fmean(fmean(last) - fmean(before) for before, last in pairs)
    return Change(value=value, error=math.sqrt(fmean(variances) / len(runs)))
