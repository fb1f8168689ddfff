"""The pooled spread and the moderated t-test, against SciPy, hand arithmetic and simulation."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from kilonet.analysis import compare
from kilonet.analysis.pooling import PRIOR_FREEDOM, Pool, moderate, planned_freedom, pool_spread

STAGES = ({1: 99.1, 2: 99.3, 3: 99.2}, {1: 99.2, 2: 99.5, 3: 99.2}, {1: 99.4, 2: 99.3, 3: 99.5})


def by_seed(values: np.ndarray) -> list[dict[int, float]]:
    return [dict(enumerate(stage.tolist())) for stage in values]


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 6), st.integers(2, 8), st.integers(0, 2**32 - 1))
def test_the_pool_is_the_mean_of_all_pairs_variances(stages: int, seeds: int, key: int) -> None:
    """Of a balanced study: twice the residual mean square of stages × seeds."""
    values = np.random.default_rng(key).normal(99.3, 0.1, (stages, seeds))
    found = pool_spread(by_seed(values))
    assert found is not None
    pairs = [np.var(b - a, ddof=1) for a, b in combinations(values, 2)]
    assert found.sd**2 == pytest.approx(np.mean(pairs), rel=1e-6)
    assert (found.freedom, found.stages) == ((stages - 1) * (seeds - 1), stages)


def test_two_stages_have_no_spread_but_their_own() -> None:
    found = compare(STAGES[0], STAGES[1], pool=pool_spread(STAGES[:2]))
    expected = stats.ttest_rel(list(STAGES[1].values()), list(STAGES[0].values()))
    assert found.freedom == 2
    assert found.p_moderated == pytest.approx(expected.pvalue, rel=1e-9)
    assert found.p_moderated == pytest.approx(found.p, rel=1e-9)


def test_by_hand() -> None:
    # Differences 0.1, 0.2, 0.0: mean 0.1, variance 0.01. The others' are 0.07 (of 0.2, -0.2, 0.3)
    # and 0.03 (of 0.3, 0.0, 0.3); the pool's is the mean of the three. (2 · 0.01 + 4 · 0.0367) / 6;
    # six degrees of freedom, of which the pool has only four.
    pool = pool_spread(STAGES)
    assert pool is not None
    assert (pool.sd**2, pool.freedom) == (pytest.approx(0.11 / 3), 4)
    found = compare(STAGES[0], STAGES[1], pool=pool)
    assert found.sd == pytest.approx(0.1)
    assert found.sd_moderated == pytest.approx(((2 * 0.01 + 4 * 0.11 / 3) / 6) ** 0.5)
    assert found.freedom == 4
    t = 0.1 / (found.sd_moderated / 3**0.5)
    assert found.p_moderated == pytest.approx(2 * stats.t.sf(t, 4), rel=1e-9)
    half = stats.t.isf(0.025, 4) * found.sd_moderated / 3**0.5
    assert found.moderated95 == pytest.approx((0.1 - half, 0.1 + half), rel=1e-9)
    assert found.interval == found.moderated95


def test_missing_seeds() -> None:
    """Least squares over the seeds that there are; a seed of one stage tells nothing."""
    missing = [STAGES[0], STAGES[1], {1: 99.4, 2: 99.3, 7: 98.0}]
    found = pool_spread(missing)
    # Eight accuracies of the first three seeds, three stages and three seeds but for one constant.
    assert found is not None
    assert found.freedom == 8 - (3 + 3 - 1)
    without = pool_spread([*missing[:2], {1: 99.4, 2: 99.3}])
    assert without is not None
    assert (found.sd, found.freedom) == (pytest.approx(without.sd), without.freedom)


@pytest.mark.parametrize(
    "stages",
    [
        [],
        [{}],
        [{1: 99.0, 2: 99.1}],
        [{1: 99.0}, {1: 99.1}],
        [{1: 99.0}, {2: 99.1}],
        [{1: 99.0, 2: 99.5}, {1: 99.1, 2: 99.6}],
    ],
)
def test_nothing_tells_a_spread(stages: list[dict[int, float]]) -> None:
    assert pool_spread(stages) is None


def test_equal_differences_are_judged_by_the_others() -> None:
    pool = Pool(sd=0.1, freedom=6, stages=4)
    found = compare({1: 99.0, 2: 99.2, 3: 99.1}, {1: 99.5, 2: 99.7, 3: 99.6}, pool=pool)
    assert (found.sd, found.ci95, found.p) == (0.0, None, None)
    assert found.sd_moderated == pytest.approx((4 * 0.01 / 6) ** 0.5)
    assert found.verdict == "better"
    # 0.5 / (0.0816 / √3) = 10.6 with six degrees of freedom.
    assert found.p_moderated == pytest.approx(
        2 * stats.t.sf(0.5 / (0.0816497 / 3**0.5), 6), rel=1e-4
    )


@settings(max_examples=60, deadline=None)
@given(st.floats(0.0, 1.0), st.floats(0.001, 1.0), st.integers(2, 40), st.integers(2, 8))
def test_between_its_own_spread_and_the_pools(sd: float, other: float, n: int, stages: int) -> None:
    pool = Pool(sd=other, freedom=(stages - 1) * (n - 1), stages=stages)
    found, freedom = moderate(sd, n=n, pool=pool)
    assert min(sd, other) * (1 - 1e-9) <= found <= max(sd, other) * (1 + 1e-9)
    assert n - 1 <= freedom <= n - 1 + PRIOR_FREEDOM
    assert freedom <= pool.freedom
    assert freedom == planned_freedom(n, pool=pool)
    # A study of many seeds is judged by its own spread.
    assert abs(found**2 - sd**2) <= PRIOR_FREEDOM / n * abs(other**2 - sd**2) + 1e-12


def test_without_a_pool_it_is_students() -> None:
    assert moderate(0.1, n=5, pool=None) == (0.1, 4)
    assert planned_freedom(5, pool=None) == 4


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_the_level_holds_where_stages_spread_alike(seeds: int) -> None:
    """Four stages without a difference, 2,000 studies: four standard errors of 5 % are 2."""
    generator = np.random.default_rng(seeds)
    wrong = 0
    for values in generator.normal(99.3, 0.1, (2000, 4, seeds)):
        stages = by_seed(values)
        found = compare(stages[1], stages[2], pool=pool_spread(stages))
        assert found.p_moderated is not None
        wrong += found.p_moderated < 0.05
    assert wrong / 2000 == pytest.approx(0.05, abs=0.02)
