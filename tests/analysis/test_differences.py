"""Paired comparisons and Holm's correction, against SciPy, closed testing and hand arithmetic."""

from __future__ import annotations

import math
from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from kilonet.analysis import Difference, compare, correct
from kilonet.analysis.differences import sign_flip_p

SEEDS = [99.23, 99.31, 99.18, 99.27, 99.25]
AFTER = [99.30, 99.33, 99.29, 99.31, 99.36]


def by_seed(values: list[float], *, first: int = 1) -> dict[int, float]:
    return dict(enumerate(values, start=first))


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
    assert found.verdict == "one seed"
    assert (found.mean, found.ci95, found.p) == (pytest.approx(0.9), None, None)


def test_only_seeds_in_common_are_paired() -> None:
    found = compare(by_seed(SEEDS), by_seed(AFTER, first=3))
    assert found.differences == pytest.approx(
        (AFTER[0] - SEEDS[2], AFTER[1] - SEEDS[3], AFTER[2] - SEEDS[4])
    )
    nothing = compare({1: 99.0}, {2: 99.9})
    assert nothing.mean is None
    assert nothing.verdict == "no seed in common"


@pytest.mark.parametrize("shift", [0.0, 0.05])
def test_equal_differences_are_no_certainty(shift: float) -> None:
    found = compare({1: 99.1, 2: 99.2}, {1: 99.1 + shift, 2: 99.2 + shift})
    assert found.mean == pytest.approx(shift)
    assert (found.ci95, found.p, found.verdict) == (None, None, "no difference shown")


@pytest.mark.parametrize("n", [6, 9, 12])
def test_sign_flips_are_scipys(n: int) -> None:
    differences = np.random.default_rng(n).normal(0.05, 0.1, n)
    expected = stats.permutation_test(
        (differences,), np.mean, permutation_type="samples", n_resamples=np.inf
    )
    assert sign_flip_p(differences.tolist()) == pytest.approx(expected.pvalue, rel=1e-12)


def test_sign_flips_by_hand() -> None:
    # Of the eight sums of ±1 ±2 ±4 only 7 and -7 are as far from zero as 7; 5 and -5 come next.
    assert sign_flip_p([1.0, 2.0, 4.0]) == 2 / 8
    assert sign_flip_p([-1.0, 2.0, 4.0]) == 4 / 8
    # Sums of tenths differ by rounding from what they are.
    assert sign_flip_p([0.1, 0.2, -0.3]) == 1.0
    with pytest.raises(ValueError, match="1 to 30"):
        sign_flip_p([0.1] * 31)


def test_sign_flips_start_from_six_seeds_on() -> None:
    def found(n: int) -> Difference:
        return compare(by_seed([99.0] * n), by_seed([99.1 + 0.001 * i for i in range(n)]))

    assert found(5).p_sign_flip is None
    assert found(6).p_sign_flip == 2 / 64
    assert found(30).p_sign_flip == 2 / 2**30
    assert found(31).p_sign_flip is None


def test_tests_that_disagree() -> None:
    # One wild seed widens the t-test's spread; the signs alone are all the same.
    wild = compare(by_seed([0.0] * 6), by_seed([0.05, 0.06, 0.04, 0.05, 0.06, 0.9]))
    assert wild.p is not None
    assert wild.p > 0.05 > 2 / 64 == wild.p_sign_flip
    assert wild.verdict == "no difference shown"


def with_p(p: float, *, n: int = 3) -> Difference:
    """A difference whose t-test has this p value: d, d + 1 and d + 2, shifted to fit."""
    t = stats.t.isf(p / 2, n - 1)
    spread = np.arange(n) - (n - 1) / 2
    mean = t * np.std(spread, ddof=1) / math.sqrt(n)
    return compare(by_seed([0.0] * n), by_seed((mean + spread).tolist()))


def test_holm_by_hand() -> None:
    # 3 · 0.01; 2 · 0.03; then 1 · 0.04, which must not be less than the one before.
    found = correct([with_p(0.01), with_p(0.04), with_p(0.03)], comparisons=3)
    assert [d.p_adjusted for d in found] == pytest.approx([0.03, 0.06, 0.06])
    assert [d.verdict for d in found] == ["better", "no difference shown", "no difference shown"]
    # Held against 0.05 / 3, which passed, then 0.05 / 2, which failed and ended it.
    assert [d.confidence for d in found] == pytest.approx([1 - 0.05 / 3, 0.975, 0.975])
    assert [d.comparisons for d in found] == [3, 3, 3]
    assert [d.p for d in found] == pytest.approx([0.01, 0.04, 0.03])


def test_corrected_interval_is_students_at_its_level() -> None:
    [found] = correct([compare(by_seed(SEEDS), by_seed(AFTER))], comparisons=5)
    differences = np.subtract(AFTER, SEEDS)
    expected = stats.t.interval(0.99, 4, loc=differences.mean(), scale=stats.sem(differences))
    assert found.interval == pytest.approx(expected, rel=1e-9)
    alone = compare(by_seed(SEEDS), by_seed(AFTER))
    assert alone.interval == alone.ci95 == found.ci95


def test_what_cannot_be_tested_is_passed_through() -> None:
    one, none, equal = (
        compare({1: 99.0}, {1: 99.1}),
        compare({1: 99.0}, {2: 99.1}),
        compare({1: 99.1, 2: 99.2}, {1: 99.15, 2: 99.25}),
    )
    found = correct([one, none, equal, with_p(0.001)], comparisons=5)
    assert [d.verdict for d in found[:3]] == [one.verdict, none.verdict, equal.verdict]
    assert [d.p_adjusted for d in found] == [None, None, None, pytest.approx(0.005)]
    with pytest.raises(ValueError, match="2 differences in a family of 1"):
        correct([one, none], comparisons=1)


P_VALUES = st.floats(1e-6, 1.0, exclude_max=True)


@settings(max_examples=60, deadline=None)
@given(st.lists(P_VALUES | st.sampled_from([0.01, 0.0125, 0.05]), min_size=1, max_size=5))
def test_holm_is_closed_testing_and_words_match_intervals(values: list[float]) -> None:
    found = correct([with_p(p) for p in values], comparisons=len(values))
    for i, difference in enumerate(found):
        # Closed testing (Marcus, Peritz and Gabriel 1976): every set of hypotheses with this one
        # in it is rejected by Bonferroni's test.
        others = [j for j in range(len(values)) if j != i]
        sets = [
            (i, *chosen) for size in range(len(values)) for chosen in combinations(others, size)
        ]
        p = max(min(1.0, len(chosen) * min(values[j] for j in chosen)) for chosen in sets)
        assert difference.p_adjusted == pytest.approx(p, rel=1e-6)
        assert difference.interval is not None
        low, high = difference.interval
        if abs(p - 0.05) > 1e-6:
            assert difference.shown == (low > 0 or high < 0) == (p < 0.05)
        assert difference.confidence >= 0.95


@settings(max_examples=60, deadline=None)
@given(st.lists(P_VALUES, min_size=1, max_size=5), st.integers(0, 4))
def test_what_is_shown_early_stays_shown(values: list[float], early: int) -> None:
    whole = correct([with_p(p) for p in values], comparisons=5)
    part = correct([with_p(p) for p in values[:early]], comparisons=5)
    assert all(after.shown for before, after in zip(part, whole, strict=False) if before.shown)


def test_all_signs_are_gone_through() -> None:
    differences = [0.03, -0.11, 0.07, 0.02, 0.13, -0.01, 0.05]
    far = abs(sum(differences))
    sums = [
        sum(s * d for s, d in zip(signs, differences, strict=True))
        for signs in product((1, -1), repeat=7)
    ]
    assert sign_flip_p(differences) == sum(abs(s) >= far - 1e-12 for s in sums) / 2**7
