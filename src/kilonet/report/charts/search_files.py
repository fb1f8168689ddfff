"""A search's charts as SVG files of their own, for Markdown."""

from __future__ import annotations

from markupsafe import Markup

from kilonet.report.charts.course import course_chart
from kilonet.report.charts.curves import HEIGHT, WIDTH
from kilonet.report.charts.files import GUTTER, MARGIN, chart_file
from kilonet.report.charts.front import front_chart, front_key
from kilonet.report.charts.svg import element, label
from kilonet.report.searched import SearchContent

_KEY = 22
"""Height of a line of the key."""


def front_file(content: SearchContent) -> str:
    """The front by parameters beside that by multiply-adds, with their key."""
    limit = content.result.space.budget.parameters
    charts = [
        front_chart(content.marks(unit), unit=unit, limit=most, name=f"front-{unit}")
        for unit, most in (("parameters", limit), ("multiply-adds", None))
    ]
    marks = _side_by_side(charts)
    bottom = HEIGHT + 2 * MARGIN
    key = front_key()
    for i, (sample, text) in enumerate(key):
        y = bottom + _KEY * i + 12
        marks.append(element("svg", sample, x=MARGIN, y=y - 12, width=16, height=16))
        marks.append(label(text, x=MARGIN + 26, y=y, anchor="start"))
    return chart_file(
        *marks,
        name="front",
        title=f"{content.name}: validation accuracy against size",
        text=" ".join(content.sentences[:2]),
        width=2 * (MARGIN + WIDTH) + GUTTER,
        height=bottom + _KEY * len(key) + MARGIN,
    )


def course_file(content: SearchContent) -> str:
    """The course by trials beside that by training time."""
    charts = [
        course_chart(content.steps, unit="trials", name="course-trials"),
        course_chart(content.seconds, unit="seconds of training", name="course-seconds"),
    ]
    return chart_file(
        *_side_by_side(charts),
        name="course",
        title=f"{content.name}: the course of the search",
        text="Validation accuracy by trial and by training time, and the best so far.",
        width=2 * (MARGIN + WIDTH) + GUTTER,
        height=HEIGHT + 2 * MARGIN,
    )


def _side_by_side(charts: list[Markup]) -> list[Markup]:
    return [
        element(
            "svg",
            chart,
            x=MARGIN + i * (WIDTH + GUTTER),
            y=MARGIN,
            width=WIDTH,
            height=HEIGHT,
        )
        for i, chart in enumerate(charts)
    ]
