"""Just enough SVG for a report: elements, scales and ticks.

Colours are not set here: every mark has a class, and the page's style sheet gives it one colour in
light and another in dark. What a user wrote is escaped on its way in.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

Point = tuple[float, float]


def element(name: str, *children: Markup | str, **attributes: str | float) -> Markup:
    """An element; text and attributes are escaped, numbers are cut to what a screen can show.

    Python's reserved ``class`` is written ``class_``, other underscores stand for hyphens.
    """
    written = Markup("").join(
        Markup('{}="{}" ').format(key.rstrip("_").replace("_", "-"), _value(value))
        for key, value in attributes.items()
    )
    opening = f"{name} {written}".rstrip()
    inside = Markup("").join(escape(child) for child in children)
    return Markup(f"<{opening}>{inside}</{name}>") if inside else Markup(f"<{opening}/>")  # noqa: S704  every part is escaped above


def drawing(
    *children: Markup, name: str, title: str, text: str, width: float, height: float
) -> Markup:
    """An ``<svg>`` that a screen reader tells as one picture.

    Args:
        children: what is drawn.
        name: unlike any other on the page; its identifiers begin with it.
        title: what it is.
        text: what it shows, in words.
        width: in units of its own, which are pixels where there is room.
        height: likewise.
    """
    return element(
        "svg",
        element("title", title, id=f"{name}-title"),
        element("desc", text, id=f"{name}-text"),
        *children,
        viewBox=f"0 0 {number(width)} {number(height)}",
        role="img",
        aria_labelledby=f"{name}-title {name}-text",
    )


def path(points: Iterable[Point], *, close: bool = False) -> str:
    """Straight lines through the points, as the ``d`` of a path."""
    steps = " L".join(f"{number(x)} {number(y)}" for x, y in points)
    return f"M{steps}{'Z' if close else ''}"


def number(value: float) -> str:
    """At most two decimals, and none that say nothing."""
    return f"{value:.2f}".rstrip("0").rstrip(".")


@dataclass(frozen=True, kw_only=True)
class Scale:
    """Values to places.

    Attributes:
        low, high: the values at the two ends; ``high`` above ``low``.
        start, end: their places.
        log: whether equal ratios, not equal differences, lie equally far apart.
    """

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """The place of a value, beyond the ends too."""
        low, high = self.low, self.high
        if self.log:
            low, high, value = math.log(low), math.log(high), math.log(value)
        return self.start + (self.end - self.start) * (value - low) / (high - low)


def ticks(low: float, high: float, *, most: int = 6) -> list[float]:
    """Round values, 1, 2 or 5 times a power of ten apart, that lie in the range."""
    step = _step((high - low) / most)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]


def whole_ticks(low: int, high: int, *, most: int = 8) -> list[int]:
    """The same for what is counted."""
    if low == high:
        return [low]
    step = max(1, round(_step((high - low) / most)))
    return list(range(-(-low // step) * step, high + 1, step))


def log_ticks(low: float, high: float) -> list[float]:
    """1, 2 and 5 times the powers of ten in the range; the powers alone where it is wide."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    multiples: Sequence[int] = (1, 2, 5) if len(powers) <= 4 else (1,)
    found = [m * 10.0**power for power in powers for m in multiples]
    return [value for value in found if low * (1 - 1e-9) <= value <= high * (1 + 1e-9)]


def _step(least: float) -> float:
    power = 10.0 ** math.floor(math.log10(least))
    return power * next(m for m in (1, 2, 5, 10) if m * power >= least * (1 - 1e-9))


def _value(value: str | float) -> str:
    return value if isinstance(value, str) else number(value)
