"""The ladder at a glance: a strip for each stage, all on one accuracy axis."""

from __future__ import annotations

from markupsafe import Markup

from kilonet.analysis import StageAnalysis, StudyAnalysis
from kilonet.formatting import interval, percent
from kilonet.report.charts.svg import Scale, drawing, element, number, ticks


def ladder_axis(analysis: StudyAnalysis) -> Scale:
    """The accuracy axis of all strips, in percent of a strip's width.

    It holds each seed, each mean and the target with its band. Intervals extend it to at most twice
    that: the interval of two seeds can be wider than all else, and its ends are in the table too.
    """
    error = band_half_width(analysis)
    values = [_target(analysis) - error, _target(analysis) + error]
    ends: list[float] = []
    for stage in analysis.stages:
        values += stage.final.values
        ends += stage.final.ci95 or ()
    low, high = min(values), max(values)
    reach = (high - low) / 2
    low, high = max(min([low, *ends]), low - reach), min(max([high, *ends]), high + reach)
    # Where all values, the target too, are 100 %, there is no width to take a share of.
    margin = 0.06 * (high - low) or 0.5
    return Scale(low=low - margin, high=high + margin, start=0, end=100)


def band_half_width(analysis: StudyAnalysis) -> float:
    """The binomial standard error of the test set, percentage points: the largest of the stages."""
    return max(stage.binomial for stage in analysis.stages)


def ladder_strip(
    stage: StageAnalysis, *, axis: Scale, error: float, **attributes: str | float
) -> Markup:
    """One stage: the target and its band, each seed, their mean and its interval.

    Positions are in percent of the strip's width and height, so dots are round at any size.

    Args:
        stage: the stage to draw.
        axis: of the whole ladder.
        error: half the width of the target's band, percentage points.
        attributes: of the ``<svg>`` element, such as its place.
    """
    final, middle = stage.final, "50%"
    band_low, band_high = axis(_target(stage) - error), axis(_target(stage) + error)
    marks = [
        element(
            "rect",
            x=_share(band_low),
            y="0",
            width=_share(band_high - band_low),
            height="100%",
            class_="target-band",
        ),
        _vertical(axis(_target(stage)), "target-line"),
        element("line", x1="0", x2="100%", y1=middle, y2=middle, class_="rail"),
    ]
    if final.ci95 is not None:
        low, high = (axis(end) for end in final.ci95)
        # An interval that leaves the axis is cut off there and has no cap at that end.
        left, right = _share(max(low, 0)), _share(min(high, 100))
        marks.append(element("line", x1=left, x2=right, y1=middle, y2=middle, class_="interval"))
        marks += [
            _vertical(x, "cap", top="34%", bottom="66%") for x in (low, high) if 0 <= x <= 100
        ]
    if final.n > 1:
        # Seeds alternate above and below the line, so that equal ones do not cover each other.
        marks += [
            _dot(axis(value), y="27%" if i % 2 else "73%", radius=4, style="seed")
            for i, value in enumerate(sorted(final.values))
        ]
    marks.append(_dot(axis(final.mean), y=middle, radius=6, style="mean"))
    shown = "" if final.ci95 is None else f", 95% interval {interval(*final.ci95)}"
    return drawing(
        *marks,
        name=f"strip-{stage.number}",
        title=f"Stage {stage.number}: {stage.name}",
        text=(
            f"Final test accuracy {percent(final.mean)}{shown}; target {percent(_target(stage))}. "
            f"{'Seeds' if final.n > 1 else 'Seed'}: {', '.join(map(percent, final.values))}."
        ),
        class_="strip",
        **attributes,
    )


def ladder_scale(analysis: StudyAnalysis, *, axis: Scale, **attributes: str | float) -> Markup:
    """The axis under the strips; hidden from screen readers, as each strip states its numbers."""
    target = axis(_target(analysis))
    marks: list[Markup] = []
    for value in ticks(axis.low, axis.high, most=6):
        place = axis(value)
        marks.append(_vertical(place, "axis", bottom="5"))
        # Labels that would overlap the target's are left out.
        if abs(place - target) > 9:
            marks.append(_tick(f"{value:g}", place, margin=3, style="tick"))
    marks.append(element("line", x1="0", x2="100%", y1="0", y2="0", class_="axis"))
    marks.append(_tick(percent(_target(analysis)), target, margin=12, style="tick target-label"))
    return element("svg", *marks, aria_hidden="true", class_="strip-axis", **attributes)


def ladder_key(analysis: StudyAnalysis) -> list[tuple[Markup, str]]:
    """A sample of each kind of mark, 16 × 16, and its meaning."""
    several = any(stage.seeds > 1 for stage in analysis.stages)
    mean = "their mean and its 95% interval" if several else "final test accuracy, %"
    line = element("line", x1="0", x2="16", y1="8", y2="8", class_="target-line")
    band = element("rect", x="0", y="2", width="16", height="12", class_="target-band")
    images = f"standard error of {analysis.test_images:,} test images"
    key = [
        (_dot(50, y="50%", radius=4, style="seed"), "a seed's final test accuracy, %"),
        (_dot(50, y="50%", radius=6, style="mean"), mean),
        (line, f"target {percent(_target(analysis))}"),
        (band, f"± {band_half_width(analysis):.2f} points: {images}"),
    ]
    samples = [
        (element("svg", mark, viewBox="0 0 16 16", aria_hidden="true"), t) for mark, t in key
    ]
    return samples if several else samples[1:]


def _target(of: StageAnalysis | StudyAnalysis) -> float:
    if of.target is None:
        raise ValueError("a ladder is drawn to its target, and there is none")
    return of.target


def _tick(text: str, place: float, *, margin: float, style: str) -> Markup:
    # Labels near an end start or end at their place, so that they stay within the strip.
    anchor = "start" if place < margin else "end" if place > 100 - margin else "middle"
    return element("text", text, x=_share(place), y="19", text_anchor=anchor, class_=style)


def _dot(x: float, *, y: str, radius: float, style: str) -> Markup:
    return element("circle", cx=_share(x), cy=y, r=radius, class_=style)


def _vertical(x: float, style: str, *, top: str = "0", bottom: str = "100%") -> Markup:
    return element("line", x1=_share(x), x2=_share(x), y1=top, y2=bottom, class_=style)


def _share(value: float) -> str:
    return f"{number(value)}%"
