"""The smoothed bootstrap-t: against another's draws, and what must hold for any values."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from kilonet.analysis.bootstrap import studentized_bootstrap

SEEDS = [99.23, 99.31, 99.18, 99.27, 99.25]
UNEVEN = [99.20, 99.21, 99.22, 99.19, 99.20, 99.21, 99.18, 99.22, 99.20, 98.60]


@pytest.mark.parametrize("values", [SEEDS[:3], SEEDS, UNEVEN], ids=["3", "5", "10 uneven"])
def test_ends_are_those_of_other_draws(values: list[float]) -> None:
    """By its definition, with another generator and many more resamples."""
    generator = np.random.default_rng(5)
    x, n = np.array(values), len(values)
    sd = np.std(x, ddof=1)
    noise = generator.normal(0, sd * (4 / 3 / n) ** (1 / 5), (100_000, n))
    resamples = generator.choice(x, (100_000, n)) + noise
    errors = np.std(resamples, axis=1, ddof=1) / math.sqrt(n)
    t = (resamples.mean(axis=1) - x.mean()) / errors
    expected = x.mean() - np.quantile(t, [0.975, 0.025]) * sd / math.sqrt(n)
    width = expected[1] - expected[0]
    assert studentized_bootstrap(values) == pytest.approx(expected, abs=0.04 * width)


def test_it_leaves_the_range_of_three_values() -> None:
    low, high = studentized_bootstrap(SEEDS[:3])
    assert low < min(SEEDS[:3])
    assert high > max(SEEDS[:3])


def test_other_levels() -> None:
    low, high = studentized_bootstrap(SEEDS, confidence=0.99)
    inner_low, inner_high = studentized_bootstrap(SEEDS, confidence=0.9)
    assert low < inner_low < inner_high < high


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.integers(0, 300), min_size=3, max_size=8),
    st.floats(0.01, 100),
    st.floats(-100, 100),
    st.randoms(use_true_random=False),
)
def test_it_moves_and_stretches_with_the_values(values, scale, shift, random) -> None:
    assume(len(set(values)) > 1)
    shuffled = list(values)
    random.shuffle(shuffled)
    assert studentized_bootstrap(shuffled) == studentized_bootstrap(values)
    low, high = studentized_bootstrap(values)
    found = studentized_bootstrap([scale * value + shift for value in values])
    tolerance = 1e-6 * (scale * (high - low) + 1)
    assert found == pytest.approx((scale * low + shift, scale * high + shift), abs=tolerance)


def test_what_cannot_be_drawn_from() -> None:
    with pytest.raises(ValueError, match="at least 3"):
        studentized_bootstrap([99.1, 99.2])
    with pytest.raises(ValueError, match="no spread"):
        studentized_bootstrap([99.1] * 4)
