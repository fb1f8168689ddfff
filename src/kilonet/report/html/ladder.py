"""The ladder at a glance: a rung a strip, all on one accuracy axis."""

from __future__ import annotations

from markupsafe import Markup

from kilonet.analysis import RungAnalysis, StudyAnalysis
from kilonet.analysis.words import interval, percent
from kilonet.report.figures import ladder_limits
from kilonet.report.html.svg import Scale, element, number, ticks


def ladder_axis(analysis: StudyAnalysis) -> Scale:
    """The accuracy axis that all rungs of the ladder share, in per cent of the strip's width."""
    error = max(rung.binomial for rung in analysis.rungs)
    low, high = ladder_limits(analysis, error=error)
    if low == high:  # everything, the target too, at 100 %
        low, high = low - 0.5, high + 0.5
    return Scale(low=low, high=high, start=0, end=100)


def ladder_strip(rung: RungAnalysis, *, axis: Scale, error: float) -> Markup:
    """One rung of the ladder: the target and its band, each seed, their mean and its interval.

    Drawn in per cent of a width that the page decides, so that dots stay round and lines thin.

    Args:
        rung: what is drawn.
        axis: of the whole ladder.
        error: the test set's, percentage points: the band's half width, one for the whole ladder.
    """
    final, middle = rung.final, "50%"
    band_low, band_high = axis(rung.target - error), axis(rung.target + error)
    marks = [
        element(
            "rect",
            x=f"{number(band_low)}%",
            y="0",
            width=f"{number(band_high - band_low)}%",
            height="100%",
            class_="target-band",
        ),
        _across(axis(rung.target), "target-line"),
        element("line", x1="0", x2="100%", y1=middle, y2=middle, class_="rail"),
    ]
    if final.ci95 is not None:
        low, high = (axis(end) for end in final.ci95)
        # One of two seeds can be wider than the ladder: cut there, and without a cap.
        left, right = f"{number(max(low, 0))}%", f"{number(min(high, 100))}%"
        marks.append(element("line", x1=left, x2=right, y1=middle, y2=middle, class_="interval"))
        marks += [
            element(
                "line", x1=f"{number(x)}%", x2=f"{number(x)}%", y1="34%", y2="66%", class_="cap"
            )
            for x in (low, high)
            if 0 <= x <= 100
        ]
    if final.n > 1:
        # Above and below the line in turn, so that seeds of the same accuracy are seen.
        marks += [
            element(
                "circle",
                cx=f"{number(axis(value))}%",
                cy="27%" if i % 2 else "73%",
                r=4,
                class_="seed",
            )
            for i, value in enumerate(sorted(final.values))
        ]
    marks.append(
        element("circle", cx=f"{number(axis(final.mean))}%", cy=middle, r=6, class_="mean")
    )
    name = f"strip-{rung.number}"
    seeds = ", ".join(map(percent, final.values))
    shown = "" if final.ci95 is None else f", 95% interval {interval(*final.ci95)}"
    text = (
        f"Final test accuracy {percent(final.mean)}{shown}; target {percent(rung.target)}. "
        f"{'Seeds' if final.n > 1 else 'Seed'}: {seeds}."
    )
    return element(
        "svg",
        element("title", f"Rung {rung.number}: {rung.name}", id=f"{name}-title"),
        element("desc", text, id=f"{name}-text"),
        *marks,
        role="img",
        aria_labelledby=f"{name}-title {name}-text",
        class_="strip",
    )


def ladder_scale(analysis: StudyAnalysis, *, axis: Scale) -> Markup:
    """The axis under the rungs; hidden from screen readers, which are told the numbers."""
    target = axis(analysis.target)
    marks: list[Markup] = []
    for value in ticks(axis.low, axis.high, most=6):
        x = f"{number(axis(value))}%"
        marks.append(element("line", x1=x, x2=x, y1="0", y2="5", class_="axis"))
        # What the target's own label would cover is left to it.
        if abs(axis(value) - target) > 9:
            anchor = _anchor(axis(value), margin=3)
            marks.append(
                element("text", f"{value:g}", x=x, y="19", text_anchor=anchor, class_="tick")
            )
    anchor = _anchor(target, margin=12)
    marks.append(element("line", x1="0", x2="100%", y1="0", y2="0", class_="axis"))
    marks.append(
        element(
            "text",
            percent(analysis.target),
            x=f"{number(target)}%",
            y="19",
            text_anchor=anchor,
            class_="tick target-label",
        )
    )
    return element("svg", *marks, aria_hidden="true", class_="strip-axis")


def _anchor(place: float, *, margin: float) -> str:
    """Labels stay within the strip, 0 to 100: near an end they begin or end at their place."""
    return "start" if place < margin else "end" if place > 100 - margin else "middle"


def _across(x: float, style: str) -> Markup:
    place = f"{number(x)}%"
    return element("line", x1=place, x2=place, y1="0", y2="100%", class_=style)
