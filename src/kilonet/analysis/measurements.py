"""What the rows of a rung's runs show, as numbers: levels, gap, movement and trend.

Two windows are looked at: the last five epochs and the five before (fewer where a run is short).
Every number is an average over the seeds; spreads are pooled within runs, so that differences
between seeds don't pass for movement between epochs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from kilonet.analysis.statistics import binomial_error
from kilonet.record import EpochRow, RunRecord

WINDOW = 5
"""Epochs in a window."""

MIN_WINDOW = 3
"""The fewest epochs whose movement about their trend can be told: a line takes two."""


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
    """A rung's runs in numbers; accuracies in percent, differences in percentage points.

    Attributes:
        seeds: how many runs.
        epochs: of each run.
        window: epochs in the last window, at most five.
        images: of the test set.
        train, test: mean accuracies of the last window.
        low, high: lowest and highest test accuracy of the last window, a run's, averaged.
        gap: mean train minus test accuracy of the last window.
        binomial: standard error of ``test`` that the test set carries by itself.
        movement: standard deviation of the last window's test accuracies about their straight
            line; None for a window of fewer than three epochs.
        fall: the largest fall of test accuracy from one epoch of the last window to the next, a
            run's, averaged; 0 where it never falls.
        test_change, gap_change: from the window before; None for runs too short for two windows.
        rise: of test accuracy from the first to the last epoch of the last window, along its
            straight line; None for a window of fewer than three epochs.
        losses: mean training loss of each epoch, nats, over the epochs that all runs have.
        second_half: epochs of both windows together: the second part of the training, which is
            what rungs are compared by.
        second_half_gap, second_half_movement: over these.
        lr_before: learning rate where the window before begins, first seed's.
        lr_last: of the last epoch, first seed's.
        lr_peak: the highest of the whole run, first seed's.
    """

    seeds: int
    epochs: int
    window: int
    images: int
    train: float
    test: float
    low: float
    high: float
    gap: float
    binomial: float
    movement: float | None
    fall: float
    test_change: Change | None
    gap_change: Change | None
    rise: Change | None
    losses: tuple[float, ...]
    second_half: int
    second_half_gap: float
    second_half_movement: float | None
    lr_before: float
    lr_last: float
    lr_peak: float

    @property
    def material(self) -> float:
        """The least difference worth a sentence: half the binomial error, and one image at least.

        What moves a result by less adds little (√(1 + ½²), an eighth) to the error that the test
        set carries anyway.
        """
        return max(0.5 * self.binomial, 100 / self.images)

    @property
    def gap_share(self) -> float:
        """The gap as a share of the test error; 0 where there is no test error."""
        return self.gap / (100 - self.test) if self.test < 100 else 0.0


def measure(records: Sequence[RunRecord], *, test_images: int) -> Measurements:
    """Measure a rung's finished runs, all of the same length.

    Raises:
        ValueError: if there is no run, or one without an epoch.
    """
    if not records or not all(record.rows for record in records):
        raise ValueError("nothing to measure: a rung needs a run, and a run an epoch")
    runs = [record.rows for record in records]
    epochs = min(map(len, runs))
    window = min(WINDOW, epochs if epochs < 2 * MIN_WINDOW else epochs // 2)
    last = [rows[-window:] for rows in runs]
    before = [rows[-2 * window : -window] for rows in runs]
    second_half = [rows[-2 * window :] for rows in runs]
    test = _mean([_mean(_test(rows)) for rows in last])
    rows = runs[0]
    return Measurements(
        seeds=len(runs),
        epochs=epochs,
        window=window,
        images=test_images,
        train=_mean([_mean([row.train_accuracy for row in rows]) for rows in last]),
        test=test,
        low=_mean([min(_test(rows)) for rows in last]),
        high=_mean([max(_test(rows)) for rows in last]),
        gap=_mean([_mean(_gaps(rows)) for rows in last]),
        binomial=binomial_error(test, images=test_images),
        movement=_movement([_test(rows) for rows in last]),
        fall=_mean([_fall(_test(rows)) for rows in last]),
        test_change=_change(list(map(_test, before)), list(map(_test, last))),
        gap_change=_change(list(map(_gaps, before)), list(map(_gaps, last))),
        rise=_rise([_test(rows) for rows in last]),
        losses=tuple(_mean([rows[i].train_loss for rows in runs]) for i in range(epochs)),
        second_half=len(second_half[0]),
        second_half_gap=_mean([_mean(_gaps(rows)) for rows in second_half]),
        second_half_movement=_movement([_test(rows) for rows in second_half]),
        lr_before=rows[-2 * window :][0].lr,
        lr_last=rows[-1].lr,
        lr_peak=max(row.lr for row in rows),
    )


def _test(rows: Sequence[EpochRow]) -> list[float]:
    return [row.test_accuracy for row in rows]


def _gaps(rows: Sequence[EpochRow]) -> list[float]:
    return [row.gap for row in rows]


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def _fall(values: Sequence[float]) -> float:
    return max([0.0, *(before - after for before, after in pairwise(values))])


def _movement(runs: Sequence[Sequence[float]]) -> float | None:
    """Pooled standard deviation about each run's least-squares line (n − 2 degrees of freedom)."""
    if len(runs[0]) < MIN_WINDOW:
        return None
    return math.sqrt(_mean([_residual_variance(values) for values in runs]))


def _rise(runs: Sequence[Sequence[float]]) -> Change | None:
    """Least-squares slopes times the window's length; the error from the pooled residuals."""
    n, movement = len(runs[0]), _movement(runs)
    if movement is None:
        return None
    value = (n - 1) * _mean([_sums(values)[1] / _sums(values)[0] for values in runs])
    xx = _sums(runs[0])[0]
    return Change(value=value, error=(n - 1) * movement / math.sqrt(xx * len(runs)))


def _residual_variance(values: Sequence[float]) -> float:
    xx, xy, yy = _sums(values)
    return max(0.0, yy - xy * xy / xx) / (len(values) - 2)


def _sums(values: Sequence[float]) -> tuple[float, float, float]:
    """Of the values y over x = 0, 1, 2, …: Σ (x − x̄)², Σ (x − x̄)(y − ȳ) and Σ (y − ȳ)²."""
    centre, mean = (len(values) - 1) / 2, _mean(values)
    xx = math.fsum((i - centre) ** 2 for i in range(len(values)))
    xy = math.fsum((i - centre) * (value - mean) for i, value in enumerate(values))
    return xx, xy, math.fsum((value - mean) ** 2 for value in values)


def _change(before: Sequence[Sequence[float]], last: Sequence[Sequence[float]]) -> Change | None:
    """Welch's standard error, epochs taken as draws: their trend inflates it, so it errs high."""
    width = len(last[0])
    if width < MIN_WINDOW or len(before[0]) < width:
        return None
    value = _mean([_mean(b) - _mean(a) for a, b in zip(before, last, strict=True)])
    variances = [(_variance(a) + _variance(b)) / width for a, b in zip(before, last, strict=True)]
    return Change(value=value, error=math.sqrt(_mean(variances) / len(variances)))


def _variance(values: Sequence[float]) -> float:
    mean = _mean(values)
    return math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1)
