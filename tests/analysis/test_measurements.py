"""Levels, gap, movement and trend, against NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import linregress

from kilonet.analysis import measure
from kilonet.analysis.measurements import window_of
from kilonet.storage.record import EpochRow
from ladders import DROPOUT, FOUR_STAGES, TEST_IMAGES, made_record, made_rows, typed_rows

STAGE = FOUR_STAGES.stages[0]


def measured(*runs: tuple[EpochRow, ...], images: int = TEST_IMAGES):
    records = [made_record(STAGE, rows, seed=seed) for seed, rows in enumerate(runs, start=1)]
    return measure(records, images=images)


def residual_sd(values: np.ndarray) -> float:
    x = np.arange(len(values))
    residuals = values - np.polyval(np.polyfit(x, values, 1), x)
    return float(np.sqrt((residuals**2).sum() / (len(values) - 2)))


def test_the_notebooks_table() -> None:
    rows = typed_rows(DROPOUT)
    test = np.array([row.test_accuracy for row in rows])
    train = np.array([row.train_accuracy for row in rows])
    found = measured(rows)
    assert (found.seeds, found.epochs, found.window) == (1, 15, 5)
    assert found.accuracy == pytest.approx(test[-5:].mean())
    assert found.train_accuracy == pytest.approx(train[-5:].mean())
    assert found.gap == pytest.approx((train - test)[-5:].mean())
    assert found.range == pytest.approx(99.26 - 99.07)
    assert found.movement == pytest.approx(residual_sd(test[-5:]))
    assert found.both_gap == pytest.approx((train - test)[-10:].mean())
    assert found.both_movement == pytest.approx(residual_sd(test[-10:]))
    assert found.accuracy_change is not None
    assert found.accuracy_change.value == pytest.approx(test[-5:].mean() - test[-10:-5].mean())
    error = np.sqrt((test[-5:].var(ddof=1) + test[-10:-5].var(ddof=1)) / 5)
    assert found.accuracy_change.error == pytest.approx(error)
    assert found.gap_share == pytest.approx(found.gap / (100 - found.accuracy))


def test_seeds_are_averaged_and_their_spread_is_no_movement() -> None:
    # Two runs that stay level, 1 point apart: nothing moves.
    found = measured(made_rows([98.0] * 10), made_rows([99.0] * 10))
    assert found.accuracy == pytest.approx(98.5)
    assert found.movement == 0.0
    assert found.accuracy_change is not None
    assert (found.accuracy_change.value, found.accuracy_change.error) == (0.0, 0.0)


def test_a_straight_climb_is_no_movement() -> None:
    found = measured(made_rows([98.0 + 0.1 * epoch for epoch in range(10)]))
    assert found.movement == pytest.approx(0.0, abs=1e-6)
    assert found.accuracy_change is not None
    assert found.accuracy_change.value == pytest.approx(0.5)


def test_the_rise_of_the_last_window() -> None:
    """The slope of SciPy's straight line, and its standard error, times the window's length."""
    values = [99.0, 99.1, 99.05, 99.2, 99.15]
    line = linregress(range(5), values)
    found = measured(made_rows([98.0] * 5 + values)).rise
    assert found is not None
    assert found.value == pytest.approx(4 * line.slope)
    assert found.error == pytest.approx(4 * line.stderr)
    # Four seeds that do the same: half the error.
    four = measured(*[made_rows([98.0] * 5 + values)] * 4).rise
    assert four is not None
    assert (four.value, four.error) == (
        pytest.approx(4 * line.slope),
        pytest.approx(2 * line.stderr),
    )


def test_the_largest_fall_of_the_last_window() -> None:
    # Falls of 0.1 and 0.3; the second run never falls; what came before the window does not count.
    first = made_rows([98.0, 90.0, 98.0, 98.0, 98.0, 98.2, 98.1, 98.3, 98.0, 98.4])
    assert measured(first).fall == pytest.approx(0.3)
    assert measured(first, made_rows([98.0 + i / 10 for i in range(10)])).fall == pytest.approx(
        0.15
    )
    assert measured(made_rows([98.0])).fall == 0.0


@pytest.mark.parametrize(
    ("epochs", "both_windows"), [(1, 1), (2, 1), (3, 2), (6, 5), (10, 9), (11, 10), (15, 10)]
)
def test_both_windows(epochs: int, both_windows: int) -> None:
    """As one window they leave out the first epoch, whatever it is."""
    found = measured(made_rows([98.0] * epochs))
    assert found.both_windows == both_windows
    if epochs > 2:
        other = measured(made_rows([10.0] + [98.0] * (epochs - 1)))
        assert (other.both_gap, other.both_movement) == (found.both_gap, found.both_movement)


def test_losses_are_the_mean_of_the_seeds() -> None:
    # made_rows: a loss of the training error / 30.
    found = measured(made_rows([98.0] * 4, train=[97.0, 98.5, 98.5, 98.5]), made_rows([98.0] * 3))
    assert found.losses == pytest.approx(((3 + 1) / 60, (1.5 + 1) / 60, (1.5 + 1) / 60))


@pytest.mark.parametrize(
    ("epochs", "window", "compared"),
    [(n, 1, False) for n in (1, 2, 3, 4, 5)] + [(6, 3, True), (8, 4, True), (11, 5, True)],
)
def test_short_runs(epochs: int, window: int, compared: bool) -> None:
    found = measured(made_rows([90.0] * (epochs - 1) + [98.0], train=[80.0] * (epochs - 1) + [97]))
    assert found.window == window == window_of(epochs)
    if window == 1:  # the end is the last epoch's, not the start's
        assert (found.accuracy, found.train_accuracy, found.gap) == (98.0, 97.0, -1.0)
        assert found.at_end == "in the last epoch"
    assert (found.movement is not None) == (window >= 3)
    assert (found.accuracy_change is not None) == compared
    assert (found.gap_change is not None) == compared
    assert (found.rise is not None) == (window >= 3)


@pytest.mark.parametrize("epochs", [5, 7, 8, 9, 10, 11, 40])
def test_windows_never_overlap(epochs: int) -> None:
    found = measured(made_rows([98.0] * epochs))
    assert 1 <= found.window <= 5
    assert found.accuracy_change is None or 2 * found.window <= epochs


def test_what_is_material() -> None:
    # Half of √(0.98 · 0.02 / 10,000) = 0.14 points; never less than one image.
    assert measured(made_rows([98.0] * 5)).material == pytest.approx(0.07, rel=1e-3)
    assert measured(made_rows([100.0] * 5), images=500).material == pytest.approx(0.2)


def test_nothing_to_measure() -> None:
    with pytest.raises(ValueError, match="nothing to measure"):
        measure([], images=10)
    with pytest.raises(ValueError, match="nothing to measure"):
        measured(())
