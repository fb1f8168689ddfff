"""The axes of a plot for a notebook: given, or of a new figure of pyplot; their text is text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kilonet.report.figures.library import import_matplotlib
from kilonet.report.figures.text import plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.legend import Legend

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito's colors, but yellow, which is too light for a line on white."""

STYLES = ("-", "--", "-.", ":")
"""Line styles: a second round of colors has the next one."""

MAX_LEGEND_LETTERS = 48
"""Characters of a line of the legend."""


def axes_of(ax: Axes | None) -> Axes:
    """The axes to draw on: ``ax``, or those of a new figure, which a notebook shows."""
    if ax is not None:
        return ax
    import_matplotlib(keep_settings=True)
    import matplotlib.pyplot as plt

    axes: Axes = plt.subplots(layout="constrained")[1]
    return axes


def set_axes_title(axes: Axes, title: str) -> None:
    """Set the title as it is written."""
    (shown,), style = plain(title)
    axes.set_title(shown, **style)


def plain_legend(legend: Legend) -> None:
    """Show the legend's text as it is written."""
    for text in legend.get_texts():
        (shown,), style = plain(text.get_text(), most=MAX_LEGEND_LETTERS)
        text.set(text=shown, **style)
