"""Seeds and what they show, against the noncentral t of SciPy, tables, and simulation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats

from kilonet.analysis import compare, correct
from kilonet.analysis.power import (
    MAX_SEEDS,
    detectable_difference,
    power,
    seeds_needed,
    seeds_to_show,
)


# Pairs for a paired t-test, two-sided 0.05, power 0.8, as G*Power prints them.
@pytest.mark.parametrize(("effect", "pairs"), [(0.2, 199), (0.5, 34), (0.8, 15)])
def test_pairs_of_the_tables(effect: float, pairs: int) -> None:
    assert seeds_needed(effect, sd=1.0) == pairs
    assert power(effect, sd=1.0, n=pairs) >= 0.8 > power(effect, sd=1.0, n=pairs - 1)


@settings(max_examples=50, deadline=None)
@given(st.floats(0.01, 1.5), st.integers(4, 400), st.sampled_from([0.05, 0.01, 0.05 / 3]))
def test_power_is_scipys(effect: float, n: int, level: float) -> None:
    limit = stats.t.isf(level / 2, n - 1)
    shift = effect * np.sqrt(n)
    expected = stats.nct.sf(limit, n - 1, shift) + stats.nct.cdf(-limit, n - 1, shift)
    # Where the shift is far, SciPy has no number.
    assume(np.isfinite(expected))
    assert power(0.1 * effect, sd=0.1, n=n, level=level) == pytest.approx(expected, rel=1e-5)


def test_power_without_a_difference_is_the_level() -> None:
    for n in (2, 3, 10_000):
        assert power(0.0, sd=0.1, n=n, level=0.01) == pytest.approx(0.01, rel=1e-4)


def test_power_of_two_seeds() -> None:
    # SciPy's noncentral t has no number here; drawn, 0.8 is reached within four standard errors.
    found = detectable_difference(sd=1.0, n=2, level=0.01)
    drawn = np.random.default_rng(2).normal(found, 1.0, (20_000, 2))
    shown = stats.ttest_1samp(drawn, 0, axis=1).pvalue < 0.01
    assert shown.mean() == pytest.approx(0.8, abs=0.0114)


def test_power_is_the_share_of_studies() -> None:
    drawn = np.random.default_rng(1).normal(0.1, 0.1, (20_000, 5))
    shown = stats.ttest_1samp(drawn, 0, axis=1).pvalue < 0.05
    # Four standard errors of a share of 20,000 are 0.014.
    assert power(0.1, sd=0.1, n=5) == pytest.approx(shown.mean(), abs=0.014)


@pytest.mark.parametrize("n", [2, 3, 5, 20])
@pytest.mark.parametrize("level", [0.05, 0.01])
def test_detectable_is_where_power_is_reached(n: int, level: float) -> None:
    found = detectable_difference(sd=0.1, n=n, level=level)
    assert power(found, sd=0.1, n=n, level=level) == pytest.approx(0.8, abs=1e-6)
    assert detectable_difference(sd=0.2, n=n, level=level) == pytest.approx(2 * found)


def test_no_end_of_seeds() -> None:
    assert seeds_needed(1e-6, sd=1.0) == MAX_SEEDS


@pytest.mark.parametrize("comparisons", [1, 3, 5])
@pytest.mark.parametrize(
    "differences",
    [(6.4, 4.7), (0.5, 1.5), (0.3, 0.1, 0.0), (-0.4, -0.1, -0.2, 0.1), (5.0, 0.0, -4.0)],
)
def test_seeds_to_show_what_was_measured(differences: tuple[float, ...], comparisons: int) -> None:
    """SciPy's noncentral t: enough at that many seeds, not at one fewer."""
    alone = compare(dict.fromkeys(range(9), 0.0), dict(enumerate(differences)))
    [found] = correct([alone], comparisons=comparisons)
    needed = seeds_to_show(found)
    if found.shown:
        assert needed is None
        return
    assert needed is not None
    assert needed > len(differences)
    mean, sd = np.mean(differences), np.std(differences, ddof=1)
    for n, enough in ((needed, True), (needed - 1, False)):
        if n > len(differences):
            limit = stats.t.isf(0.05 / comparisons / 2, n - 1)
            shift = abs(mean) / sd * n**0.5
            reached = stats.nct.sf(limit, n - 1, shift) + stats.nct.cdf(-limit, n - 1, shift)
            # Where the shift is far, SciPy has no number: test_conclusions.py simulates that case.
            assert not np.isfinite(reached) or (reached >= 0.8) == enough


@pytest.mark.parametrize("differences", [(), (0.4,), (0.4, 0.4), (0.3, -0.3), (0.0, 0.0)])
def test_nothing_tells_how_many_seeds(differences: tuple[float, ...]) -> None:
    """Without two seeds, a spread or a difference."""
    found = compare(dict.fromkeys(range(9), 0.0), dict(enumerate(differences)))
    assert seeds_to_show(found) is None
