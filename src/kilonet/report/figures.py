"""Pictures for reports and READMEs: PNG, the same bytes from the same records.

Drawn on Matplotlib's figure objects, without pyplot, so that nothing of a user's own plots is
touched. Colours are Okabe and Ito's, told apart by the colour-blind; line styles and markers say
the same a second time.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING

from kilonet.analysis.measurements import WINDOW
from kilonet.analysis.words import EQUAL, interval, percent
from kilonet.atomic import write_atomically

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from kilonet.analysis import RungAnalysis, StudyAnalysis
    from kilonet.record import EpochRow, RunRecord
    from kilonet.study import RungResult, StudyResult

TEST, TRAIN, TARGET, INK = "#0072B2", "#D55E00", "#009E73", "#333333"
DPI = 150

SETTLING_SHARE = 0.2
"""The first share of a run's epochs need not fit on the accuracy axis: there it climbs from
nowhere, and would press the part that matters flat. What is left out is said above the axis."""


def learning_curves(ran: RungResult, *, target: float, path: Path) -> None:
    """Accuracy, loss and learning rate by epoch; with several seeds mean and range.

    Args:
        ran: a rung with finished runs.
        target: test accuracy to reach, percent.
        path: the PNG to write.

    Raises:
        StoreError: if it cannot be written.
    """
    figure = new_figure(9.0, 3.9)
    grid = figure.add_gridspec(2, 2, height_ratios=(3, 1), width_ratios=(1.2, 1))
    accuracy = figure.add_subplot(grid[:, 0])
    loss = figure.add_subplot(grid[0, 1])
    rate = figure.add_subplot(grid[1, 1], sharex=loss)
    records = ran.records
    seeds = "" if len(records) == 1 else f", mean and range of {len(records)} seeds"
    name = f"{ran.rung.number}. {ran.rung.step.name}"
    figure.suptitle(f"{name}{seeds}", fontsize=11, color=INK, x=0.01, ha="left")

    _curve(accuracy, records, "train_accuracy", color=TRAIN, style="--", label="train")
    _curve(accuracy, records, "test_accuracy", color=TEST, style="-", label="test")
    accuracy.axhline(target, color=TARGET, linewidth=1.2, linestyle="-.")
    low, high, left_out = accuracy_limits([record.rows for record in records], target=target)
    accuracy.set_ylim(low, high)
    accuracy.annotate(
        f"target {percent(target)}",
        (0.01, target),
        xycoords=("axes fraction", "data"),
        xytext=(0, 3),
        textcoords="offset points",
        fontsize=8,
        color=TARGET,
    )
    accuracy.set_ylabel("accuracy (%)")
    accuracy.set_title(left_out, fontsize=8, color=INK, loc="left")
    accuracy.legend(loc="lower right", fontsize=8, frameon=False)

    _curve(loss, records, "train_loss", color=TRAIN, style="--", label="train")
    _curve(loss, records, "test_loss", color=TEST, style="-", label="test")
    if all(_value(row, key) > 0 for key in _LOSSES for record in records for row in record.rows):
        _log_scale(loss, ticks=(1, 2, 5))
    loss.set_ylabel("loss (nats)")
    loss.tick_params(labelbottom=False)
    loss.legend(loc="upper right", fontsize=8, frameon=False)

    epochs = [row.epoch for row in records[0].rows]
    rates = [row.lr for row in records[0].rows]
    rate.step(epochs, rates, where="mid", color=INK, linewidth=1.2)
    if min(rates) > 0 and max(rates) > 5 * min(rates):
        _log_scale(rate, ticks=(1,))
        rate.set_ylim(min(rates) / 2, max(rates) * 2)
    else:
        rate.set_ylim(0, 1.3 * max(rates) or 1)
    rate.set_ylabel("learning\nrate")
    for axes in (accuracy, rate):
        axes.set_xlabel("epoch")
        _whole_epochs(axes, epochs)
    save_figure(figure, path)


def ladder(result: StudyResult, analysis: StudyAnalysis, path: Path) -> None:
    """Final test accuracy of every rung: each seed, mean, interval, target and test-set error.

    Args:
        result: the study.
        analysis: of the same rungs.
        path: the PNG to write.

    Raises:
        StoreError: if it cannot be written.
    """
    rungs = analysis.rungs
    figure = new_figure(max(6.0, 1.2 + 1.95 * len(rungs)), 4.4)
    axes = figure.add_subplot()
    error = max(rung.binomial for rung in rungs)
    axes.axhspan(
        analysis.target - error,
        analysis.target + error,
        color=TARGET,
        alpha=0.13,
        linewidth=0,
        label=f"± {error:.2f}: standard error of {analysis.test_images:,} test images",
    )
    axes.axhline(
        analysis.target,
        color=TARGET,
        linewidth=1.2,
        linestyle="-.",
        label=f"target {percent(analysis.target)}",
    )
    several = any(rung.seeds > 1 for rung in rungs)
    for position, rung in enumerate(rungs):
        _draw_rung(axes, position, rung, first=position == 0, several=several)
    limits = ladder_limits(analysis, error=error)
    axes.set_ylim(*limits)
    axes.set_xlim(-0.6, len(rungs) - 0.4)
    axes.set_xticks(range(len(rungs)), _captions(result, analysis, limits=limits))
    axes.tick_params(axis="x", length=0)
    axes.set_ylabel("test accuracy (%)")
    axes.grid(visible=False, axis="x")
    figure.suptitle(
        f"{result.study.name}: test accuracy, rung by rung",
        fontsize=11,
        color=INK,
        x=0.01,
        ha="left",
    )
    figure.legend(
        *axes.get_legend_handles_labels(),
        loc="outside lower left",
        # As many as the picture is wide enough for.
        ncols=3 if len(rungs) > 3 else 2,
        fontsize=8,
        frameon=False,
    )
    save_figure(figure, path)


def accuracy_limits(
    runs: Sequence[Sequence[EpochRow]], *, target: float
) -> tuple[float, float, str]:
    """The accuracy axis: (low, high), and a line about what lies below it, or "".

    It holds the target and every epoch but the first fifth (:data:`SETTLING_SHARE`).
    """
    epochs = len(runs[0])
    first = math.floor(SETTLING_SHARE * epochs)
    shown = [
        value
        for rows in runs
        for row in rows[first:]
        for value in (row.train_accuracy, row.test_accuracy)
    ]
    low, high = min(*shown, target), max(*shown, target)
    margin = max(0.05 * (high - low), 0.02)
    low, high = low - margin, high + margin
    below = sorted(
        {
            row.epoch
            for rows in runs
            for row in rows
            if min(row.train_accuracy, row.test_accuracy) < low
        }
    )
    if not below:
        return low, high, ""
    least = min(min(row.train_accuracy, row.test_accuracy) for rows in runs for row in rows)
    which = f"Epoch {below[0]}" if len(below) == 1 else f"Epochs {below[0]} to {below[-1]}"
    lie = "lies" if len(below) == 1 else "lie"
    return low, high, f"{which} {lie} in part below the axis, down to {percent(least)}"


def ladder_limits(analysis: StudyAnalysis, *, error: float) -> tuple[float, float]:
    """The ladder's accuracy axis: every seed, every mean and the target's band.

    Intervals stretch it to at most twice that; one of two seeds can be wider than all the rest, and
    its ends stand in the caption under the rung.
    """
    marks = [analysis.target - error, analysis.target + error]
    ends: list[float] = []
    for rung in analysis.rungs:
        marks += [*rung.final.values, *rung.last_five.values]
        ends += rung.final.ci95 or ()
    low, high = min(marks), max(marks)
    reach = (high - low) / 2
    low, high = max(min([low, *ends]), low - reach), min(max([high, *ends]), high + reach)
    margin = 0.06 * (high - low)
    return low - margin, high + margin


def _draw_rung(
    axes: Axes, position: int, rung: RungAnalysis, *, first: bool, several: bool
) -> None:
    def label(text: str) -> str:
        return text if first else "_"

    final = rung.final
    # Seeds side by side rather than on top of one another.
    spread = [0.3 * (i / max(1, final.n - 1) - 0.5) * (final.n > 1) for i in range(final.n)]
    if several:
        axes.plot(
            [position - 0.22 + x / 2 for x in spread],
            final.values,
            "o",
            color=TEST,
            markersize=4,
            alpha=0.65,
            label=label("final epoch, each seed"),
        )
    if final.ci95 is not None:
        low, high = final.ci95
        axes.errorbar(
            position,
            final.mean,
            yerr=[[final.mean - low], [high - final.mean]],
            color=INK,
            capsize=5,
            linewidth=1.5,
        )
    axes.plot(
        position,
        final.mean,
        "D",
        color=INK if several else TEST,
        markersize=7,
        label=label("final epoch, mean and 95% interval" if several else "final epoch"),
    )
    axes.plot(
        position + 0.22,
        rung.last_five.mean,
        "s",
        color=TRAIN,
        markerfacecolor="white",
        markersize=6,
        label=label(f"mean of the last {min(WINDOW, rung.measured.epochs)} epochs"),
    )


def _captions(
    result: StudyResult, analysis: StudyAnalysis, *, limits: tuple[float, float]
) -> list[str]:
    """What stands under each rung: its name and the figures in words, cut-off intervals too."""
    names = [fill(f"{rung.number}. {rung.name}", 22) for rung in analysis.rungs]
    lines = max(name.count("\n") for name in names)
    captions = []
    for name, ran, rung in zip(names, result.rungs, analysis.rungs, strict=True):
        shown = percent(rung.final.mean)
        if rung.final.ci95 is not None:
            low, high = rung.final.ci95
            cut = "" if limits[0] <= low and high <= limits[1] else "\n(beyond the axis)"
            shown += f"\n{interval(low, high)}{cut}"
        elif rung.seeds > 1:
            shown += f"\n({EQUAL})"
        # Names end on one line, so that the figures below them stand level.
        padding = "\n" * (lines - name.count("\n"))
        captions.append(
            f"{name}{padding}\n{ran.parameters:,} parameters\n"
            f"reached: {rung.reached} of {rung.seeds}\n{shown}"
        )
    return captions


_LOSSES = ("train_loss", "test_loss")


def _value(row: EpochRow, key: str) -> float:
    return float(getattr(row, key))


def _curve(
    axes: Axes, records: Sequence[RunRecord], key: str, *, color: str, style: str, label: str
) -> None:
    """The mean over the seeds by epoch, and the range of the seeds as a band."""
    epochs = [row.epoch for row in records[0].rows]
    columns = [
        [_value(row, key) for row in rows]
        for rows in zip(*(record.rows for record in records), strict=True)
    ]
    mean = [math.fsum(column) / len(column) for column in columns]
    axes.plot(
        epochs,
        mean,
        color=color,
        linestyle=style,
        linewidth=1.6,
        marker="o" if style == "-" else "",
        markersize=3,
        label=label,
    )
    if len(records) > 1:
        lows, highs = list(map(min, columns)), list(map(max, columns))
        axes.fill_between(epochs, lows, highs, color=color, alpha=0.18, linewidth=0)


def _whole_epochs(axes: Axes, epochs: Sequence[int]) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True))
    axes.set_xlim(epochs[0] - 0.5, epochs[-1] + 0.5)


def _log_scale(axes: Axes, *, ticks: tuple[int, ...]) -> None:
    """Logarithmic, with plain numbers at these multiples of each power of ten."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=ticks))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def log_axes(axes: Axes) -> None:
    """Both axes logarithmic, with plain numbers at 1, 2 and 5 of each power of ten."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    axes.set_xscale("log")
    axes.set_yscale("log")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_minor_locator(NullLocator())
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))


def new_figure(width: float, height: float) -> Figure:
    """An empty figure in the house's style, sizes in inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=DPI, layout="constrained", facecolor="white")


def save_figure(figure: Figure, path: Path) -> None:
    """Style the axes and write a PNG; StoreError if it cannot be written."""
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
    buffer = io.BytesIO()
    # The library's version is left out of the file: the same records, the same bytes.
    FigureCanvasAgg(figure)
    figure.savefig(buffer, format="png", metadata={"Software": None})
    write_atomically(path, buffer.getvalue())
