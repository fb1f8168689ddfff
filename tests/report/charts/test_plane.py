"""The plane of a search's charts: axes hold what they should, and say what they leave out."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kilonet.report.charts.plane import (
    Plane,
    accuracy_scale,
    below_sentence,
    compact,
    horizontal_scale,
)

WIDE = [99.0, 98.0, 97.0]
"""An axis from 98 to 99."""

accuracies = st.lists(st.floats(0, 100), min_size=1, max_size=40)
sizes = st.lists(st.integers(1, 10**9), min_size=1, max_size=40)


@given(sizes)
def test_the_axis_along_the_bottom_holds_all(values: list[int]) -> None:
    scale = horizontal_scale([float(value) for value in values])
    assert all(scale.start <= scale(value) <= scale.end for value in values)
    assert scale.log == (max(values) >= 5 * min(values))


@given(accuracies, st.lists(st.floats(0, 100), max_size=5))
def test_the_upright_axis_holds_the_better_half_and_what_is_kept(
    values: list[float], keep: list[float]
) -> None:
    scale = accuracy_scale(values, keep=keep)
    inside = [value for value in values if scale.low <= value <= scale.high]
    assert len(inside) >= len(values) / 2
    assert max(values) <= scale.high
    assert all(scale.low <= value <= scale.high for value in keep)
    below = len(values) - len(inside)
    sentence = below_sentence(values, scale, noun="trial")
    assert sentence.startswith({0: "", 1: "One trial is "}.get(below, f"{below} trials are "))
    assert bool(sentence) == bool(below)


@given(sizes)
def test_numbers_along_the_bottom_do_not_touch(values: list[int]) -> None:
    scale = horizontal_scale([float(value) for value in values])
    plane = Plane(x=scale, y=accuracy_scale(WIDE))
    grid = "".join(plane.grid(name="parameters"))
    found = re.findall(r'x="([\d.]+)" y="\S+" text-anchor="middle" class="tick">([^<]+)<', grid)
    places = [(float(x), 3.0 * len(text)) for x, text in found]
    for (x, half), (next_x, next_half) in pairwise(places):
        assert x + half < next_x - next_half


@pytest.mark.parametrize(
    ("value", "text"),
    [(4000, "4,000"), (12_000, "12k"), (1_200_000, "1.2M"), (0.05, "0.05"), (7, "7"), (0, "0")],
)
def test_numbers_at_an_axis(value: float, text: str) -> None:
    assert compact(value) == text


def test_a_mark_below_the_axis_is_at_the_bottom() -> None:
    plane = Plane(x=horizontal_scale([0.0, 1.0]), y=accuracy_scale(WIDE))
    bottom = f'cy="{plane.y(plane.y.low):g}"'
    assert bottom in plane.dot(0.5, 11.0, style="trial", text="trial 1")
    assert bottom not in plane.dot(0.5, 98.9, style="trial", text="trial 2")
    assert "<title>trial 1</title>" in plane.dot(0.5, 11.0, style="trial", text="trial 1")


def test_an_interval_that_leaves_the_plane_has_no_cap_there() -> None:
    plane = Plane(x=horizontal_scale([0.0, 1.0]), y=accuracy_scale(WIDE))
    assert len(plane.whisker(0.5, 98.5, 98.8)) == 3
    assert len(plane.whisker(0.5, 0.0, 98.8)) == 2
