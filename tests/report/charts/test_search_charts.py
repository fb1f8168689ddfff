"""The charts of a search: each is an image with its content in words, and draws what there is."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from xml.etree import ElementTree as ET

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from markupsafe import Markup

from kilonet.report.charts.choices import Chosen, choice_chart
from kilonet.report.charts.course import Step, course_chart
from kilonet.report.charts.curves import LEFT
from kilonet.report.charts.front import Candidate, below_front, front_chart
from kilonet.report.charts.search import importance_chart, rungs_chart
from kilonet.search.importance import Importance


def tree(chart: Markup) -> ET.Element:
    return ET.fromstring(str(chart))


def classes(chart: Markup) -> list[str]:
    return [each.get("class", "") for each in tree(chart).iter() if each.tag == "circle"]


def words(chart: Markup) -> str:
    return next(each.text or "" for each in tree(chart).iter() if each.tag == "desc")


def candidate(
    number: int,
    size: int,
    accuracy: float,
    *,
    trained: bool = True,
    ci95: tuple[float, float] | None = None,
    on_front: bool = False,
) -> Candidate:
    return Candidate(
        number=number,
        size=size,
        accuracy=accuracy,
        trained=trained,
        confirmed=ci95 is not None,
        ci95=ci95,
        on_front=on_front,
        text=f"trial {number}",
    )


CANDIDATES = [
    candidate(1, 2000, 98.8, on_front=True),
    candidate(2, 3000, 98.6),
    candidate(3, 4000, 99.2, ci95=(99.1, 99.3), on_front=True),
    candidate(4, 5000, 99.1, ci95=(99.0, 99.2)),
    candidate(5, 5500, 98.9, trained=False),
    candidate(6, 1000, 60.0, trained=False),
]


def test_the_front_has_all_marks_and_their_numbers() -> None:
    chart = front_chart(CANDIDATES, unit="parameters", limit=6000, name="front")
    marks = classes(chart)
    assert marks.count("mean") == 2
    assert marks.count("trial front") == 1
    assert marks.count("trial") == 1
    assert marks.count("trial stopped") == 1  # the one that is below is left out
    assert "at most 6,000" in chart
    assert words(chart) == (
        "6 networks. On the front: trial 1 with 2,000 parameters 98.80% and trial 3 with 4,000 "
        "parameters 99.20% [99.10, 99.30]."
    )
    assert below_front(CANDIDATES) == "One trial is below the axis, down to 60.00%."


def test_the_front_rises_in_steps() -> None:
    chart = str(front_chart(CANDIDATES, unit="parameters", limit=None, name="front"))
    [line] = re.findall(r'd="M([^"]*)" class="front-line"', chart)
    points = [tuple(map(float, pair.split())) for pair in line.split(" L")]
    for (x, y), (next_x, next_y) in pairwise(points):
        assert x == next_x or y == next_y
        assert next_x >= x
        assert next_y <= y  # downwards is less accurate


@given(
    sizes=st.lists(st.integers(100, 8000), min_size=1, max_size=12, unique=True),
    first=st.integers(0, 9990),
)
def test_numbers_on_the_front_never_touch(sizes: list[int], first: int) -> None:
    front = [
        candidate(first + i, size, 98 + 0.1 * i, on_front=True)
        for i, size in enumerate(sorted(sizes))
    ]
    chart = tree(front_chart(front, unit="parameters", limit=None, name="front"))
    ends = {
        each.text or "": float(each.attrib["x"])
        for each in chart.iter()
        if "front-number" in each.get("class", "").split()
    }
    assert str(front[-1].number) in ends  # the best one
    places = sorted((end - 6.2 * len(text), end) for text, end in ends.items())
    assert all(start > end for (_, end), (start, _) in pairwise(places))
    assert places[0][0] >= LEFT


def test_a_front_of_nothing_at_full_length_says_so() -> None:
    chart = front_chart([CANDIDATES[4]], unit="parameters", limit=None, name="front")
    assert words(chart) == "1 network. None is on the front yet."
    assert classes(chart) == ["trial stopped"]


STEPS = [
    Step(number=0, at=1, accuracy=98.0, trained=True),
    Step(number=1, at=2, accuracy=99.9, trained=False),
    Step(number=2, at=3, accuracy=97.0, trained=True),
    Step(number=3, at=4, accuracy=98.5, trained=True),
    Step(number=4, at=5, accuracy=90.0, trained=False),
]


def test_the_course_counts_trials_at_full_length_alone() -> None:
    chart = course_chart(STEPS, unit="trials", name="course")
    assert words(chart) == (
        "The best at full length rises from 98.00% (trial 0) to 98.50% (trial 3), at 4 of 5 trials."
    )
    assert classes(chart).count("trial") == 3
    assert classes(chart).count("trial stopped") == 2


def test_a_course_without_a_trial_at_full_length() -> None:
    chart = course_chart([STEPS[1]], unit="trials", name="course")
    assert words(chart) == "1 trial; none was trained at full length."
    assert "front-line" not in chart


def chosen(values: Sequence[object]) -> list[Chosen]:
    return [
        Chosen(number=i, value=value, accuracy=98 + 0.1 * i, trained=i % 2 == 0)  # type: ignore[arg-type]
        for i, value in enumerate(values)
    ]


def drawn(values: Sequence[object]) -> Markup:
    trials = chosen(values)
    accuracies = [each.accuracy for each in trials]
    return choice_chart(
        trials, accuracies=accuracies, choice="width", epochs="2 epochs", name="choice"
    )


def test_numbers_have_the_medians_of_each() -> None:
    chart = drawn([4, 8, 8, 4, 16])
    assert words(chart) == (
        "After 2 epochs, 5 trials. Median by value: 4 98.15% of 2; 8 98.15% of 2; 16 98.40% of 1."
    )
    assert len(classes(chart)) == 5
    assert "front-line" in chart


def test_many_numbers_have_none() -> None:
    chart = drawn([0.01 * i for i in range(1, 20)])
    assert words(chart) == "After 2 epochs, 19 trials."
    assert "front-line" not in chart


def test_texts_have_a_row_each_and_long_ones_are_cut() -> None:
    long = "x" * 90
    chart = drawn(["relu", "silu", long, "relu"])
    assert "Median by value: relu 98.15% of 2; silu 98.10% of 1" in words(chart)
    assert f">{'x' * 53}…</text>" in chart
    assert chart.count('class="front-line"') == 3


FOUND = (
    Importance(name="depth", share=0.6, chance=0.2, trials=50),
    Importance(name="<b>rate</b>", share=0.4, chance=0.5, trials=50),
)


def test_importances_state_what_may_be_chance() -> None:
    chart = importance_chart(FOUND)
    assert words(chart) == "depth 60%, <b>rate</b> 40%, which may be chance."
    assert "<b>" not in str(chart)
    assert chart.count('class="chance"') == 2


def test_rungs_name_their_images_where_they_are_fewer() -> None:
    chart = rungs_chart([(2, 10_000, 50), (5, 50_000, 17)])
    assert words(chart) == "50 of 2 epochs, 10,000 images each, 17 of 5 epochs."


texts = st.text(max_size=12)
candidates = st.builds(
    Candidate,
    number=st.integers(0, 999),
    size=st.integers(1, 10**7),
    accuracy=st.floats(0, 100),
    trained=st.booleans(),
    confirmed=st.booleans(),
    ci95=st.none() | st.tuples(st.floats(0, 50), st.floats(50, 100)),
    on_front=st.booleans(),
    text=texts,
)


@settings(deadline=None)
@given(st.lists(candidates, min_size=1, max_size=8), st.none() | st.integers(1, 10**7))
def test_any_front_is_drawn(found: list[Candidate], limit: int | None) -> None:
    tree(front_chart(found, unit="parameters", limit=limit, name="front"))


values = st.one_of(
    st.lists(st.integers(-5, 10**6), min_size=1, max_size=12),
    st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=12),
    st.lists(texts, min_size=1, max_size=12),
)


@settings(deadline=None)
@given(values)
@example([1.0, 1e-313])  # too far apart for a logarithmic axis
def test_any_choice_is_drawn(found: list[object]) -> None:
    tree(drawn(found))


@pytest.mark.parametrize("trained", [True, False])
def test_equal_accuracies_have_an_axis(trained: bool) -> None:
    steps = [Step(number=i, at=i, accuracy=100.0, trained=trained) for i in range(3)]
    tree(course_chart(steps, unit="trials", name="course"))
