"""One choice of a search: the values that trials had, and how accurate they were."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from statistics import median
from typing import NamedTuple

from markupsafe import Markup

from kilonet.formatting import count, percent
from kilonet.report.charts.curves import HEIGHT, WIDTH
from kilonet.report.charts.plane import Plane, accuracy_scale, below_sentence, horizontal_scale
from kilonet.report.charts.svg import Scale, box, drawing, element, label, path, ticks

MAX_MEDIANS = 8
"""A number with at most so many values has a line through their medians."""

_ROW, _AXIS, _INSET = 40, 40, 8
"""Heights of a value's row and of the axis; the room at both sides."""

_LETTERS = 54
"""Characters of a value above its row."""


class Chosen(NamedTuple):
    """A trial that uses the choice.

    Attributes:
        number: the trial's.
        value: a number, or a text.
        accuracy: on the validation split at the first rung, which all trials have, percent.
        trained: whether the trial went on to full length.
    """

    number: int
    value: str | int | float
    accuracy: float
    trained: bool


def choice_chart(
    chosen: Sequence[Chosen], *, accuracies: Sequence[float], choice: str, epochs: str, name: str
) -> Markup:
    """Accuracy by value: upright for numbers, a row a value for all else.

    Args:
        chosen: at least one.
        accuracies: of all trials: charts of one search have one axis.
        choice: its name.
        epochs: after how many the accuracy is: ``3 epochs``.
        name: unique on the page.
    """
    numeric = all(not isinstance(each.value, str) for each in chosen)
    scale = accuracy_scale(accuracies)
    marks, height = _upright(chosen, scale, choice) if numeric else _rows(chosen, scale)
    by_value = _by_value(chosen)
    words = f"After {epochs}, {count(len(chosen), 'trial')}."
    if len(by_value) <= MAX_MEDIANS:
        medians = [f"{v} {percent(median(found))} of {len(found)}" for v, found in by_value]
        words += f" Median by value: {'; '.join(medians)}."
    return drawing(
        *marks,
        name=name,
        title=f"Validation accuracy by {choice}",
        text=words,
        viewBox=box(WIDTH, height),
    )


def below_choices(accuracies: Sequence[float]) -> str:
    """A sentence about the trials below the axis; "" without any."""
    return below_sentence(accuracies, accuracy_scale(accuracies), noun="trial")


def _upright(chosen: Sequence[Chosen], y: Scale, choice: str) -> tuple[list[Markup], float]:
    values = [float(each.value) for each in chosen]
    plane = Plane(x=horizontal_scale(values), y=y)
    by_value = [(float(value), found) for value, found in _by_value(chosen)]
    few = len(by_value) <= MAX_MEDIANS
    marks = plane.grid(name=choice, marked=[value for value, _ in by_value] if few else None)
    for each in sorted(chosen, key=lambda c: c.trained):
        style, radius = _look(each)
        x, text = float(each.value), _text(each)
        marks.append(plane.dot(x, each.accuracy, style=style, text=text, radius=radius))
    if few and len(by_value) > 1:
        line = [(plane.x(v), plane.y(max(median(found), y.low))) for v, found in by_value]
        marks.append(element("path", d=path(line), class_="front-line"))
    return marks, HEIGHT


def _rows(chosen: Sequence[Chosen], upright: Scale) -> tuple[list[Markup], float]:
    """A row a value, the accuracy from left to right: a text may be long."""
    x = Scale(low=upright.low, high=upright.high, start=_INSET, end=WIDTH - _INSET)
    by_value = _by_value(chosen)
    bottom = _ROW * len(by_value)
    marks = []
    for tick in ticks(x.low, x.high, most=5):
        line = path([(x(tick), 0), (x(tick), bottom)])
        marks.append(element("path", d=line, class_="grid"))
        marks.append(label(f"{tick:g}", x=x(tick), y=bottom + 14, anchor="middle"))
    right = WIDTH - _INSET
    marks.append(label("accuracy, %", x=right, y=bottom + _AXIS - 8, anchor="end"))
    for i, (value, accuracies) in enumerate(by_value):
        middle = i * _ROW + 27
        named = str(value)
        named = named if len(named) <= _LETTERS else f"{named[: _LETTERS - 1]}…"
        marks.append(label(named, x=0, y=i * _ROW + 13, anchor="start", style="tick bar-name"))
        rail = path([(_INSET, middle), (right, middle)])
        marks.append(element("path", d=rail, class_="grid"))
        of_value = [each for each in chosen if str(each.value) == str(value)]
        for each in sorted(of_value, key=lambda c: c.trained):
            style, radius = _look(each)
            across, title = x(max(each.accuracy, x.low)), element("title", _text(each))
            dot = element("circle", title, cx=across, cy=middle, r=radius, class_=style)
            marks.append(dot)
        across = x(max(median(accuracies), x.low))
        mark = path([(across, middle - 9), (across, middle + 9)])
        marks.append(element("path", d=mark, class_="front-line"))
    return marks, bottom + _AXIS


def _by_value(chosen: Sequence[Chosen]) -> list[tuple[str | int | float, list[float]]]:
    """Value → accuracies: numbers in rising order, texts in alphabetical order."""
    found: dict[str | int | float, list[float]] = defaultdict(list)
    for each in chosen:
        found[each.value].append(each.accuracy)
    numeric = all(not isinstance(value, str) for value in found)
    return sorted(found.items(), key=lambda item: float(item[0]) if numeric else str(item[0]))


def _look(chosen: Chosen) -> tuple[str, float]:
    return ("trial", 3.5) if chosen.trained else ("trial stopped", 3)


def _text(chosen: Chosen) -> str:
    return f"trial {chosen.number}: {chosen.value}, {percent(chosen.accuracy)}"
