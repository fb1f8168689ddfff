"""Statistics over seeds, against SciPy and arithmetic by hand."""

from __future__ import annotations

import math

import pytest
from scipy import stats

from kilonet.analysis import binomial_error, compare, describe

SEEDS = [99.23, 99.31, 99.18, 99.27, 99.25]
AFTER = [99.30, 99.33, 99.29, 99.31, 99.36]


def by_seed(values: list[float], *, first: int = 1) -> dict[int, float]:
    return dict(enumerate(values, start=first))


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


def test_paired_test_is_scipys() -> None:
    found = compare(by_seed(SEEDS), by_seed(AFTER))
    expected = stats.ttest_rel(AFTER, SEEDS)
    interval = expected.confidence_interval(0.95)
    assert found.p == pytest.approx(expected.pvalue, rel=1e-9)
    assert found.ci95 == pytest.approx((interval.low, interval.high), rel=1e-9)
    assert found.mean == pytest.approx(0.07)
    assert found.verdict == "better"
    assert compare(by_seed(AFTER), by_seed(SEEDS)).verdict == "worse"


def test_a_difference_within_noise_is_not_shown() -> None:
    found = compare(by_seed([99.2, 99.3, 99.1]), by_seed([99.3, 99.2, 99.2]))
    assert found.p is not None
    assert found.p > 0.05
    assert found.verdict == "no difference shown"


def test_word_and_interval_agree_at_the_threshold() -> None:
    # Three differences with mean m and sd 1: t = m·√3, and t(0.975, 2) = 4.302653.
    limit = 4.302653 / math.sqrt(3)
    for shift, verdict in ((0.999, "no difference shown"), (1.001, "better")):
        after = {seed: limit * shift + d for seed, d in ((1, -1.0), (2, 0.0), (3, 1.0))}
        found = compare({1: 0.0, 2: 0.0, 3: 0.0}, after)
        assert found.ci95 is not None
        assert found.verdict == verdict
        assert (found.ci95[0] > 0) == (verdict == "better")


def test_one_seed_concludes_nothing() -> None:
    found = compare({1: 99.0}, {1: 99.9})
    assert found.verdict == "one seed: nothing can be concluded"
    assert (found.mean, found.ci95, found.p) == (pytest.approx(0.9), None, None)


def test_only_seeds_in_common_are_paired() -> None:
    found = compare(by_seed(SEEDS), by_seed(AFTER, first=3))
    assert found.differences == pytest.approx(
        (AFTER[0] - SEEDS[2], AFTER[1] - SEEDS[3], AFTER[2] - SEEDS[4])
    )
    nothing = compare({1: 99.0}, {2: 99.9})
    assert nothing.mean is None
    assert nothing.verdict == "no seed in common: nothing can be concluded"


def test_a_step_that_changes_nothing() -> None:
    found = compare(by_seed(SEEDS), by_seed(SEEDS))
    assert (found.mean, found.ci95, found.p) == (0.0, (0.0, 0.0), 1.0)
    assert found.verdict == "no difference shown"


def test_equal_differences_are_no_certainty() -> None:
    found = compare({1: 99.1, 2: 99.2}, {1: 99.15, 2: 99.25})
    assert found.mean == pytest.approx(0.05)
    assert (found.ci95, found.p, found.verdict) == (None, None, "no difference shown")


def test_binomial_error_by_hand() -> None:
    # √(0.994 · 0.006 / 10,000) = 0.00077227…
    assert binomial_error(99.4, images=10_000) == pytest.approx(0.077227, abs=1e-6)
    assert binomial_error(50.0, images=100) == pytest.approx(5.0)
    assert binomial_error(100.0, images=100) == 0.0
