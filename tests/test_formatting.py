"""How numbers are written."""

from __future__ import annotations

import pytest

from kilonet.formatting import level, signed_interval


@pytest.mark.parametrize(
    ("low", "high", "text"),
    [
        (-0.02, 0.1, "[-0.02, +0.10]"),
        (0.0043, 0.031, "[+0.004, +0.03]"),
        (-0.3, -0.00012, "[-0.30, -0.0001]"),
        (0.0, 0.0, "[0.00, 0.00]"),
        (-1e-9, 0.006, "[0.00, +0.01]"),
    ],
)
def test_ends_of_a_difference_keep_their_side_of_zero(low: float, high: float, text: str) -> None:
    assert signed_interval(low, high) == text


def test_levels() -> None:
    assert [level(1 - 0.05 / m) for m in (1, 2, 3, 4, 5)] == [
        "95%",
        "97.5%",
        "98.3%",
        "98.8%",
        "99%",
    ]
