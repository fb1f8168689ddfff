"""Which trials go on from a rung."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kilonet.search.rungs import goes_on

accuracies = st.lists(st.floats(0, 100), max_size=30)


@pytest.mark.parametrize(
    ("accuracy", "others", "factor", "expected"),
    [
        (50.0, [], 3, True),  # the first
        (50.0, [60.0], 3, False),
        (70.0, [60.0], 3, True),
        (70.0, [60.0, 80.0], 3, False),
        (70.0, [60.0, 80.0, 50.0, 55.0, 40.0], 3, True),  # the second of six
        (60.0, [70.0, 80.0, 50.0, 55.0, 40.0], 3, False),  # the third of six
        (70.0, [70.0, 70.0], 3, True),  # equal to the best
    ],
)
def test_the_best_third_goes_on(
    accuracy: float, others: list[float], factor: int, expected: bool
) -> None:
    assert goes_on(accuracy, others=others, reduction_factor=factor) is expected


@given(st.floats(0, 100), accuracies, st.integers(2, 5))
def test_as_optuna_prunes(accuracy: float, others: list[float], factor: int) -> None:
    """Optuna's own rule, of trials that have all reached the first rung."""
    pruner = pytest.importorskip("optuna.pruners._successive_halving")
    promotable = pruner._is_trial_promotable_to_next_rung
    direction = pytest.importorskip("optuna").study.StudyDirection.MAXIMIZE
    expected = promotable(accuracy, [*others, accuracy], factor, direction)
    assert goes_on(accuracy, others=others, reduction_factor=factor) == expected
