"""How numbers, and text that a user wrote, are written."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kilonet.formatting import level, one_line, signed_interval, visible


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


def test_control_characters_are_visible():
    assert visible("a\tb\nc\x1b[31m\x00\x7f\x9b\u202e\ud800") == "a\tb\nc␛[31m␀␡\ufffd\ufffd\ufffd"
    assert one_line("a\tb\nc\r\x85\u2028d") == "a b c   d"
    assert one_line("字 e\u0301 \U0001f600 שלום \u200d") == "字 e\u0301 \U0001f600 שלום \u200d"


@given(st.text())
def test_text_on_a_line_is_printable(text: str) -> None:
    line = one_line(text)
    assert len(line) == len(text)
    assert not {unicodedata.category(c) for c in line} & {"Cc", "Cs", "Zl", "Zp"}
    assert one_line(line) == line
