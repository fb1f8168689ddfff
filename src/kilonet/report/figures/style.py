"""The style of the commands' figures: PNG files, the same bytes for the same data.

They are drawn without pyplot. Text in them is text, also between dollar signs. Colors are Okabe and
Ito's, for color-blind readers; line styles and markers differ too.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kilonet.report.figures.library import import_matplotlib
from kilonet.report.figures.text import make_plain
from kilonet.storage.atomic import write_atomically

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TEST, TRAIN, TARGET, INK = "#0072B2", "#D55E00", "#009E73", "#333333"
DPI = 150


def new_figure(width: float, height: float) -> Figure:
    """An empty figure; sizes in inches."""
    import_matplotlib()
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=DPI, layout="constrained", facecolor="white")


def log_axes(axes: Axes) -> None:
    """Make both axes logarithmic, with plain numbers at 1, 2 and 5 times each power of ten."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    axes.set_xscale("log")
    axes.set_yscale("log")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_minor_locator(NullLocator())
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))


def note(
    axes: Axes, text: str, at: tuple[float, float], shift: tuple[int, int], **options: Any
) -> None:
    """Write small text ``shift`` points from a position."""
    style = {"fontsize": 8, "color": INK, **options}
    axes.annotate(text, at, xytext=shift, textcoords="offset points", **style)


def set_title(figure: Figure, title: str) -> None:
    """Set the title, at the left."""
    figure.suptitle(title, fontsize=11, color=INK, x=0.01, ha="left")


def save_figure(figure: Figure, path: Path) -> None:
    """Style the axes and write a PNG.

    Raises:
        StorageError: if it cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[["left", "bottom"]].set_color("#888888")
        axes.tick_params(labelsize=8, colors=INK)
        axes.grid(visible=True, axis="y", color="#DDDDDD", linewidth=0.6)
        axes.set_axisbelow(True)
        for text in (axes.xaxis.label, axes.yaxis.label):
            text.set_fontsize(9)
            text.set_color(INK)
    make_plain(figure)
    buffer = io.BytesIO()
    FigureCanvasAgg(figure)
    # Without Matplotlib's version in the file, its bytes depend on the data alone.
    figure.savefig(buffer, format="png", metadata={"Software": None})
    write_atomically(path, buffer.getvalue())
