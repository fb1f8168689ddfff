"""Charts as SVG files of their own, for Markdown: the page's charts, its style sheet inside.

A file needs no other, is readable on white and on dark paper, and has the same bytes for the same
records.
"""

from __future__ import annotations

from importlib.resources import files

from markupsafe import Markup
from rich.console import Console
from rich.text import Text

from kilonet.formatting import one_line, percent
from kilonet.report.charts.curves import HEIGHT, WIDTH, curves
from kilonet.report.charts.ladder import (
    band_half_width,
    ladder_axis,
    ladder_key,
    ladder_scale,
    ladder_strip,
)
from kilonet.report.charts.svg import box, drawing, element, label
from kilonet.report.content import Content, StageContent
from kilonet.report.tables import reached_by, spread

MARGIN, GUTTER = 16, 28
_NAME, _STRIP, _SCORE = 190, 400, 128
"""Widths of the ladder's columns: the name, the strip, the mean."""
_ROW, _AXIS, _KEY = 76, 36, 22
"""Heights of the ladder's rows: a stage, the axis, a line of the key."""
_NAME_LENGTH, _NAME_LINES = 26, 2


def chart_style() -> Markup:
    """The style sheet of all charts."""
    # kilonet's own file, without a "</style>" in it: nothing to escape.
    return Markup((files("kilonet.report.charts") / "charts.css").read_text("utf-8"))  # noqa: S704


def curves_file(stage: StageContent, *, target: float) -> str:
    """The learning curves of a stage, two charts a row."""
    which, name = stage.analysis.number, stage.analysis.name
    charts = curves(stage.result.records, target=target, name=f"stage-{which}")
    placed = [
        element(
            "svg",
            chart,
            x=MARGIN + i % 2 * (WIDTH + GUTTER),
            y=MARGIN + i // 2 * (HEIGHT + MARGIN),
            width=WIDTH,
            height=HEIGHT,
        )
        for i, chart in enumerate(charts)
    ]
    return chart_file(
        *placed,
        name="curves",
        title=f"Learning curves of stage {which}: {name}",
        text="Accuracy, gap, loss and learning rate by epoch.",
        width=2 * (MARGIN + WIDTH) + GUTTER,
        height=3 * MARGIN + 2 * HEIGHT,
    )


def ladder_file(content: Content) -> str:
    """The ladder at a glance, with its key."""
    analysis = content.analysis
    axis, error = ladder_axis(analysis), band_half_width(analysis)
    left = MARGIN + _NAME + GUTTER
    marks: list[Markup] = []
    for i, stage in enumerate(content.stages):
        top = MARGIN + i * _ROW
        place = {"x": left, "y": top, "width": _STRIP, "height": _ROW - 4}
        marks.append(ladder_strip(stage.analysis, axis=axis, error=error, **place))
        marks += _row_text(stage, top=top)
    bottom = MARGIN + len(content.stages) * _ROW
    marks.append(ladder_scale(analysis, axis=axis, x=left, y=bottom, width=_STRIP, height=_AXIS))
    key = ladder_key(analysis)
    for i, (sample, text) in enumerate(key):
        y = bottom + _AXIS + _KEY * (i + 1)
        marks.append(element("svg", sample, x=left, y=y - 12, width=16, height=16))
        marks.append(label(text, x=left + 26, y=y, anchor="start"))
    return chart_file(
        *marks,
        name="ladder",
        title=f"{content.result.study.name}: final test accuracy of each stage",
        text=" ".join(analysis.conclusions[:2]),
        width=left + _STRIP + _SCORE + MARGIN,
        height=bottom + _AXIS + _KEY * len(key) + MARGIN,
    )


def _row_text(stage: StageContent, *, top: float) -> list[Markup]:
    """A stage's name and numbers, left and right of its strip."""
    analysis = stage.analysis
    name = _wrapped(f"{analysis.number}. {analysis.name}")
    facts = f"{stage.result.parameters:,} parameters", f"reached: {reached_by(analysis)}"
    lines = [(line, "row-name") for line in name] + [(fact, "tick") for fact in facts]
    first = top + _ROW / 2 - 8 * (len(lines) - 1) + 2
    marks = [
        label(text, x=MARGIN, y=first + 16 * i, anchor="start", style=style)
        for i, (text, style) in enumerate(lines)
    ]
    final, right = analysis.final, MARGIN + _NAME + GUTTER + _STRIP + _SCORE
    mean = label(percent(final.mean), x=right, y=top + _ROW / 2, anchor="end", style="row-mean")
    return [*marks, mean, label(spread(final), x=right, y=top + _ROW / 2 + 16, anchor="end")]


def _wrapped(name: str) -> list[str]:
    """The name on at most two lines; 字 takes the room of two letters."""
    words = Text(one_line(name))
    lines = list(words.wrap(Console(width=_NAME_LENGTH), _NAME_LENGTH, overflow="fold"))
    shown = [line.plain.rstrip() for line in lines[:_NAME_LINES]]
    if len(lines) > _NAME_LINES:
        last = Text(shown[-1])
        last.truncate(_NAME_LENGTH - 2)
        shown[-1] = f"{last.plain.rstrip()} …"
    return shown


def chart_file(
    *children: Markup, name: str, title: str, text: str, width: float, height: float
) -> str:
    """A chart as a file: the marks on paper, with the style sheet inside."""
    return drawing(
        element("style", chart_style()),
        element("rect", width=width, height=height, rx=6, class_="paper"),
        *children,
        name=name,
        title=title,
        text=text,
        xmlns="http://www.w3.org/2000/svg",
        viewBox=box(width, height),
        width=width,
        height=height,
    )
