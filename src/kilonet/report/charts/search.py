"""Bars of a search: the importance of each choice, and the trials that reached each rung."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from kilonet.formatting import count
from kilonet.report.charts.curves import WIDTH
from kilonet.report.charts.svg import Scale, box, drawing, element, label, path
from kilonet.search.importance import Importance

_ROW, _BAR = 34, 10
"""Heights of a bar with its name above it, and of the bar alone."""

_FIGURE = 56
"""Room for the figure at a bar's end."""

_LETTERS = 54
"""Characters of a name above its bar."""


def importance_chart(found: Sequence[Importance]) -> Markup:
    """A bar a choice, and an upright line where chance would end it in 1 of 20 searches."""
    rows = [(each.name, each.share, f"{each.share:.0%}") for each in found]
    text = ", ".join(
        f"{each.name} {each.share:.0%}{'' if each.shown else ', which may be chance'}"
        for each in found
    )
    return _bars(
        rows,
        chance=[each.chance for each in found],
        title="Importance of each choice",
        text=f"{text}.",
        name="importance",
    )


def rungs_chart(rungs: Sequence[tuple[int, int, int]]) -> Markup:
    """A bar a rung: (epochs, images, trials that reached it)."""
    most = max((images for _, images, _ in rungs), default=0)

    def named(epochs: int, images: int) -> str:
        few = f", {images:,} images each" if images < most else ""
        return f"{count(epochs, 'epoch')}{few}"

    rows = [(named(e, i), float(reached), f"{reached:,}") for e, i, reached in rungs]
    text = ", ".join(f"{reached} of {named(e, i)}" for e, i, reached in rungs)
    title = "Trials that reached each rung"
    return _bars(rows, chance=[], title=title, text=f"{text}.", name="rungs")


def _bars(
    rows: Sequence[tuple[str, float, str]],
    *,
    chance: Sequence[float],
    title: str,
    text: str,
    name: str,
) -> Markup:
    """A bar a row: (name, length at least 0, figure at its end)."""
    largest = max([length for _, length, _ in rows] + list(chance), default=0.0) or 1.0
    scale = Scale(low=0, high=largest, start=0, end=WIDTH - _FIGURE)
    marks = []
    for i, (named, length, figure) in enumerate(rows):
        top = i * _ROW
        shown = named if len(named) <= _LETTERS else f"{named[: _LETTERS - 1]}…"
        marks.append(label(shown, x=0, y=top + 13, anchor="start", style="tick bar-name"))
        width, end = max(scale(length), 1), scale(max([length, *chance[i : i + 1]]))
        marks.append(element("rect", x=0, y=top + 18, width=width, height=_BAR, class_="bar"))
        for across in map(scale, chance[i : i + 1]):
            line = path([(across, top + 15), (across, top + 21 + _BAR)])
            marks.append(element("path", d=line, class_="chance"))
        marks.append(label(figure, x=end + 6, y=top + 27, anchor="start"))
    height = _ROW * len(rows) + 4
    return drawing(*marks, name=name, title=title, text=text, viewBox=box(WIDTH, height))
