"""Statistics over seeds, against SciPy and arithmetic by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from kilonet.analysis import binomial_error, describe
from kilonet.analysis.bootstrap import studentized_bootstrap
from kilonet.analysis.descriptive import binomial_interval, spread_interval

SEEDS = [99.23, 99.31, 99.18, 99.27, 99.25]


@pytest.mark.parametrize("n", [2, 3, 5])
def test_interval_is_students(n: int) -> None:
    values = SEEDS[:n]
    found = describe(values)
    low, high = stats.t.interval(0.95, n - 1, loc=sum(values) / n, scale=stats.sem(values))
    assert found.ci95 == pytest.approx((low, high), rel=1e-12)
    assert found.sd == pytest.approx(stats.tstd(values), rel=1e-9)
    assert (found.n, found.minimum, found.maximum) == (n, min(values), max(values))


def test_interval_of_two_by_hand() -> None:
    # Mean 99.2, sd 0.1·√2, standard error 0.1; t(0.975, 1 degree of freedom) = 12.706.
    found = describe([99.1, 99.3])
    assert found.ci95 == pytest.approx((99.2 - 1.2706, 99.2 + 1.2706), abs=1e-4)


def test_interval_ends_where_accuracies_do() -> None:
    # 99 ± 12.7 and 1 ± 12.7.
    assert describe([98.0, 100.0], limits=(0, 100)).ci95 == pytest.approx((86.2938, 100), abs=1e-3)
    assert describe([0.0, 2.0], limits=(0, 100)).ci95 == pytest.approx((0, 13.7062), abs=1e-3)


def test_one_seed_has_no_interval() -> None:
    found = describe([99.27])
    assert (found.mean, found.sd, found.ci95) == (99.27, None, None)


def test_equal_seeds_are_no_certainty() -> None:
    found = describe([99.25, 99.25, 99.25])
    assert (found.mean, found.sd, found.ci95) == (99.25, 0.0, None)
    # 0.1 + 0.2 is 0.3 but for the last bit.
    assert describe([0.1 + 0.2, 0.3]).ci95 is None
    assert describe([99.25, 99.26]).ci95 is not None


def test_nothing_to_describe() -> None:
    with pytest.raises(ValueError, match="no values"):
        describe([])


def test_a_bootstrap_checks_it_from_three_seeds_on() -> None:
    assert describe(SEEDS[:2]).bootstrap95 is None
    assert describe([99.25] * 3).bootstrap95 is None
    for n in (3, 5):
        found = describe(SEEDS[:n])
        assert found.ci95 is not None
        assert found.bootstrap95 == studentized_bootstrap(SEEDS[:n])
        half = (found.ci95[1] - found.ci95[0]) / 2
        ends = zip(found.ci95, found.bootstrap95, strict=True)
        assert found.disagreement == pytest.approx(max(abs(a - b) for a, b in ends) / half)
        assert not found.intervals_disagree


def test_uneven_seeds_make_the_intervals_disagree() -> None:
    # Nine seeds alike and one far below: the bootstrap's lower end is far out.
    uneven = [99.20, 99.21, 99.22, 99.19, 99.20, 99.21, 99.18, 99.22, 99.20, 98.60]
    found = describe(uneven)
    assert found.intervals_disagree
    assert found.bootstrap95 is not None
    assert found.ci95 is not None
    assert found.bootstrap95[0] < found.ci95[0]


def test_disagreement_is_measured_before_intervals_are_cut() -> None:
    near = [99.99, 99.95, 99.97]
    cut, whole = describe(near, limits=(0, 100)), describe(near)
    assert cut.bootstrap95 is not None
    assert cut.bootstrap95[1] == 100
    assert cut.disagreement == whole.disagreement


def test_binomial_error_by_hand() -> None:
    # √(0.994 · 0.006 / 10,000) = 0.00077227…; Wilson's is a little more.
    assert binomial_error(99.4, images=10_000) == pytest.approx(0.077227, rel=3e-3)
    # √(0.25 / 100 + 1 / 40,000) / (1 + 1 / 100)
    assert binomial_error(50.0, images=100) == pytest.approx(100 * 0.002525**0.5 / 1.01)
    # √(1 / 40,000) / 1.01, at either end: half an image.
    for end in (0.0, 100.0):
        assert binomial_error(end, images=100) == pytest.approx(0.5 / 1.01)


@pytest.mark.parametrize("images", [1, 5, 120, 10_000])
@pytest.mark.parametrize("share", [0.0, 0.5, 0.97, 1.0])
def test_binomial_interval_is_scipys_wilson(share: float, images: int) -> None:
    right = round(share * images)
    found = binomial_interval(100 * right / images, images=images)
    ends = stats.binomtest(right, images).proportion_ci(method="wilson")
    assert found == pytest.approx((100 * ends.low, 100 * ends.high), abs=1e-9)
    assert 0 <= found[0] < found[1] <= 100
    # And the error is half of that interval, of one standard error.
    level = 2 * stats.norm.cdf(1) - 1
    ends = stats.binomtest(right, images).proportion_ci(level, method="wilson")
    half = binomial_error(100 * right / images, images=images)
    assert half == pytest.approx(50 * (ends.high - ends.low))


@pytest.mark.parametrize("freedom", [1, 2, 4.5, 30])
def test_interval_of_a_spread_is_the_chi_squares(freedom: float) -> None:
    ends = [0.1 * (freedom / stats.chi2.ppf(p, freedom)) ** 0.5 for p in (0.975, 0.025)]
    assert spread_interval(0.1, freedom=freedom) == pytest.approx(ends, rel=1e-9)


@pytest.mark.parametrize("effects", [1, 3])
def test_effects_that_share_a_stage_show_less_of_the_spread(effects: int) -> None:
    """Stages of three seeds that differ by luck alone: 95 % of the intervals hold the truth."""
    stages = np.random.default_rng(effects).normal(0, 1, (4000, effects + 1, 3))
    sds = np.sqrt(np.diff(stages, axis=1).var(axis=2, ddof=1).mean(axis=1))
    shared = effects / (effects + (effects - 1) / 2)
    low, high = spread_interval(1.0, freedom=2 * effects * shared)
    held = (sds * low <= np.sqrt(2)) & (np.sqrt(2) <= sds * high)
    # Four standard errors of a share of 4,000.
    assert held.mean() == pytest.approx(0.95, abs=0.014)
