"""The plane that the charts of a search draw on: two axes, a grid, and marks with tooltips."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from markupsafe import Markup

from kilonet.report.charts.curves import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, horizontal
from kilonet.report.charts.svg import (
    Scale,
    element,
    label,
    log_ticks,
    path,
    ticks,
    wants_log,
    whole_ticks,
)

_TICK_LETTER = 6.2
"""Width of a letter of a tick's label, in units of the chart."""


@dataclass(frozen=True, kw_only=True)
class Plane:
    """Two axes: ``x`` runs along the bottom, ``y`` is an accuracy in percent."""

    x: Scale
    y: Scale

    def grid(
        self, *, name: str, unit: str = "accuracy, %", marked: Sequence[float] | None = None
    ) -> list[Markup]:
        """The grid, its numbers and the names of the axes.

        Args:
            name: of the axis along the bottom.
            unit: of the other one.
            marked: values along the bottom that have a number; default: round ones.
        """
        marks = []
        for value in ticks(self.y.low, self.y.high):
            marks.append(horizontal(self.y(value), "grid"))
            text = f"{value:g}"
            marks.append(label(text, x=LEFT - 6, y=self.y(value) + 4, anchor="end"))
        right = -1.0
        for value in self._round() if marked is None else marked:
            place, text = self.x(value), compact(value)
            half = _TICK_LETTER * len(text) / 2
            if place - half < right + 4:  # it would touch the number before
                continue
            right = place + half
            marks.append(label(text, x=place, y=HEIGHT - BOTTOM + 15, anchor="middle"))
        marks.append(label(name, x=WIDTH - RIGHT, y=HEIGHT - 3, anchor="end"))
        marks.append(label(unit, x=0, y=12, anchor="start"))
        return marks

    def _round(self) -> Sequence[float]:
        if self.x.log:
            return log_ticks(self.x.low, self.x.high)
        if self.x.high - self.x.low < 10:
            return ticks(self.x.low, self.x.high, most=6)
        return whole_ticks(round(self.x.low), round(self.x.high), most=6)

    def dot(self, x: float, y: float, *, style: str, text: str, radius: float = 3.5) -> Markup:
        """A mark with its numbers as a tooltip; at the bottom, where its accuracy is below it."""
        down = self.y(max(y, self.y.low))
        title = element("title", text)
        return element("circle", title, cx=self.x(x), cy=down, r=radius, class_=style)

    def whisker(self, x: float, low: float, high: float) -> list[Markup]:
        """An interval, upright; cut off where it leaves the plane, without a cap there."""
        across = self.x(x)
        ends = max(low, self.y.low), min(high, self.y.high)
        line = path([(across, self.y(end)) for end in ends])
        marks = [element("path", d=line, class_="whisker")]
        for end in (low, high):
            if self.y.low <= end <= self.y.high:
                cap = path([(across - 4, self.y(end)), (across + 4, self.y(end))])
                marks.append(element("path", d=cap, class_="whisker"))
        return marks


def horizontal_scale(values: Sequence[float], *, log: bool | None = None) -> Scale:
    """The axis along the bottom, with room at both ends.

    Args:
        values: what it has to hold, at least one.
        log: whether it is logarithmic; default: as :func:`wants_log` says.
    """
    low, high = min(values), max(values)
    if log is None:
        log = wants_log(low, high)
    if log:
        factor = (high / low) ** 0.06 if high > low else 1.1
        low, high = low / factor, high * factor
    else:
        margin = 0.06 * (high - low) or 0.5
        low, high = low - margin, high + margin
    return Scale(low=low, high=high, start=LEFT, end=WIDTH - RIGHT, log=log)


def accuracy_scale(
    values: Sequence[float], *, keep: Sequence[float] = (), room: float = 0.08
) -> Scale:
    """The upright axis: ``keep``, and the better half of ``values``, percent.

    A few networks that learned nothing would else press all others into a line. What is below is
    drawn at the bottom or not at all, and :func:`below_sentence` says how many there are.

    Args:
        values: at least one.
        keep: others.
        room: below all of them, as a share of their range.
    """
    shown = [value for value in values if value >= median(values)]
    low, high = min([*shown, *keep]), max([*shown, *keep])
    margin = max(0.08 * (high - low), 0.02)
    below = max(room * (high - low), margin)
    return Scale(low=low - below, high=high + margin, start=HEIGHT - BOTTOM, end=TOP)


def below_sentence(values: Sequence[float], scale: Scale, *, noun: str) -> str:
    """A sentence about the values below the axis; "" without any."""
    below = [value for value in values if value < scale.low]
    if not below:
        return ""
    which = f"{len(below)} {noun}s are" if len(below) > 1 else f"One {noun} is"
    return f"{which} below the axis, down to {min(below):.2f}%."


def compact(value: float) -> str:
    """A number at an axis: ``4,000``, ``120k``, ``1.2M``, ``0.05``."""
    if abs(value) >= 1e6:
        return f"{value / 1e6:g}M"
    if abs(value) >= 1e4:
        return f"{value / 1e3:g}k"
    return f"{value:,g}" if abs(value) >= 1000 else f"{value:g}"
