"""The Pareto front: validation accuracy against parameters, or against multiply-adds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from markupsafe import Markup

from kilonet.formatting import count, interval, listed, percent
from kilonet.report.charts.curves import HEIGHT, LEFT, RIGHT, TOP, WIDTH
from kilonet.report.charts.plane import (
    Plane,
    accuracy_scale,
    below_sentence,
    compact,
    horizontal_scale,
)
from kilonet.report.charts.svg import Scale, box, drawing, element, label, path

_ROOM = 0.6
"""Room below the trials at full length, for some of those that were stopped early."""

_DIGIT, _LABEL_ROOM = 6.5, 6
"""Units of the chart: the width of a digit of a label, and the least room between two labels."""


class Candidate(NamedTuple):
    """A network in the chart.

    Attributes:
        number: the trial's.
        size: parameters or multiply-adds.
        accuracy: on the validation split, percent: of the trial; of a confirmed network the mean.
        trained: whether at full length; else it was stopped early, after fewer epochs.
        confirmed: whether it is a mean of fresh seeds.
        ci95: interval of that mean, percent.
        on_front: whether no smaller network is as accurate.
        text: all of that in words, for a tooltip.
    """

    number: int
    size: int
    accuracy: float
    trained: bool
    confirmed: bool
    ci95: tuple[float, float] | None
    on_front: bool
    text: str


def front_chart(
    candidates: Sequence[Candidate], *, unit: str, limit: int | None, name: str
) -> Markup:
    """Accuracy against size: trials as light dots, the front as stairs, intervals where known.

    Args:
        candidates: at least one.
        unit: what the size counts, in the plural: ``parameters``.
        limit: the most that the budget allows; None without a limit.
        name: unique on the page.
    """
    front = sorted((c for c in candidates if c.on_front), key=lambda c: (c.size, c.accuracy))
    plane = _plane(candidates, limit=limit)
    marks = plane.grid(name=unit, unit="validation accuracy, %")
    if limit is not None:
        across = plane.x(limit)
        line = path([(across, TOP), (across, plane.y(plane.y.low))])
        marks.append(element("path", d=line, class_="zero"))
        at_most = f"at most {compact(limit)}"
        marks.append(label(at_most, x=across - 4, y=HEIGHT - 40, anchor="end"))
    if front:
        marks.append(element("path", d=_stairs(front, plane), class_="front-line"))
    # What matters most is drawn last, so nothing covers it.
    shown = [each for each in candidates if _is_shown(each, plane.y)]
    for each in sorted(shown, key=lambda c: (c.on_front, c.confirmed, c.trained)):
        if each.ci95 is not None:
            marks += plane.whisker(each.size, *each.ci95)
        style, radius = _look(each)
        dot = plane.dot(each.size, each.accuracy, style=style, text=each.text, radius=radius)
        marks.append(dot)
    marks += _numbers(front, plane)
    return drawing(
        *marks,
        name=name,
        title=f"Validation accuracy against {unit}",
        text=_words(candidates, front, unit),
        viewBox=box(WIDTH, HEIGHT),
    )


def front_key() -> list[tuple[Markup, str]]:
    """A sample of each kind of mark, 16 × 16, and its meaning."""
    middle = {"cx": 8, "cy": 8}
    bar = element("path", d="M8 1 L8 15", class_="whisker")
    key = [
        ([element("circle", r=3.5, class_="trial", **middle)], "a trial at full length"),
        ([element("circle", r=3, class_="trial stopped", **middle)], "a trial stopped early"),
        (
            [bar, element("circle", r=5, class_="mean", **middle)],
            "confirmed: mean of fresh seeds, and its 95% interval",
        ),
        (
            [
                element("path", d="M0 8 L16 8", class_="front-line"),
                element("circle", r=4, class_="trial front", **middle),
            ],
            "the front, with the trial's number: no smaller network is as accurate",
        ),
    ]
    return [
        (element("svg", *marks, viewBox="0 0 16 16", aria_hidden="true"), text)
        for marks, text in key
    ]


def below_front(candidates: Sequence[Candidate]) -> str:
    """A sentence about the trials below the axis; "" without any."""
    scale = _plane(candidates, limit=None).y
    return below_sentence([c.accuracy for c in candidates], scale, noun="trial")


def _is_shown(candidate: Candidate, y: Scale) -> bool:
    """A trial that was stopped early, and is below the axis, is left out."""
    return candidate.trained or candidate.accuracy >= y.low


def _plane(candidates: Sequence[Candidate], *, limit: int | None) -> Plane:
    keep = [
        value
        for c in candidates
        if c.on_front or c.confirmed
        for value in (c.accuracy, *(c.ci95 or ()))
    ]
    trained = [c.accuracy for c in candidates if c.trained] or [c.accuracy for c in candidates]
    y = accuracy_scale(trained, keep=keep, room=_ROOM)
    sizes = [float(c.size) for c in candidates if _is_shown(c, y)]
    return Plane(x=horizontal_scale([*sizes, *([] if limit is None else [float(limit)])]), y=y)


def _look(candidate: Candidate) -> tuple[str, float]:
    if candidate.confirmed:
        return "mean", 5
    if candidate.on_front:
        return "trial front", 4
    return ("trial", 3.5) if candidate.trained else ("trial stopped", 3)


def _stairs(front: Sequence[Candidate], plane: Plane) -> str:
    """The best accuracy that each size allows, to the right end of the axis."""
    points = [(plane.x(front[0].size), plane.y(front[0].accuracy))]
    for each in front[1:]:
        across, down = plane.x(each.size), plane.y(each.accuracy)
        points += [(across, points[-1][1]), (across, down)]
    return path([*points, (WIDTH - RIGHT, points[-1][1])])


def _numbers(front: Sequence[Candidate], plane: Plane) -> list[Markup]:
    """The numbers of the front's trials, above left of their dots, where there is room."""
    marks: list[Markup] = []
    start_of_next = float(WIDTH)
    # From the right, so that the best one has its number.
    for each in reversed(front):
        text = f"{each.number}"
        width = _DIGIT * len(text)
        end = max(plane.x(each.size) - 7, LEFT + 2 + width)
        if marks and end > start_of_next - _LABEL_ROOM:
            continue
        start_of_next = end - width
        place = {"x": end, "y": max(plane.y(each.accuracy) - 7, TOP - 4)}
        marks.append(label(text, anchor="end", style="tick front-number", **place))
    return marks


def _words(candidates: Sequence[Candidate], front: Sequence[Candidate], unit: str) -> str:
    named = [
        f"trial {c.number} with {c.size:,} {unit} {percent(c.accuracy)}"
        + ("" if c.ci95 is None else f" {interval(*c.ci95)}")
        for c in front
    ]
    shown = f"{count(len(candidates), 'network')}. "
    return shown + (f"On the front: {listed(named)}." if named else "None is on the front yet.")
