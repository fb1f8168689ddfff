"""Elements that cannot be broken out of, scales, and ticks at round values."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kilonet.report.charts.svg import (
    Scale,
    box,
    drawing,
    element,
    log_ticks,
    number,
    ticks,
    whole_ticks,
)

# What XML cannot hold in any form is no text of a user's.
TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff"))


@given(text=TEXT, value=TEXT)
def test_text_and_attributes_come_back_as_they_were(text: str, value: str) -> None:
    parsed = ET.fromstring(element("text", text, class_=value))
    assert (parsed.text or "") == text
    assert parsed.attrib == {"class": value}


def test_names_of_attributes() -> None:
    assert element("line", x1=1, stroke_width=2.5, class_="a") == (
        '<line x1="1" stroke-width="2.5" class="a"/>'
    )


def test_elements_nest_and_text_does_not() -> None:
    inner = element("tspan", "<b>")
    assert element("text", inner, "<i>") == "<text><tspan>&lt;b&gt;</tspan>&lt;i&gt;</text>"


def test_a_drawing_has_a_name_and_words() -> None:
    drawn = drawing(name="n", title="T & U", text="words", viewBox=box(10, 5))
    parsed = ET.fromstring(drawn)
    assert parsed.attrib["role"] == "img"
    named = parsed.attrib["aria-labelledby"].split()
    assert [child.attrib["id"] for child in parsed] == named
    assert [child.text for child in parsed] == ["T & U", "words"]
    assert parsed.attrib["viewBox"] == "0 0 10 5"


@pytest.mark.parametrize(
    ("value", "text"), [(1.0, "1"), (1.5, "1.5"), (0.126, "0.13"), (100.0, "100"), (-2.0, "-2")]
)
def test_numbers(value: float, text: str) -> None:
    assert number(value) == text


def test_scales() -> None:
    linear = Scale(low=90, high=100, start=200, end=0)
    assert [linear(90), linear(95), linear(100), linear(105)] == [200, 100, 0, -100]
    log = Scale(low=0.01, high=1, start=0, end=100, log=True)
    assert [log(0.01), log(0.1), log(1)] == pytest.approx([0, 50, 100])


@pytest.mark.parametrize(
    ("low", "high", "most", "expected"),
    [
        (99.07, 99.52, 5, [99.1, 99.2, 99.3, 99.4, 99.5]),
        (0, 1, 6, [0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (-0.25, 0.75, 6, [-0.2, 0.0, 0.2, 0.4, 0.6]),
        (0, 60, 6, [0, 10, 20, 30, 40, 50, 60]),
    ],
)
def test_ticks(low: float, high: float, most: int, expected: list[float]) -> None:
    assert ticks(low, high, most=most) == expected


@given(low=st.floats(-1e6, 1e6), width=st.floats(1e-3, 1e6), most=st.integers(2, 10))
def test_ticks_lie_inside_and_are_few(low: float, width: float, most: int) -> None:
    found = ticks(low, low + width, most=most)
    slack = 1e-6 * width + 1e-9
    assert all(low - slack <= value <= low + width + slack for value in found)
    assert len(found) <= most + 1


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0, 14, [0, 2, 4, 6, 8, 10, 12, 14]), (0, 0, [0]), (0, 3, [0, 1, 2, 3]), (0, 99, None)],
)
def test_whole_ticks(low: int, high: int, expected: list[int] | None) -> None:
    found = whole_ticks(low, high)
    assert found == (expected or [0, 20, 40, 60, 80])


def test_log_ticks() -> None:
    assert log_ticks(0.015, 0.6) == pytest.approx([0.02, 0.05, 0.1, 0.2, 0.5])
    assert log_ticks(1e-6, 1.0) == pytest.approx([1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1])
