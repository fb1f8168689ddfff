"""A small part of SVG: elements, scales and ticks.

Marks have classes, not colors: charts.css sets a light and a dark color for each. User text is
escaped.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from kilonet.formatting import one_line

Point = tuple[float, float]


def element(name: str, *children: Markup | str, **attributes: str | float) -> Markup:
    """An element; text and attributes are escaped, numbers are rounded to two decimals.

    Text is without control characters, which XML forbids.

    Python's reserved ``class`` is written ``class_``; other underscores become hyphens.
    """
    written = Markup("").join(
        Markup('{}="{}" ').format(key.rstrip("_").replace("_", "-"), _value(value))
        for key, value in attributes.items()
    )
    opening = f"{name} {written}".rstrip()
    inside = Markup("").join(
        child if isinstance(child, Markup) else escape(one_line(child)) for child in children
    )
    return Markup(f"<{opening}>{inside}</{name}>") if inside else Markup(f"<{opening}/>")  # noqa: S704  every part is escaped above


def drawing(
    *children: Markup, name: str, title: str, text: str, **attributes: str | float
) -> Markup:
    """An ``<svg>`` that a screen reader presents as one image.

    Args:
        children: the marks.
        name: unique on the page; the prefix of its identifiers.
        title: a name for it.
        text: a description of its content.
        attributes: others of the element, such as ``viewBox``.
    """
    return element(
        "svg",
        element("title", title, id=f"{name}-title"),
        element("desc", text, id=f"{name}-text"),
        *children,
        role="img",
        aria_labelledby=f"{name}-title {name}-text",
        **attributes,
    )


def box(width: float, height: float) -> str:
    """A ``viewBox`` from the origin."""
    return f"0 0 {number(width)} {number(height)}"


def label(text: str, *, x: float, y: float, anchor: str, style: str = "tick") -> Markup:
    """Small text at a point; ``anchor`` is ``start``, ``middle`` or ``end``."""
    return element("text", text, x=x, y=y, text_anchor=anchor, class_=style)


def path(points: Iterable[Point], *, close: bool = False) -> str:
    """Straight lines through the points, as the ``d`` of a path."""
    corners = " L".join(f"{number(x)} {number(y)}" for x, y in points)
    return f"M{corners}{'Z' if close else ''}"


def number(value: float) -> str:
    """At most two decimals, without trailing zeros."""
    return f"{value:.2f}".rstrip("0").rstrip(".")


_LOG_RATIO = 5.0


@dataclass(frozen=True, kw_only=True)
class Scale:
    """Maps values from ``low`` to ``high``, which is larger, to positions from start to end."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """The position of a value; values outside the range are extrapolated."""
        low, high = self.low, self.high
        if self.log:
            low, high, value = math.log(low), math.log(high), math.log(value)
        return self.start + (self.end - self.start) * (value - low) / (high - low)


def ticks(low: float, high: float, *, most: int = 6) -> list[float]:
    """Round values in the range, 1, 2 or 5 times a power of ten apart."""
    spacing = _spacing((high - low) / most)
    first, last = math.ceil(low / spacing - 1e-9), math.floor(high / spacing + 1e-9)
    return [round(i * spacing, 12) for i in range(first, last + 1)]


def whole_ticks(low: int, high: int, *, most: int = 8) -> list[int]:
    """The same in whole numbers."""
    if low == high:
        return [low]
    spacing = max(1, round(_spacing((high - low) / most)))
    return list(range(-(-low // spacing) * spacing, high + 1, spacing))


def fits_log(low: float, high: float) -> bool:
    """Whether a logarithmic axis can hold them; beyond, its ends would overflow or become 0."""
    return low >= 1e-100 and high <= 1e100


def wants_log(low: float, high: float) -> bool:
    """Whether they are far enough apart for a logarithmic axis, and it can hold them."""
    return fits_log(low, high) and high >= _LOG_RATIO * low


def log_ticks(low: float, high: float) -> list[float]:
    """1, 2 and 5 times the powers of ten in the range; only the powers in a wide range."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    multiples: Sequence[int] = (1, 2, 5) if len(powers) <= 4 else (1,)
    found = [m * 10.0**power for power in powers for m in multiples]
    return [value for value in found if low * (1 - 1e-9) <= value <= high * (1 + 1e-9)]


def _spacing(least: float) -> float:
    power = 10.0 ** math.floor(math.log10(least))
    return power * next(m for m in (1, 2, 5, 10) if m * power >= least * (1 - 1e-9))


def _value(value: str | float) -> str:
    return one_line(value) if isinstance(value, str) else number(value)
